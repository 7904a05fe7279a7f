/**
 * Keeps a fiber alive that must never end ("let it crash"): however one run of it ends, by failure or defect, the
 * cause is reported and the next run starts, after pauses that double up to `backoffMaxMs`.
 */
import { Cause, Effect } from "effect"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { StoreUnavailable } from "../../infra/eventstore/EventStoreTypes.ts"

const pauseMsMin = 50

/** `run` reports progress by calling `alive`, which makes the pauses short again. */
export const supervise = Effect.fnUntraced(function* <E, R>(
  run: (alive: () => void) => Effect.Effect<unknown, E, R>,
  onDeath: (cause: Cause.Cause<E>) => Effect.Effect<void>
) {
  const { backoffMaxMs } = yield* ReadSideConfig
  let deaths = 0
  const alive = (): void => {
    deaths = 0
  }
  return yield* run(alive).pipe(
    // An interruption from outside is not caught here; one from within is a death like any other.
    Effect.catchCause(onDeath),
    Effect.flatMap(() => Effect.sleep(Math.min(backoffMaxMs, pauseMsMin * 2 ** Math.min(deaths++, 20)))),
    Effect.forever
  )
})

/** What went wrong, in one line for logs. */
export const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}

/** The same for all who may ask how a node is: of a store that is away neither where it is nor its own words. */
export const toldOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof StoreUnavailable ? error.told : reasonOf(cause)
}
