/** Whether this code runs from the bundle of the command line (`scripts/front.ts`), and how that hands over to the sources. */
import { Data } from "effect"

/** The folder of the bundle that this code is part of, where `scripts/front.ts` writes it; undefined in the sources and in the package's modules. */
export const bundle: URL | undefined = undefined

/**
 * A command that has to load a module of the host fails with this in the bundle. Nothing was done by then but reading the arguments, which
 * `main.ts` has the sources, or the package's modules, read again.
 */
export class HandOver extends Data.TaggedError("HandOver")<{}> {}
