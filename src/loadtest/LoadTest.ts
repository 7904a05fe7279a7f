/** Settings and services enter; accounts are prepared, the load is run, every invariant checked; the outcome leaves. */
import { Clock, Context, Effect, Fiber, Layer } from "effect"
import { Dispatcher } from "../actors/commands/Dispatcher.ts"
import { LedgerConfig, type LedgerLimits } from "../infra/config/LedgerConfig.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"
import { Acknowledged } from "./Acknowledged.ts"
import { auditStores } from "./AuditStores.ts"
import { compareLog } from "./CompareLog.ts"
import { type Driver, withIntruder } from "./Driver.ts"
import { awaitCaughtUp, type LagWatch, makeLagWatch } from "./Lag.ts"
import { runLoad } from "./Load.ts"
import { Meter, summarize } from "./Meter.ts"
import { nodeFigures } from "./NodeFigures.ts"
import { detailsOf, type Measured, toOutcome } from "./Outcome.ts"
import { watchPauses } from "./Pauses.ts"
import { prepareAccounts } from "./Prepare.ts"
import { probeStore } from "./Probe.ts"
import type { Progress } from "./Progress.ts"
import { withRepeats } from "./Repeats.ts"
import { makeRng } from "./Rng.ts"
import { makeRunIds } from "./RunIds.ts"
import { makeScenario } from "./Scenario.ts"
import { driverOf, migrate, readSide, type ServiceUrls, stores, writePath } from "./Services.ts"
import type { LoadSettings } from "./Settings.ts"
import { measureSingleClient } from "./SingleClient.ts"
import { noStoreBaseline, startStoreBaseline } from "./StoreBaseline.ts"
import { lookAtProcesses, usageBetween } from "./Usage.ts"

const samplesEveryMs = 500
/** Commands of the probe are numbered from here, far above those of any scenario. */
export const probeCommands = 10 ** 12
const besideCommands = 2 * probeCommands

/** A mix keeps less in memory than it uses, so that accounts come and go. */
export const limitsFor = (settings: LoadSettings, limits: LedgerLimits): LedgerLimits =>
  settings.scenario === "mixed-zipf"
    ? { ...limits, residentsMax: Math.min(limits.residentsMax, Math.max(1_000, settings.accounts / 2)) }
    : limits

export const runLoadTest = Effect.fn("LoadTest.run")(function* (
  settings: LoadSettings,
  urls: ServiceUrls,
  progress: Progress
) {
  progress.say("bringing both databases to the current schema")
  yield* migrate(urls)
  const limits = limitsFor(settings, yield* LedgerConfig)
  return yield* measure(settings, urls, progress).pipe(
    Effect.map((measured) => ({ outcome: toOutcome(measured), details: detailsOf(measured.meter) })),
    // The node ends before its stores do.
    Effect.scoped,
    Effect.provide(stores(urls)),
    Effect.provideService(LedgerConfig, limits)
  )
})

