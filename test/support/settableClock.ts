/** A machine's clock that is set while a test goes on, where time elapsed goes on as before; or time that passes without a wait. */
import { Clock, Effect } from "effect"
import type { EventStore } from "../../src/infra/eventstore/EventStore.ts"

/** A clock that can be set, over one whose time passes. */
export const settable = (inner: Clock.Clock) => {
  let offsetMs = 0
  let passedMs = 0
  const nowMs = () => inner.currentTimeMillisUnsafe() + passedMs + offsetMs
  const elapsedNanos = () => inner.monotonicTimeNanosUnsafe() + BigInt(passedMs) * 1_000_000n
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: nowMs,
    currentTimeMillis: Effect.sync(nowMs),
    currentTimeNanosUnsafe: () => inner.currentTimeNanosUnsafe(),
    currentTimeNanos: inner.currentTimeNanos,
    monotonicTimeNanosUnsafe: elapsedNanos,
    monotonicTimeNanos: Effect.sync(elapsedNanos),
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
    },
    /** So many whole milliseconds have gone by, for what reads the clock; what sleeps by it sleeps on. */
    pass: (ms: number) => {
      passedMs += ms
    }
  }
}

/** A clock over another one by which a millisecond elapses with each look at that, as where all that is done takes long. */
export const passing = (inner: Clock.Clock): Clock.Clock => {
  let looks = 0
  const elapsedNanos = () => inner.monotonicTimeNanosUnsafe() + BigInt(++looks) * 1_000_000n
  return {
    ...settable(inner).clock,
    monotonicTimeNanosUnsafe: elapsedNanos,
    monotonicTimeNanos: Effect.sync(elapsedNanos)
  }
}

/** A clock that stands, over one whose time passes: what sleeps by it does not stand. */
export const standing = (inner: Clock.Clock): Clock.Clock => {
  const [ms, nanos, elapsed] = [
    inner.currentTimeMillisUnsafe(),
    inner.currentTimeNanosUnsafe(),
    inner.monotonicTimeNanosUnsafe()
  ]
  return {
    currentTimeMillisUnsafe: () => ms,
    currentTimeMillis: Effect.succeed(ms),
    currentTimeNanosUnsafe: () => nanos,
    currentTimeNanos: Effect.succeed(nanos),
    monotonicTimeNanosUnsafe: () => elapsed,
    monotonicTimeNanos: Effect.succeed(elapsed),
    sleep: (duration) => inner.sleep(duration)
  }
}

/** The same event store in memory, whose clock is this one, whichever clock its callers have. */
export const storeBy = (clock: Clock.Clock, store: EventStore["Service"]): EventStore["Service"] => ({
  ...store,
  registerWriter: (writer) => Effect.provideService(store.registerWriter(writer), Clock.Clock, clock),
  heartbeat: (writers) => Effect.provideService(store.heartbeat(writers), Clock.Clock, clock),
  finishWriters: (options) => Effect.provideService(store.finishWriters(options), Clock.Clock, clock)
})

/**
 * A clock by which a millisecond elapses with each look, so that what goes on in short turns has one after a few looks; and how often it
 * is looked at, in all and at most between two turns of the event loop, in which others are served.
 */
export const countingTurns = Effect.fnUntraced(function* (inner: Clock.Clock) {
  let [looks, inTurn, mostInTurn] = [0, 0, 0]
  const monotonicTimeNanosUnsafe = () => {
    looks++
    mostInTurn = Math.max(mostInTurn, ++inTurn)
    return inner.monotonicTimeNanosUnsafe()
  }
  let next: NodeJS.Immediate
  const endTurn = () => {
    inTurn = 0
    next = setImmediate(endTurn)
  }
  yield* Effect.acquireRelease(Effect.sync(endTurn), () => Effect.sync(() => clearImmediate(next)))
  return {
    clock: passing({ ...settable(inner).clock, monotonicTimeNanosUnsafe }),
    looks: () => looks,
    mostInTurn: () => mostInTurn
  }
})
