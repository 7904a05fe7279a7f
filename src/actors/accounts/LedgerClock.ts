/**
 * The only clock on the way of a command (design §4). What it answers is recorded for ever, so it never goes back, never
 * falls into a past that was answered already, and never runs ahead of the event store's clock by more than the skew
 * bound: the machine's clock may step ahead for a moment, and the instants recorded then would stay ahead.
 */
import { Clock, Context, Effect, Layer } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"

export class LedgerClock extends Context.Service<
  LedgerClock,
  {
    /** Now by the machine's clock, within the bounds. Synchronous: one call a decision. */
    readonly nowUnsafe: () => Instant
    /**
     * The event store has just answered what its clock says, and was asked when `elapsedUnsafe` was `askedAtMs`. From here
     * on the answers are at most that much, plus what elapses, plus the skew bound (`clockSkewMaxMs`). An answer that was
     * long on its way counts as at most the skew bound old. Before the first time the machine's clock alone counts.
     */
    readonly boundUnsafe: (storeNow: Instant, askedAtMs: number) => void
    /**
     * From here on every answer is at least `floor`: what lies before it may have been answered to a question about the
     * past, and must not change (I9). A floor beyond the bound counts only as far as the bound.
     */
    readonly raiseUnsafe: (floor: Instant) => void
    /** How far the next answer would be ahead of the event store's clock for certain, in milliseconds; 0 where it is not. */
    readonly aheadMsUnsafe: () => number
    /** Milliseconds since some moment, for deadlines: they pass while `nowUnsafe` stands still after a clock was set back. */
    readonly elapsedUnsafe: () => number
  }
>()("chronicle/actors/LedgerClock") {
  static readonly layer = Layer.effect(
    LedgerClock,
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const { clockSkewMaxMs } = yield* LedgerConfig
      let floor = 0
      // The store's clock less `elapsed`, at its last answer: the clock was read between the question and the answer.
      let storeZeroLeast = Number.POSITIVE_INFINITY
      let storeZeroMost = Number.POSITIVE_INFINITY
      const elapsed = () => elapsedMsUnsafe(clock)
      /** The bound when it was computed last: it only rises, and is computed once it is reached, not at each decision. */
      let bound = Number.POSITIVE_INFINITY
      const bounded = (instant: Instant): Instant => {
        if (instant > bound) bound = Math.floor(storeZeroLeast + elapsed() + clockSkewMaxMs)
        return Math.min(instant, bound)
      }
      const now = () => Math.max(floor, bounded(clock.currentTimeMillisUnsafe()))
      return {
        nowUnsafe: () => {
          floor = now()
          return floor
        },
        boundUnsafe: (storeNow, askedAtMs) => {
          storeZeroLeast = storeNow - Math.max(askedAtMs, elapsed() - clockSkewMaxMs)
          storeZeroMost = storeNow - askedAtMs
          bound = storeNow + clockSkewMaxMs
        },
        raiseUnsafe: (instant) => {
          floor = Math.max(floor, bounded(instant))
        },
        aheadMsUnsafe: () => Math.max(0, Math.round(now() - storeZeroMost - elapsed())),
        elapsedUnsafe: elapsed
      }
    })
  )
}
