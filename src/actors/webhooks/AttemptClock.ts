/**
 * The instant that a message to an endpoint says it was sent at. It exists because receivers refuse messages that are some minutes off: by a
 * machine's clock that is set wrong, all of them would be, until the endpoint is disabled.
 */
import { Clock, Effect, Semaphore } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"

/** A clock that differs more from the event store's is wrong, in milliseconds; the specification has receivers allow five minutes. */
const offMsMax = 30_000
/** How long the store's clock is believed, and how long it is asked for at most, in milliseconds. */
const believedMs = 60_000
const patienceMs = 2_000

/** By the machine's clock, or by the event store's, as the ledger's own instants are bounded by that, where the two are too far apart. */
export const makeAttemptClock: Effect.Effect<Effect.Effect<Instant>, never, EventStore> = Effect.gen(
  function* () {
    const clock = yield* Clock.Clock
    const store = yield* EventStore
    /** The store's clock less time elapsed; undefined until it has told. */
    let storeZero: number | undefined
    let askedAt = Number.NEGATIVE_INFINITY

    const isDue = () => elapsedMsUnsafe(clock) - askedAt > believedMs
    const ask = Effect.gen(function* () {
      const beganAt = elapsedMsUnsafe(clock)
      const storeNow = yield* store.heartbeat([])
      storeZero = storeNow - (beganAt + elapsedMsUnsafe(clock)) / 2
    }).pipe(
      Effect.timeoutOption(patienceMs),
      Effect.option,
      Effect.tap(() =>
        Effect.sync(() => {
          askedAt = elapsedMsUnsafe(clock)
        })
      )
    )
    // Messages that start meanwhile wait for the same answer.
    const askOnce = Semaphore.makeUnsafe(1).withPermit(
      Effect.suspend(() => (isDue() ? Effect.asVoid(ask) : Effect.void))
    )

    return Effect.gen(function* () {
      // Only while messages are sent, so that a node without endpoints asks nothing.
      if (isDue()) yield* askOnce
      const now = clock.currentTimeMillisUnsafe()
      if (storeZero === undefined) return now
      const byStore = Math.round(storeZero + elapsedMsUnsafe(clock))
      return Math.abs(now - byStore) > offMsMax ? byStore : now
    })
  }
)
