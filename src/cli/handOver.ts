/**
 * How the front (`front.ts`) gives a command to the whole program: a handler that it does not contain fails with this.
 * Nothing was done by then but reading the arguments, which the whole program reads again.
 */
import { Data } from "effect"

export class HandOver extends Data.TaggedError("HandOver")<{}> {}
