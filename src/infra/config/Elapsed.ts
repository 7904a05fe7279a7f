/** Time elapsed, for waits, patience and the length of turns: it goes on evenly, however the machine's clock is set. */
import { type Clock, Effect } from "effect"

type ElapsedClock = Pick<Clock.Clock, "monotonicTimeNanosUnsafe">

/** In milliseconds from some beginning; only differences mean anything. */
export const elapsedMsUnsafe = (clock: ElapsedClock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** How long a turn of work is, in milliseconds: in a long one a node answers no request, and loses its shards. */
export const turnMs = 5

/** To be asked before each piece of work: undefined while the turn lasts, else what is to be waited for, until the event loop has served others. */
export type Turns = () => Effect.Effect<void> | undefined

export const makeTurns = (clock: ElapsedClock): Turns => {
  let endsAt = elapsedMsUnsafe(clock) + turnMs
  const begin = () => {
    endsAt = elapsedMsUnsafe(clock) + turnMs
  }
  const next = Effect.map(Effect.yieldNow, begin)
  return () => (elapsedMsUnsafe(clock) < endsAt ? undefined : next)
}

/** What is made of each item, in short turns. */
export const mapInTurns = Effect.fnUntraced(function* <A, B>(
  items: ReadonlyArray<A>,
  make: (item: A, nth: number) => B,
  turns: Turns
) {
  const made: Array<B> = []
  for (const [nth, item] of items.entries()) {
    const turn = turns()
    if (turn !== undefined) yield* turn
    made.push(make(item, nth))
  }
  return made
})
