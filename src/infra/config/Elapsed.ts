/** Time elapsed, for waits and patience: it goes on evenly, however the machine's clock is set. */
import type { Clock } from "effect"

/** In milliseconds from some beginning; only differences mean anything. */
export const elapsedMsUnsafe = (clock: Pick<Clock.Clock, "monotonicTimeNanosUnsafe">): number =>
  Number(clock.monotonicTimeNanosUnsafe()) / 1e6
