/**
 * What keeps the loops of a node going: where one ended at a bug, nothing else would do what it did for as long as the node lives. And what
 * tells of the failures that are tried again.
 */
import { Effect } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { forgetOldest } from "../config/ForgetOldest.ts"

/** Tells of a bug that one round of a loop met; the next round is tried as any other. */
export const goesOn =
  (what: string) =>
  <E, R>(round: Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> =>
    Effect.catchDefect(Effect.asVoid(round), (defect) =>
      Effect.logError(`${what} failed and goes on`, defect)
    )

/** How long a reason that was logged is not logged again, in milliseconds. */
const silentMs = 60_000
/** Reasons that are remembered: as a rule one for each code of an error, of which there are few at a time. */
const reasonsMax = 100

/**
 * Warns of what failed and is tried again, in all words that are known of it; callers are told the reason alone. One reason is logged once
 * a minute, because it may fail many times a second.
 */
export const makeFailureLog = () => {
  /** When each reason was logged, in milliseconds elapsed; the oldest come first. */
  const logged = new Map<string, number>()
  return ({ reason, message }: { readonly reason: string; readonly message: string }): Effect.Effect<void> =>
    Effect.clockWith((clock) => {
      const now = elapsedMsUnsafe(clock)
      if (now - (logged.get(reason) ?? Number.NEGATIVE_INFINITY) < silentMs) return Effect.void
      logged.delete(reason)
      logged.set(reason, now)
      forgetOldest(logged, reasonsMax)
      return Effect.logWarning(message)
    })
}
