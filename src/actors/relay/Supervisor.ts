/** The life of a fiber that must never end enters; it is begun again after each death, with growing pauses. */
import { Cause, Effect } from "effect"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"

const pauseMsMin = 50

/**
 * Let it crash: whatever a life ends with, failure or defect, is told and the next one begins. Pauses double up to
 * the limit, and begin small again once a life reported progress by `alive`.
 */
export const supervise = Effect.fnUntraced(function* <E, R>(
  life: (alive: () => void) => Effect.Effect<unknown, E, R>,
  onDeath: (cause: Cause.Cause<E>) => Effect.Effect<void>
) {
  const { backoffMaxMs } = yield* ReadSideConfig
  let deaths = 0
  const alive = (): void => {
    deaths = 0
  }
  return yield* life(alive).pipe(
    // An interruption from outside never gets here; one from within is a death like any other.
    Effect.catchCause(onDeath),
    Effect.flatMap(() => Effect.sleep(Math.min(backoffMaxMs, pauseMsMin * 2 ** Math.min(deaths++, 20)))),
    Effect.forever
  )
})

/** What went wrong, in one line for people. */
export const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}
