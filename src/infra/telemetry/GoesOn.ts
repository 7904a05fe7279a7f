/** What keeps the loops of a node going: where one ended at a bug, nothing else would do what it did for as long as the node lives. */
import { Effect } from "effect"

/** Tells of a bug that one round of a loop met; the next round is tried as any other. */
export const goesOn =
  (what: string) =>
  <E, R>(round: Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> =>
    Effect.catchDefect(Effect.asVoid(round), (defect) =>
      Effect.logError(`${what} failed and goes on`, defect)
    )
