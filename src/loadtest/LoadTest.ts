/**
 * A load test of one node, in this process: prepares the accounts, runs the load, and checks every invariant. With
 * several nodes see `nodes/NodesTest.ts`.
 */

import { Clock, Context, Effect, Fiber, Layer, Schedule } from "effect"
import { Dispatcher } from "../actors/commands/Dispatcher.ts"
import { ReadSideThreadStatus } from "../actors/projections/ThreadStatus.ts"
import type { Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { elapsedMsUnsafe } from "../infra/config/Elapsed.ts"
import { LedgerConfig, type LedgerLimits } from "../infra/config/LedgerConfig.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"
import * as LedgerNode from "../LedgerNode.ts"
import { Acknowledged } from "./Acknowledged.ts"
import { auditStores } from "./AuditStores.ts"
import { compareLog } from "./CompareLog.ts"
import { type Driver, withIntruder } from "./Driver.ts"
import { watchHeaps } from "./Heaps.ts"
import { awaitCaughtUp, type LagWatch, makeLagWatch } from "./Lag.ts"
import { runLoad, warmUp } from "./Load.ts"
import { Meter, summarize } from "./Meter.ts"
import { nodeFigures } from "./NodeFigures.ts"
import { detailsOf, type Measured, toOutcome } from "./Outcome.ts"
import { watchPauses } from "./Pauses.ts"
import { prepareAccounts } from "./Prepare.ts"
import { probeStore } from "./Probe.ts"
import type { Progress } from "./Progress.ts"
import { loadOf, mayBeRefused } from "./Refusals.ts"
import { withRepeats } from "./Repeats.ts"
import { makeRng, type Rng } from "./Rng.ts"
import { type RunIds, runIdsFor } from "./RunIds.ts"
import { makeScenario, type Scenario } from "./Scenario.ts"
import { driverOf, readSide, type ServiceUrls, stores } from "./Services.ts"
import type { LoadSettings } from "./Settings.ts"
import { measureSingleClient } from "./SingleClient.ts"
import { noStoreBaseline, type StoreBaseline, startStoreBaseline } from "./StoreBaseline.ts"
import { readProcesses, usageBetween } from "./Usage.ts"

const samplesEveryMs = 500
/** The number of the probe's first command, far above those of any scenario. */
export const probeCommands = 10 ** 12
const baselineCommands = 2 * probeCommands

/** A mix keeps fewer accounts in memory than it uses, so that some are always evicted and loaded. */
export const limitsFor = (settings: LoadSettings, limits: LedgerLimits): LedgerLimits =>
  settings.scenario === "mixed-zipf"
    ? {
        ...limits,
        residentsMax: Math.min(limits.residentsMax, Math.max(1_000, Math.ceil(settings.accounts / 2)))
      }
    : limits

export const runLoadTest = Effect.fn("LoadTest.run")(function* (
  settings: LoadSettings,
  urls: ServiceUrls,
  progress: Progress
) {
  progress.say("bringing both databases to the current schema")
  yield* LedgerNode.migrate(urls)
  const limits = limitsFor(settings, yield* LedgerConfig)
  return yield* measure(settings, urls, progress).pipe(
    Effect.map((measured) => ({ outcome: toOutcome(measured), details: detailsOf(measured.meter) })),
    // The scope of the node ends before its stores do.
    Effect.scoped,
    Effect.provide(stores(urls)),
    Effect.provideService(LedgerConfig, limits)
  )
})

/** What the three parts of a run have in common. */
interface Run {
  readonly settings: LoadSettings
  readonly urls: ServiceUrls
  readonly progress: Progress
  readonly ids: RunIds
  readonly rng: Rng
  readonly scenario: Scenario
  readonly acknowledged: Acknowledged
  readonly driver: Driver
  readonly baseline: StoreBaseline
  readonly before: Pick<Measured, "product" | "store" | "singleClient">
}

const measure = Effect.fnUntraced(function* (settings: LoadSettings, urls: ServiceUrls, progress: Progress) {
  const run = yield* begin(settings, urls, progress)
  const loaded = yield* load(run)
  return yield* judge(run, loaded)
})

/** Starts the node and prepares the accounts. */
const begin = Effect.fnUntraced(function* (settings: LoadSettings, urls: ServiceUrls, progress: Progress) {
  const store = yield* EventStore
  const run = `lt${(yield* Clock.currentTimeMillis).toString(36)}`
  const ids = runIdsFor(run, settings)
  const rng = yield* makeRng(settings.seed)
  const scenario = makeScenario(settings, ids, rng)
  const acknowledged = new Acknowledged(ids, scenario.accountsMax, settings.repeats > 0)
  const product = yield* store.product
  progress.say(`measuring what one commit costs on ${product}`)
  const storeLatency = yield* probeStore(ids, probeCommands)
  const baseline =
    settings.storeBaseline === false
      ? noStoreBaseline
      : yield* startStoreBaseline(urls.eventStoreUrl, { run, commandNumber: baselineCommands })

  const prepare = (driver: Driver, from: number, to: number) =>
    prepareAccounts(driver, scenario, acknowledged, { from, to }, (done) =>
      progress.say(`opening and funding accounts: ${from + done} of ${settings.accounts}`)
    )
  // The cold accounts are prepared by an earlier life of the node, so that the next one has none of them in memory.
  if (scenario.cold > 0) {
    yield* Effect.scoped(Effect.flatMap(startNode(run), (driver) => prepare(driver, 0, scenario.cold)))
  }
  const node = yield* startNode(run)
  const driver =
    settings.intruder === 0
      ? node
      : withIntruder(node, yield* startNode(`${run}-intruder`), () => rng.chance(settings.intruder))
  yield* prepare(driver, scenario.cold, settings.accounts)
  const parts = { settings, ids, rng, scenario, acknowledged, driver }
  const singleClient = yield* measureSingleClient({ ...sendingOf(parts, () => {}), next: scenario.next })
  const before = { product, store: storeLatency, singleClient }
  return { ...parts, urls, progress, baseline, before } satisfies Run
})

const catchUp = ({ settings, progress, ids, scenario, acknowledged }: Run, why: string) => {
  progress.say(`waiting for the read model ${why}`)
  const patience = `${settings.patienceSeconds} seconds` as const
  return awaitCaughtUp(ids, scenario.accountsMax, acknowledged, patience)
}

/** Processor time of this thread, in microseconds; Node.js 22 does not tell it. */
const threadCpuUs = (): number | undefined => {
  if (typeof process.threadCpuUsage !== "function") return undefined
  const { user, system } = process.threadCpuUsage()
  return user + system
}

/** What is sent, and what is made of the answers. `onTimely`: called with receipts, for the lag of the read side. */
const sendingOf = (
  run: Pick<Run, "settings" | "ids" | "rng" | "scenario" | "acknowledged" | "driver">,
  onTimely: (receipt: Receipt) => void
) => {
  const { settings, ids, rng, scenario, acknowledged, driver } = run
  return {
    driver,
    next: withRepeats(scenario.next, settings.repeats, rng, (command) => acknowledged.changed(command)),
    pace: settings.pace,
    acknowledged,
    // Beside an intruder a node may be wrong about an account until a write of its own meets the intruder's.
    isTrueRefusal: (command: Command, error: CommandError) =>
      settings.intruder > 0 ||
      mayBeRefused(command, error, loadOf(ids, settings, acknowledged)) ||
      scenario.mayBeRefused?.(command, error) === true,
    onReceipt: (receipt: Receipt, command: Command) => {
      const fault = scenario.accepted?.(command, receipt)
      if (fault !== undefined) acknowledged.blame("I7", fault)
    },
    onAccepted: onTimely
  }
}

/** Runs the load, with everything that is measured meanwhile. */
const load = Effect.fnUntraced(function* (run: Run) {
  const { settings, progress, driver, baseline } = run
  if (settings.warmUp !== undefined && settings.warmUp > 0) {
    progress.say(`warming up, with ${settings.warmUp} commands`)
    yield* warmUp(
      sendingOf(run, () => {}),
      settings.warmUp
    )
  }
  let readSideBytes = (): number | undefined => undefined
  if (settings.readSide) {
    const status = Context.get(yield* Layer.build(readSide(run.urls)), ReadSideThreadStatus)
    readSideBytes = () => status()?.heapBytes
    yield* catchUp(run, "to reach what was written before the load")
  }
  const meter = new Meter()
  const lagWatch = yield* makeLagWatch
  const before = { ...driver.stats() }
  const sampling = yield* Effect.forkChild(sample(meter, driver, lagWatch, settings.seconds, progress))
  const watching = yield* Effect.forkChild(settings.readSide ? lagWatch.watch : Effect.never)
  yield* baseline.begin
  const pauses = yield* watchPauses
  const heaps = yield* watchHeaps(readSideBytes)
  const processes = yield* readProcesses
  const loop = performance.eventLoopUtilization()
  const cpu = process.cpuUsage()
  const commandThread = threadCpuUs()
  const timely = settings.readSide ? lagWatch.offerUnsafe : () => {}
  const seconds = yield* runLoad({ ...sendingOf(run, timely), seconds: settings.seconds, meter })
  const { user, system } = process.cpuUsage(cpu)
  const eventLoopUtilization = performance.eventLoopUtilization(loop).utilization
  const threadUs = threadCpuUs()
  const measured = {
    meter,
    seconds,
    before,
    pauses: pauses(),
    heapMiB: heaps(),
    cpuUs: user + system,
    commandThreadCpuUs:
      threadUs === undefined || commandThread === undefined ? undefined : threadUs - commandThread,
    eventLoopUtilization
  }
  const storeBaseline = yield* baseline.end
  const after = { ...driver.stats() }
  const usage = usageBetween(processes, yield* readProcesses, { "node-1": measured.cpuUs / 1e6 })
  yield* Fiber.interruptAll([sampling, watching])
  progress.end()
  return { ...measured, storeBaseline, after, usage, lag: lagWatch.histogram }
})

type Loaded = Effect.Success<ReturnType<typeof load>>

/** Waits for the read model, and compares log and read model with everything that was acknowledged. */
const judge = Effect.fnUntraced(function* (run: Run, loaded: Loaded) {
  const { settings, progress, ids, scenario, acknowledged } = run
  const { eventLoopUtilization, ...figures } = loaded
  const { meter, seconds, before, after, cpuUs } = loaded
  if (!settings.readSide) yield* Layer.build(readSide(run.urls))
  const caughtUpAfterSeconds = yield* catchUp(run, "to catch up")
  progress.say("comparing the log with every receipt")
  yield* compareLog(ids, scenario.accountsMax, acknowledged)
  const audited = yield* auditStores((events) =>
    progress.say(`auditing log and read model: ${events} events`)
  )
  progress.end()
  const node = nodeFigures({
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
  return {
    ...run.before,
    ...figures,
    settings,
    caughtUpAfterSeconds,
    rssMiBMax: meter.rssMiBMax,
    acknowledged,
    audited,
    nodes: [node],
    failures: []
  } satisfies Measured
})

/** Starts a node without a read side. It ends with the scope. */
export const startNode = (node: string) =>
  Effect.map(Layer.build(LedgerNode.writeSide(node)), (services) =>
    driverOf(Context.get(services, Dispatcher))
  )

/** Samples the load twice a second, until interrupted. */
const sample = Effect.fnUntraced(function* (
  meter: Meter,
  driver: Driver,
  lag: LagWatch,
  seconds: number,
  progress: Progress
) {
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  const start = nowMs()
  return yield* Effect.sync(() => {
    const taken = meter.sample(nowMs() - start, {
      lagMs: lag.currentMs(),
      rssMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
      waiting: driver.stats().inFlight
    })
    progress.show(taken, seconds)
  }).pipe(Effect.schedule(Schedule.spaced(samplesEveryMs)))
})
