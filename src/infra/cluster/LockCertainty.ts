/**
 * How long the locks of this node are certain (HeldLocks.ts), by both clocks of its machine. Its view of its locks lags behind, and
 * stands still while the process is frozen; the database, which ends an idle session after `lockExpirationMs`, does not. The
 * wall clock alone may be set back, and what is over would be certain again; time elapsed alone stands still while a machine is
 * suspended.
 */
import { Clock, Context, Effect, Layer } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"

/** A moment, by the wall clock and by time elapsed, in milliseconds. */
export interface Moment {
  readonly wallMs: number
  readonly elapsedMs: number
}

/** Before any other. */
export const never: Moment = { wallMs: Number.NEGATIVE_INFINITY, elapsedMs: Number.NEGATIVE_INFINITY }

export const after = ({ wallMs, elapsedMs }: Moment, ms: number): Moment => ({
  wallMs: wallMs + ms,
  elapsedMs: elapsedMs + ms
})

/** The later one. Time elapsed says which, since it never goes back. */
export const laterOf = (one: Moment, other: Moment): Moment => (other.elapsedMs > one.elapsedMs ? other : one)

/** By either clock, whichever ends first. */
export const firstOf = (one: Moment, other: Moment): Moment => ({
  wallMs: Math.min(one.wallMs, other.wallMs),
  elapsedMs: Math.min(one.elapsedMs, other.elapsedMs)
})

const isBefore = (one: Moment, other: Moment): boolean =>
  one.elapsedMs < other.elapsedMs && one.wallMs < other.wallMs

export class LockCertainty extends Context.Service<
  LockCertainty,
  {
    /** This moment. */
    readonly now: () => Moment
    /** Until then no other node can hold a lock that this one was confirmed. */
    until: Moment
    readonly isCertain: () => boolean
  }
>()("chronicle/infra/LockCertainty") {
  static readonly make = (
    clock: Pick<Clock.Clock, "currentTimeMillisUnsafe" | "monotonicTimeNanosUnsafe">
  ): LockCertainty["Service"] => {
    const now = (): Moment => ({
      wallMs: clock.currentTimeMillisUnsafe(),
      elapsedMs: elapsedMsUnsafe(clock)
    })
    return {
      now,
      until: never,
      isCertain() {
        return isBefore(now(), this.until)
      }
    }
  }

  static readonly layer = Layer.effect(LockCertainty, Effect.map(Clock.Clock, LockCertainty.make))
}
