/** The machine's clock enters; instants that never go back, and never fall into an answered past, leave. */
import { Clock, Context, Effect, Layer } from "effect"
import type { Instant } from "../../domain/Ids.ts"

/** The only clock on the way of a command (design §4): what it says is recorded, what elapses is waited for. */
export class LedgerClock extends Context.Service<
  LedgerClock,
  {
    /** Now, but not before any earlier answer and not before the floor. Synchronous: one call a decision. */
    readonly nowUnsafe: () => Instant
    /** From here on every answer is at least `floor`: what lies before it was answered, and must not change (I9). */
    readonly raiseUnsafe: (floor: Instant) => void
    /** Milliseconds since some moment: they go on while `nowUnsafe` waits for a clock that was set back. For patience. */
    readonly elapsedUnsafe: () => number
  }
>()("chronicle/actors/LedgerClock") {
  static readonly layer = Layer.effect(
    LedgerClock,
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let floor = 0
      return {
        nowUnsafe: () => {
          floor = Math.max(floor, clock.currentTimeMillisUnsafe())
          return floor
        },
        raiseUnsafe: (instant) => {
          floor = Math.max(floor, instant)
        },
        elapsedUnsafe: () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
      }
    })
  )
}
