/** What the doors of a node do while no peer is connected: each timer that wakes it in vain is paid for around the clock. */
import { connect } from "node:net"
import { assert, it } from "@effect/vitest"
import { Clock, type Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { servers } from "../../src/cli/run/servers.ts"
import { loopbackPort } from "../../src/infra/dev/LoopbackPort.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { until } from "../support/waiting.ts"

const watchedSeconds = 20
/** A timer a second of a door would be `watchedSeconds` more; which of the others fall into the time differs by one or two. */
const few = watchedSeconds / 2

/** How many timers are set in so many seconds of the virtual clock. */
const timersOf = Effect.fnUntraced(function* (slept: { timers: number }) {
  slept.timers = 0
  yield* TestClock.adjust(watchedSeconds * 1_000)
  return slept.timers
})

/** The same, again until there are so many: a server learns later than its client that they are connected, or not any more. */
const timersUntil = (slept: { timers: number }, isSo: (timers: number) => boolean) =>
  Effect.tap(timersOf(slept), TestClock.withLive(Effect.sleep(20))).pipe(
    Effect.repeat({ until: isSo, times: 1_000 })
  )

/** Of a node with these doors, before a peer comes, while it is there, and once it has gone. */
const timersWith = Effect.fnUntraced(function* (hasDoors: boolean) {
  const clock = yield* Clock.Clock
  const slept = { timers: 0 }
  const counting: Clock.Clock = Object.assign(Object.create(clock), {
    sleep: (duration: Duration.Duration) => {
      slept.timers++
      return clock.sleep(duration)
    }
  })
  const [http, rpc] = [yield* loopbackPort("HTTP"), yield* loopbackPort("RPC")]
  const at = { host: "127.0.0.1", tls: undefined, tokens: [] }
  const doors = hasDoors
    ? servers({ ...at, port: rpc, format: "binary" }, { ...at, port: http })
    : Layer.empty
  return yield* Effect.gen(function* () {
    yield* TestClock.adjust(60_000)
    const before = yield* timersOf(slept)
    if (!hasDoors) return { before, with: before, after: before }
    const peers = [http, rpc].map((port) => connect(port, "127.0.0.1"))
    yield* TestClock.withLive(
      until("both are connected", () => peers.every(({ readyState }) => readyState === "open"))
    )
    const connected = yield* timersUntil(slept, (timers) => timers >= before + watchedSeconds)
    for (const peer of peers) peer.destroy()
    yield* TestClock.withLive(until("both are closed", () => peers.every(({ closed }) => closed)))
    const after = yield* timersUntil(slept, (timers) => timers < before + few)
    return { before, with: connected, after }
  }).pipe(
    Effect.provide(Layer.fresh(Layer.provideMerge(doors, LedgerNode.layerMemory))),
    Effect.provideService(Clock.Clock, counting)
  )
})

it.effect("the doors of a node set timers only while a peer is connected", () =>
  Effect.gen(function* () {
    const alone = yield* timersWith(false)
    const found = yield* timersWith(true)
    assert.closeTo(found.before, alone.before, few)
    assert.isAtLeast(found.with, alone.before + watchedSeconds)
    assert.closeTo(found.after, alone.before, few)
  })
)
