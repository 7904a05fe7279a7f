/**
 * Now by the event store's clock, as events are recorded, for what tells how old they are: the machine's may be off by minutes, on a node that
 * takes no commands for that and projects all the same.
 */
import { Clock, Effect, Latch } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"

/** How often the store's clock is asked for at most, in milliseconds: in between, time elapsed is added, which hardly drifts. */
const askMs = 5_000

/** Answers the machine's clock, within the skew bound of the store's; undefined before that is known. Asks only while it is asked itself. */
export const makeStoreNow = Effect.gen(function* () {
  const store = yield* EventStore
  const clock = yield* Clock.Clock
  const { clockSkewMaxMs } = yield* LedgerConfig
  const isWanted = Latch.makeUnsafe(true)
  /** The store's clock less time elapsed, at its last answer: about, for it was read between question and answer. */
  let zero: number | undefined
  const ask = Effect.gen(function* () {
    yield* isWanted.await
    isWanted.closeUnsafe()
    const askedAtMs = elapsedMsUnsafe(clock)
    const storeNow = yield* store.heartbeat([])
    zero = storeNow - (askedAtMs + elapsedMsUnsafe(clock)) / 2
  })
  yield* ask.pipe(
    Effect.ignore,
    goesOn("asking for the store's clock"),
    Effect.andThen(Effect.sleep(askMs)),
    Effect.forever,
    Effect.forkScoped
  )
  return (): Instant | undefined => {
    isWanted.openUnsafe()
    if (zero === undefined) return undefined
    const storeNow = Math.round(zero + elapsedMsUnsafe(clock))
    const machineNow = clock.currentTimeMillisUnsafe()
    return Math.min(Math.max(machineNow, storeNow - clockSkewMaxMs), storeNow + clockSkewMaxMs)
  }
})
