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

  /** The look-up in its turn; `full` where as many wait as may. However it is interrupted, its place is free afterwards. */
  run<A, E, B, E2>(lookup: Effect.Effect<A, E>, full: Effect.Effect<B, E2>): Effect.Effect<A | B, E | E2> {
    return Effect.uninterruptibleMask((restore): Effect.Effect<A | B, E | E2> => {
      if (this.#open >= this.#max) return full
      this.#open++
      return Effect.ensuring(
        restore(this.#permits.withPermit(lookup)),
        Effect.sync(() => {
          this.#open--
        })
      )
    })
  }
}