const measure = Effect.fnUntraced(function* (settings: LoadSettings, urls: ServiceUrls, progress: Progress) {
  const store = yield* EventStore
  const clock = yield* Clock.Clock
  const ids = makeRunIds(
    `lt${clock.currentTimeMillisUnsafe().toString(36)}`,
    settings.scenario === "mixed-zipf"
  )
  const rng = yield* makeRng(settings.seed)
  const scenario = makeScenario(settings, ids, rng)
  const acknowledged = new Acknowledged(ids, scenario.accountsMax, settings.repeats > 0)
  const product = yield* store.product
  progress.say(`measuring what one commit costs on ${product}`)
  const storeLatency = yield* probeStore(ids, probeCommands)
  const besideWork = { run: ids.run, commandNumber: besideCommands }
  const beside =
    settings.storeBeside === false
      ? noStoreBaseline
      : yield* startStoreBaseline(urls.eventStoreUrl, besideWork)

  const catchUp = (why: string) => {
    progress.say(`waiting for the read model ${why}`)
    return awaitCaughtUp(ids, scenario.accountsMax, acknowledged, `${settings.patienceSeconds} seconds`)
  }
  const prepare = (driver: Driver, from: number, to: number) =>
    prepareAccounts(driver, scenario, acknowledged, { from, to }, (done) =>
      progress.say(`opening and funding accounts: ${from + done} of ${settings.accounts}`)
    )
  // An earlier life of the node: what it leaves behind is cold for the next.
  const node = yield* Effect.scoped(
    Effect.gen(function* () {
      if (scenario.cold > 0) yield* prepare(yield* startNode(ids.run), 0, scenario.cold)
      return ids.run
    })
  )
  const first = yield* startNode(node)
  const driver =
    settings.intruder === 0
      ? first
      : withIntruder(first, yield* startNode(`${node}-intruder`), () => rng.chance(settings.intruder))
  yield* prepare(driver, scenario.cold, settings.accounts)
  const solo = yield* measureSingleClient(driver, scenario, acknowledged)
  if (settings.readSide) {
    yield* Layer.build(readSide(urls))
    yield* catchUp("to reach the prepared accounts")
  }

  const meter = new Meter()
  const lagWatch = yield* makeLagWatch
  const before = { ...driver.stats() }
  const sampling = yield* Effect.forkChild(sample(meter, driver, lagWatch, settings.seconds, progress))
  const watching = yield* Effect.forkChild(settings.readSide ? lagWatch.watch : Effect.never)
  yield* beside.begin
  const pauses = yield* watchPauses
  const look = yield* lookAtProcesses
  const loop = performance.eventLoopUtilization()
  const cpu = process.cpuUsage()
  const seconds = yield* runLoad({
    driver,
    next: withRepeats(scenario.next, settings.repeats, rng, (command) => acknowledged.changed(command)),
    pace: settings.pace,
    seconds: settings.seconds,
    meter,
    acknowledged,
    onAccepted: settings.readSide ? lagWatch.offerUnsafe : () => {}
  })
  const cpuUsed = process.cpuUsage(cpu)
  const eventLoopUtilization = performance.eventLoopUtilization(loop).utilization
  const pausesSeen = pauses()
  const storeBeside = yield* beside.end
  const after = { ...driver.stats() }
  const cpuUs = cpuUsed.user + cpuUsed.system
  const usage = usageBetween(look, yield* lookAtProcesses, { "node-1": cpuUs / 1e6 })
  yield* Fiber.interruptAll([sampling, watching])
  progress.end()

  if (!settings.readSide) yield* Layer.build(readSide(urls))
  const caughtUpAfterSeconds = yield* catchUp("to catch up")
  progress.say("comparing the log with every receipt")
  yield* compareLog(ids, scenario.accountsMax, acknowledged)
  const audited = yield* auditStores((events) =>
    progress.say(`auditing log and read model: ${events} events`)
  )
  progress.end()
  return {
    settings,
    product,
    seconds,
    meter,
    before,
    after,
    lag: lagWatch.histogram,
    caughtUpAfterSeconds,
    rssMiBMax: meter.rssMiBMax,
    cpuUs,
    store: storeLatency,
    storeBeside,
    pauses: pausesSeen,
    solo,
    acknowledged,
    audited,
    nodes: [
      nodeFigures({
        name: "node-1",
        seconds,
        committed: meter.committed,
        rejected: meter.rejectedCount,
        overloaded: meter.overloaded,
        unavailable: meter.unavailable,
        indeterminate: meter.indeterminate,
        latencyMs: summarize(meter.decided),
        ways: { here: meter.committed + meter.rejectedCount, borrowing: 0, forwarded: 0 },
        before,
        after,
        cpuUs,
        eventLoopUtilization,
        rssMiB: meter.rssMiBMax,
        shards: null,
        ended: null
      })
    ],
    usage,
    failures: []
  } satisfies Measured
})

/** One life of the write path, in the scope. */
export const startNode = (node: string) =>
  Effect.map(Layer.build(writePath(node)), (services) => driverOf(Context.get(services, Dispatcher)))

/** Looks at the load twice a second, until interrupted. */
const sample = Effect.fnUntraced(function* (
  meter: Meter,
  driver: Driver,
  lag: LagWatch,
  seconds: number,
  progress: Progress
) {
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const start = nowMs()
  return yield* Effect.sync(() => {
    const seen = meter.look(nowMs() - start, {
      lagMs: lag.currentMs(),
      rssMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
      waiting: driver.stats().inFlight
    })
    progress.show(seen, seconds)
  }).pipe(Effect.delay(samplesEveryMs), Effect.forever)
})
