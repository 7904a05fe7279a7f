/**
 * Waits until an instant is closed: until no writer can still commit at or before it. Only then a question about that
 * past has an answer that never changes (design §4, I9). Every writer tells the store up to when it is closed; one that
 * gave no sign of life for many heartbeats is fenced, so that not even a zombie can write into an answered past.
 */
import { Context, Effect, Layer, Schedule, Semaphore } from "effect"
import { NotYetVisible, Unavailable } from "../../domain/Errors.ts"
import { type Instant, printInstant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { makeSilentWriters } from "../commit/SilentWriters.ts"

/** How often an instant that is still open is looked at again, in milliseconds. */
const pollMs = 50

/** A writer is fenced after so many heartbeats without a sign of life. */
const missedHeartbeatsMax = 20

/** Works beside running nodes and without any. */
export class ClosedTimestamps extends Context.Service<
  ClosedTimestamps,
  {
    /** Fails with `NotYetVisible` where the instant is not closed before the query's deadline. */
    readonly awaitClosed: (instant: Instant) => Effect.Effect<void, NotYetVisible | Unavailable>
  }
>()("chronicle/actors/ClosedTimestamps") {
  static readonly layer = Layer.effect(
    ClosedTimestamps,
    Effect.suspend(() => make)
  )
}

const openUntil = (instant: Instant, closedUpTo: Instant) =>
  new NotYetVisible({ wanted: printInstant(instant), reached: printInstant(Math.max(closedUpTo, 0)) })

const make = Effect.gen(function* () {
  const store = yield* EventStore
  const limits = yield* LedgerConfig
  const silent = makeSilentWriters(limits.heartbeatMs * missedHeartbeatsMax, limits.heartbeatMs)
  // One look at a time serves all who wait for it, however many they are.
  const looking = Semaphore.makeUnsafe(1)
  let looks = 0
  let closedUpTo: Instant = -1
  /** What the store's clock said at the last look; the machine's may be off. */
  let lookedAt: Instant = -1

  const look = Effect.gen(function* () {
    looks++
    // Read before the writers: one that registers later begins above what the store's clock says to it then. That may be
    // another clock, of another gateway or after a failover, behind this one by as much as the skew bound.
    const storeNow = yield* store.heartbeat([])
    lookedAt = storeNow
    const writers = yield* store.listWriters
    const stayedSilent = new Set(silent.look(writers, storeNow))
    let least = storeNow - limits.clockSkewMaxMs - 1
    for (const writer of writers) {
      if (writer.fenced) continue
      if (stayedSilent.has(writer.writerId)) yield* store.fenceWriter(writer.writerId)
      else least = Math.min(least, writer.closedAt)
    }
    closedUpTo = Math.max(closedUpTo, least)
  }).pipe(
    // Also where the question ended while the store stood still, whose deadline is often before that of a statement.
    Effect.onError(() => Effect.sync(silent.forgetUnsafe))
  )

  const lookFor = Effect.fnUntraced(function* (instant: Instant) {
    const before = looks
    yield* looking.withPermits(1)(Effect.suspend(() => (looks > before ? Effect.void : look)))
    if (closedUpTo < instant) return yield* openUntil(instant, closedUpTo)
  })

  const awaitClosed = Effect.fn("ClosedTimestamps.awaitClosed")(function* (instant: Instant) {
    if (instant <= closedUpTo) return
    yield* lookFor(instant).pipe(
      Effect.retry({
        schedule: Schedule.spaced(pollMs),
        // One that is far in the future is not waited for.
        while: (error) => error._tag === "NotYetVisible" && instant <= lookedAt + limits.queryDeadlineMs
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
