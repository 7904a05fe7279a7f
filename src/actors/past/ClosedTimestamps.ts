/** An instant enters; "no writer can still commit at or before it" leaves, after a bounded wait. */
import { Clock, Context, Effect, Layer, Schedule, Semaphore } from "effect"
import { NotYetVisible, Unavailable } from "../../domain/Errors.ts"
import { type Instant, printInstant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"

/** How often an instant that is still open is looked at again, in milliseconds. */
const pollMs = 50

/**
 * A question about the past is answered only once that past is closed (design §4, I9). Every writer tells the
 * store up to when it is closed; one that gave no sign of life for several heartbeats is fenced, so that not
 * even a zombie can write into an answered past. Works beside running nodes and without any.
 */
export class ClosedTimestamps extends Context.Service<
  ClosedTimestamps,
  {
    readonly awaitClosed: (instant: Instant) => Effect.Effect<void, NotYetVisible | Unavailable>
  }
>()("chronicle/actors/ClosedTimestamps") {
  static readonly layer = Layer.effect(
    ClosedTimestamps,
    Effect.gen(function* () {
      const store = yield* EventStore
      const limits = yield* LedgerConfig
      const clock = yield* Clock.Clock
      const silenceMs = limits.heartbeatMs * 20
      // One look at a time serves all who wait for it, however many they are.
      const looking = Semaphore.makeUnsafe(1)
      let looks = 0
      let closedUpTo: Instant = -1

      const openUntil = (instant: Instant, closedAt: Instant) =>
        new NotYetVisible({
          wanted: printInstant(instant),
          reached: printInstant(Math.max(closedAt, 0))
        })

      const look = Effect.gen(function* () {
        looks++
        // Read first: a writer that registers later starts above the store's clock of that moment.
        const storeNow = yield* store.heartbeat([])
        let least = storeNow - 1
        for (const writer of yield* store.listWriters) {
          if (writer.fenced) continue
          if (storeNow - writer.heartbeatAt > silenceMs) yield* store.fenceWriter(writer.writerId)
          else least = Math.min(least, writer.closedAt)
        }
        closedUpTo = Math.max(closedUpTo, least)
      })

      const lookFor = Effect.fnUntraced(function* (instant: Instant) {
        const before = looks
        yield* looking.withPermits(1)(Effect.suspend(() => (looks > before ? Effect.void : look)))
        if (closedUpTo < instant) return yield* openUntil(instant, closedUpTo)
      })

      const awaitClosed = Effect.fn("ClosedInstants.awaitClosed")(function* (instant: Instant) {
        if (instant <= closedUpTo) return
        if (instant > clock.currentTimeMillisUnsafe() + limits.queryDeadlineMs) {
          return yield* openUntil(instant, clock.currentTimeMillisUnsafe())
        }
        yield* lookFor(instant).pipe(
          Effect.retry({
            schedule: Schedule.spaced(pollMs),
            while: (error) => error._tag === "NotYetVisible"
          }),
          Effect.timeoutOrElse({
            duration: limits.queryDeadlineMs,
            orElse: () => Effect.suspend(() => Effect.fail(openUntil(instant, closedUpTo)))
          }),
          Effect.catchTag("StoreUnavailable", (error) =>
            Effect.fail(new Unavailable({ what: error.store, reason: error.reason }))
          )
        )
      })
      return { awaitClosed }
    })
  )
}
