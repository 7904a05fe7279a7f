/** A machine's clock that is set while a test goes on; time elapsed goes on as before. */
import { type Clock, Effect } from "effect"

/** A clock that can be set, over one whose time passes. */
export const settable = (inner: Clock.Clock) => {
  let offsetMs = 0
  const nowMs = () => inner.currentTimeMillisUnsafe() + offsetMs
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: nowMs,
    currentTimeMillis: Effect.sync(nowMs),
    currentTimeNanosUnsafe: () => inner.currentTimeNanosUnsafe(),
    currentTimeNanos: inner.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => inner.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: inner.monotonicTimeNanos,
    sleep: (duration) => inner.sleep(duration)
  }
  return {
    clock,
    /** So far ahead of the other one, and no longer what it was set to before. */
    set: (ms: number) => {
      offsetMs = ms
    },
    setBack: (ms: number) => {
      offsetMs = -ms
    }
  }
}
