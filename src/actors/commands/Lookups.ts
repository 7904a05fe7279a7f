/**
 * Look-ups in the log that may take long, for commands that wait for them: a bounded number runs at once, a bounded number
 * waits (I10), and what is more is refused before anything is done for it.
 */
import { Effect, Semaphore } from "effect"

export class Lookups {
  readonly #permits: Semaphore.Semaphore
  readonly #max: number
  #open = 0

  constructor({ atOnce, waitingMax }: { readonly atOnce: number; readonly waitingMax: number }) {
    this.#permits = Semaphore.makeUnsafe(atOnce)
    this.#max = atOnce + waitingMax
  }

  /** The look-up in its turn, which is to be run at once; undefined where as many wait as may. */
  take<A, E>(lookup: Effect.Effect<A, E>): Effect.Effect<A, E> | undefined {
    if (this.#open >= this.#max) return undefined
    this.#open++
    return Effect.ensuring(
      this.#permits.withPermit(lookup),
      Effect.sync(() => {
        this.#open--
      })
    )
  }
}
