/** How far the projections are behind at full and at half load, and after an outage of the bus. */

import { Array as Arr, Clock, Context, Effect, Fiber, Layer } from "effect"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import { ProjectionRegistry } from "../../src/actors/projections/ProjectionRegistry.ts"
import type { DevStackService } from "../../src/infra/dev/DevStack.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { awaitCaughtUp, makeLagWatch } from "../../src/loadtest/Lag.ts"
import { runLoad } from "../../src/loadtest/Load.ts"
import { Meter } from "../../src/loadtest/Meter.ts"
import { prepareAccounts } from "../../src/loadtest/Prepare.ts"
import { makeRng } from "../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { makeScenario } from "../../src/loadtest/Scenario.ts"
import { driverOf, readSide } from "../../src/loadtest/Services.ts"
import type { Pace } from "../../src/loadtest/Settings.ts"
import { say, target, timed, whole } from "./Targets.ts"

const accounts = 10_000
const closed: Pace = { _tag: "Closed", concurrency: 1_024 }
const warmUpSeconds = 3
const lagMsMax = 250
const keptMin = 0.8
const positionsMax = 1_000
const patience = "10 minutes"

/** A node with its read side, and a load on it whose acknowledgements are noted. */
const makeWorld = Effect.fnUntraced(function* (urls: DevStackService) {
  const clock = yield* Clock.Clock
  const ids = makeRunIds(`rs${clock.currentTimeMillisUnsafe().toString(36)}`, false)
  const acknowledged = new Acknowledged(ids, accounts, false)
  const settings = {
    scenario: "transfers-uniform",
    accounts,
    pace: closed,
    seconds: 0,
    seed: 1,
    repeats: 0,
    intruder: 0,
    readSide: true,
    patienceSeconds: 600
  } as const
  const driver = driverOf(Context.get(yield* Layer.build(LedgerNode.writeSide(ids.run)), Dispatcher))
  const scenario = makeScenario(settings, ids, yield* makeRng(1))
  yield* prepareAccounts(driver, scenario, acknowledged, { from: 0, to: accounts }, () => {})
  const services = yield* Layer.build(readSide(urls))
  const registry = Context.get(services, ProjectionRegistry)

  /** Events that came into the read model since the start. */
  const projected = () =>
    registry
      .statesUnsafe()
      .flatMap(({ partitions, sweep }) => [sweep.loaded, ...partitions.map(({ events }) => events)])
      .reduce((sum, events) => sum + events, 0)
  const caughtUp = Effect.flatMap(awaitCaughtUp(ids, accounts, acknowledged, patience), (seconds) =>
    seconds === undefined
      ? Effect.die(new Error("the read model does not catch up"))
      : Effect.succeed(seconds)
  )
  const run = Effect.fnUntraced(function* (pace: Pace, seconds: number) {
    const lag = yield* makeLagWatch
    const watching = yield* Effect.forkChild(lag.watch)
    const meter = new Meter()
    const took = yield* runLoad({
      driver,
      next: scenario.next,
      pace,
      seconds,
      meter,
      acknowledged,
      onAccepted: lag.offerUnsafe
    })
    yield* Fiber.interrupt(watching)
    if (meter.defects.length > 0) return yield* Effect.die(new Error(meter.defects[0]))
    return { perSecond: meter.committed / took, lag: lag.histogram }
  })
  /** Waits until the read model has everything that is acknowledged by now. */
  const reachesNow = Effect.gen(function* () {
    const readModel = yield* ReadModel
    let waiting = Array.from({ length: accounts }, (_, index) => ({
      account: ids.account(index),
      version: acknowledged.versionAt(index)
    }))
    while (waiting.length > 0) {
      waiting = (yield* Effect.forEach(Arr.chunksOf(waiting, positionsMax), readModel.behind)).flat()
      if (waiting.length > 0) yield* Effect.sleep(50)
    }
  })
  return { run, projected, caughtUp, reachesNow, rows: () => driver.stats().rows }
})

type World = Effect.Success<ReturnType<typeof makeWorld>>

/** Measures from when the queues are full, because before that the ratio would compare how two rates begin. */
const measureSaturation = Effect.fnUntraced(function* (world: World, seconds: number) {
  const load = yield* Effect.forkChild(world.run(closed, seconds + warmUpSeconds))
  yield* Effect.sleep(warmUpSeconds * 1_000)
  const [rows, projected] = [world.rows(), world.projected()]
  const { perSecond, lag } = yield* Fiber.join(load)
  const [written, kept] = [world.rows() - rows, world.projected() - projected]
  const behind = yield* world.caughtUp
  yield* say(
    `saturated: ${whole(perSecond)} transfers a second, lag p99 ${whole(lag.getValueAtPercentile(99))} ms, caught up after ${behind.toFixed(1)} s`
  )
  return {
    perSecond,
    bar: target(
      "at saturation, events projected of those written",
      (kept / written).toFixed(2),
      `>= ${keptMin}`,
      kept / written >= keptMin
    )
  }
})

const measureLag = Effect.fnUntraced(function* (world: World, perSecond: number, seconds: number) {
  const pace: Pace = { _tag: "Open", perSecond, outstandingMax: 10_000 }
  yield* world.run(pace, warmUpSeconds)
  const found = yield* world.run(pace, seconds)
  yield* world.caughtUp
  const [p50, p99] = [50, 99].map((percentile) => found.lag.getValueAtPercentile(percentile))
  yield* say(
    `at ${whole(perSecond)} a second: lag p50 ${p50} ms, p99 ${p99} ms, of ${found.lag.totalCount} writes`
  )
  return target(
    `projection lag p99 at half of it (${whole(perSecond)} transfers a second)`,
    `${p99} ms`,
    `<= ${lagMsMax} ms`,
    (p99 ?? Number.POSITIVE_INFINITY) <= lagMsMax
  )
})

/** Takes the bus away under load, and measures from its return until the read model has everything that was acknowledged. */
const measureOutage = Effect.fnUntraced(function* (
  world: World,
  { nats }: DevStackService,
  perSecond: number,
  seconds: number
) {
  const pace: Pace = { _tag: "Open", perSecond, outstandingMax: 10_000 }
  const load = yield* Effect.forkChild(Effect.forever(world.run(pace, 1)))
  yield* Effect.sleep(warmUpSeconds * 1_000)
  const rows = world.rows()
  const outage = yield* timed(
    Effect.gen(function* () {
      yield* nats.kill
      yield* Effect.sleep(seconds * 1_000)
      yield* nats.start
    })
  )
  const written = world.rows() - rows
  const { ms } = yield* timed(world.reachesNow)
  yield* Fiber.interrupt(load)
  yield* say(`outage: ${whole(written)} events came during ${(outage.ms / 1_000).toFixed(1)} s`)
  return target(
    `catching up from ${(outage.ms / 1_000).toFixed(0)} s without the bus, ${whole(perSecond)} transfers a second going on`,
    `${(ms / 1_000).toFixed(1)} s`,
    "less than it took",
    ms < outage.ms
  )
})

export const measureUnderLoad = Effect.fnUntraced(function* (
  stack: DevStackService,
  { seconds, outageSeconds }: { readonly seconds: number; readonly outageSeconds: number }
) {
  const world = yield* makeWorld(stack)
  yield* world.caughtUp
  const saturated = yield* measureSaturation(world, seconds)
  const half = Math.round(saturated.perSecond / 2)
  const lag = yield* measureLag(world, half, seconds)
  const bars = [saturated.bar, lag]
  if (outageSeconds > 0) bars.push(yield* measureOutage(world, stack, half, outageSeconds))
  return bars
}, Effect.scoped)
