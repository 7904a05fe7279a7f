/** The seed of property tests. It is the same on every run unless `CHRONICLE_TEST_SEED` names another. */

/** A run that must tell whether a change is right draws what the run before it drew; another seed looks further. */
export const drawn = { arbitrary: { seed: Number(process.env.CHRONICLE_TEST_SEED ?? 7) } }
