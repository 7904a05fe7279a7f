/** The patience of a node that starts: it asks the event store again for a while, so that it needs not end during a failover. */
import { Clock, Effect, type Redacted, Schedule } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import * as Migrations from "../postgres/Migrations.ts"

/** Between two tries, in milliseconds. */
const retryMs = 1_000

/**
 * Asks until the store answers, with a warning each time that it does not; fails once it has not for `storeStartMs`, and at once where
 * the failure is none that waiting mends.
 */
export const awaitStore = Effect.fnUntraced(function* <A, E extends { readonly message: string }>(
  ask: Effect.Effect<A, E>,
  isUnanswered: (error: E, hasWaited: boolean) => boolean = () => true
) {
  const clock = yield* Clock.Clock
  const { storeStartMs } = yield* LedgerConfig
  const untilMs = elapsedMsUnsafe(clock) + storeStartMs
  let hasWaited = false
  return yield* ask.pipe(
    Effect.tapError((error) => {
      if (!isUnanswered(error, hasWaited)) return Effect.void
      hasWaited = true
      return Effect.logWarning("the start of this node waits for the event store", error.message)
    }),
    Effect.retry({
      schedule: Schedule.spaced(retryMs),
      while: (error) => isUnanswered(error, hasWaited) && elapsedMsUnsafe(clock) < untilMs
    })
  )
})

/**
 * Looks at the schema of the log so. Another one ends the start at once, and so does a store that cannot be reached, unless it did not answer
 * before that: one that fails over says nothing for a while, then takes no connections, then says that it is starting.
 */
export const awaitLogSchema = (eventStoreUrl: Redacted.Redacted) =>
  awaitStore(
    Migrations.checkAt("event-store", eventStoreUrl),
    (error, hasWaited) =>
      error._tag === "MigrationFailed" &&
      (error.isUnanswered === true || (hasWaited && error.isUnreached === true))
  )
