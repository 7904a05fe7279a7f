/** CHRONICLE_TEST_SEED enters, or nothing; what property tests draw their inputs from leaves: the same on every run. */

/** A run that must tell whether a change is right draws what the run before it drew; another seed looks further. */
export const drawn = { arbitrary: { seed: Number(process.env.CHRONICLE_TEST_SEED ?? 7) } }
