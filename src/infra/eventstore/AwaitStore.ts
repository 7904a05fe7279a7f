/** The patience of a node that starts: it asks the event store again for a while, so that it needs not end during a failover. */
import { Clock, Effect, Schedule } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import type { StoreUnavailable } from "./EventStoreTypes.ts"

/** Between two tries, in milliseconds. */
const retryMs = 1_000

/** Asks until the store answers, with a warning each time that it does not; fails once it has not for `storeStartMs`. */
export const awaitStore = Effect.fnUntraced(function* <A>(ask: Effect.Effect<A, StoreUnavailable>) {
  const clock = yield* Clock.Clock
  const { storeStartMs } = yield* LedgerConfig
  const untilMs = elapsedMsUnsafe(clock) + storeStartMs
  return yield* ask.pipe(
    Effect.tapError(({ message }) =>
      Effect.logWarning("the start of this node waits for the event store", message)
    ),
    Effect.retry({ schedule: Schedule.spaced(retryMs), while: () => elapsedMsUnsafe(clock) < untilMs })
  )
})
