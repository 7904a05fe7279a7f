/**
 * A load test of several nodes: starts a process for each, gives each its part of the load, adds up what they measured,
 * and checks every invariant over the whole.
 */

import { Clock, Effect, Fiber, Layer, References, Schedule } from "effect"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { Acknowledged } from "../Acknowledged.ts"
import { auditStores } from "../AuditStores.ts"
import { compareLog } from "../CompareLog.ts"
import { awaitCaughtUp, type LagWatch, makeLagWatch } from "../Lag.ts"
import { probeCommands, startNode } from "../LoadTest.ts"
import { Meter, makeHistogram, summarize } from "../Meter.ts"
import { detailsOf, type Measured, toOutcome } from "../Outcome.ts"
import { prepareAccounts } from "../Prepare.ts"
import { probeStore } from "../Probe.ts"
import type { Progress } from "../Progress.ts"
import { makeRng } from "../Rng.ts"
import { type RunIds, runIdsFor } from "../RunIds.ts"
import { makeScenario } from "../Scenario.ts"
import { readSide, type ServiceUrls, stores } from "../Services.ts"
import type { LoadSettings } from "../Settings.ts"
import { readProcesses, usageBetween } from "../Usage.ts"
import { ReceivedAcks } from "./AckJournal.ts"
import { endAll, loadAll, prepareAll, shareAcks, warmUpAll } from "./Broadcast.ts"
import { type Cluster, nameOf, startCluster } from "./Cluster.ts"
import type { NodeProcess } from "./NodeProcess.ts"
import { NodeReports } from "./NodeReports.ts"
import type { FromNode } from "./Protocol.ts"

const samplesEveryMs = 500
const singleClientWithinMs = 60_000

/** Disturbs the nodes while the load is on. `committed`: the committed commands of each node up to now, by its last report. */
type Disturb = (
  nodes: ReadonlyArray<NodeProcess>,
  committed: () => ReadonlyArray<number>
) => Effect.Effect<void>

/** `nodes`: at least 2. */
export const runNodesTest = Effect.fn("LoadTest.runNodes")(function* (
  settings: LoadSettings,
  nodes: number,
  urls: ServiceUrls,
  progress: Progress,
  disturb: Disturb = () => Effect.void
) {
  progress.say("bringing both databases to the current schema")
  yield* LedgerNode.migrate(urls)
  return yield* Effect.gen(function* () {
    const run = yield* begin(settings, nodes, urls, progress)
    const loaded = yield* load(run, disturb)
    return yield* judge(run, loaded)
  }).pipe(
    Effect.map((measured) => ({ outcome: toOutcome(measured), details: detailsOf(measured.meter) })),
    Effect.scoped,
    Effect.provide(stores(urls))
  )
})

/** What the three parts of a run have in common. */
interface Run {
  readonly settings: LoadSettings
  readonly urls: ServiceUrls
  readonly progress: Progress
  readonly ids: RunIds
  readonly accountsMax: number
  readonly acknowledged: Acknowledged
  readonly acks: ReceivedAcks
  readonly reports: NodeReports
  readonly lagWatch: LagWatch
  readonly cluster: Cluster
  readonly before: Pick<Measured, "product" | "store" | "singleClient">
}

/** Starts the nodes and prepares the accounts. */
const begin = Effect.fnUntraced(function* (
  settings: LoadSettings,
  count: number,
  urls: ServiceUrls,
  progress: Progress
) {
  const store = yield* EventStore
  const run = `lt${(yield* Clock.currentTimeMillis).toString(36)}`
  const ids = runIdsFor(run, settings)
  // The nodes generate the load; this process only prepares the cold accounts.
  const share = { nth: count, of: count + 1 }
  const scenario = makeScenario(settings, ids, yield* makeRng(settings.seed), share)
  const acknowledged = new Acknowledged(ids, scenario.accountsMax, false)
  const acks = new ReceivedAcks(ids, acknowledged)
  const reports = new NodeReports(Array.from({ length: count }, (_, nth) => nameOf(nth)))
  const lagWatch = yield* makeLagWatch
  const product = yield* store.product
  progress.say(`measuring what one commit costs on ${product}`)
  const storeLatency = yield* probeStore(ids, probeCommands)
  if (scenario.cold > 0) {
    progress.say(`opening and funding ${scenario.cold} accounts that no node will have in memory`)
    const cold = { from: 0, to: scenario.cold }
    yield* Effect.scoped(
      Effect.flatMap(startNode(run), (driver) =>
        prepareAccounts(driver, scenario, acknowledged, cold, () => {})
      )
    )
  }
  const receive = (nth: number, message: FromNode): void => {
    if (message._tag === "Acks") acks.take(message.records)
    else if (message._tag === "Report") reports.take(nth, message.report)
    else if (message._tag === "Mark") lagWatch.markUnsafe(message.position, message.atMs)
  }
  progress.say(`starting ${count} nodes`)
  const logLevel = yield* References.MinimumLogLevel
  const cluster = yield* startCluster(urls, { run, nodes: count, logLevel, settings }, receive)
  yield* Effect.forkScoped(shareAcks(acks, cluster.nodes))
  progress.say("opening and funding the other accounts")
  yield* prepareAll(cluster.nodes, scenario.cold, settings.accounts)
  const [first] = cluster.nodes
  const { latency } =
    first === undefined ? {} : yield* first.ask({ _tag: "SingleClient" }, singleClientWithinMs)
  const before = { product, store: storeLatency, singleClient: latency ?? summarize(makeHistogram()) }
  const { accountsMax } = scenario
  const parts = { ids, accountsMax, acknowledged, acks, reports, lagWatch, cluster, before }
  return { settings, urls, progress, ...parts } satisfies Run
})

const catchUp = ({ settings, progress, ids, accountsMax, acknowledged }: Run, why: string) => {
  progress.say(`waiting for the read model ${why}`)
  return awaitCaughtUp(ids, accountsMax, acknowledged, `${settings.patienceSeconds} seconds`)
}

const load = Effect.fnUntraced(function* (run: Run, disturb: Disturb) {
  const { settings, reports, lagWatch, progress } = run
  const { nodes } = run.cluster
  if (settings.warmUp !== undefined && settings.warmUp > 0) {
    progress.say(`warming up, with ${settings.warmUp} commands a node`)
    yield* warmUpAll(nodes)
  }
  if (settings.readSide) yield* catchUp(run, "to reach what was written before the load")
  const clock = yield* Clock.Clock
  const startMs = elapsedMsUnsafe(clock)
  const meter = new Meter()
  const sampling = yield* Effect.forkChild(
    Effect.sync(() => {
      const atMs = elapsedMsUnsafe(clock) - startMs
      progress.show(reports.sample(meter, atMs, lagWatch.currentMs()), settings.seconds)
    }).pipe(Effect.schedule(Schedule.spaced(samplesEveryMs)))
  )
  const watching = yield* Effect.forkChild(settings.readSide ? lagWatch.watch : Effect.never)
  const disturbing = yield* Effect.forkChild(disturb(nodes, () => reports.committed))
  const processes = yield* readProcesses
  const cpu = process.cpuUsage()
  const failures = yield* loadAll(nodes, settings, reports)
  const { user, system } = process.cpuUsage(cpu)
  const own = {
    ...Object.fromEntries(reports.figures(run.cluster.shards).map((node) => [node.name, node.cpuSeconds])),
    loadtest: (user + system) / 1e6
  }
  const pids = new Set(nodes.map(({ pid }) => pid))
  const usage = usageBetween(processes, yield* readProcesses, own, pids)
  yield* Fiber.interruptAll([sampling, watching, disturbing])
  progress.end()
  return { meter, failures, usage }
})

interface Loaded extends Pick<Measured, "meter" | "failures" | "usage"> {}

const judge = Effect.fnUntraced(function* (run: Run, { meter, failures, usage }: Loaded) {
  const { settings, progress, ids, acknowledged, acks, reports } = run
  const { nodes, shards } = run.cluster
  // Where the nodes have no read side, this process projects everything after the load.
  if (!settings.readSide) yield* Layer.build(readSide(run.urls))
  const caughtUpAfterSeconds = yield* catchUp(run, "to catch up")
  progress.say("ending the nodes")
  const endings = yield* endAll(nodes, reports)
  acks.lost((command) => reports.hasEnded(command % (nodes.length + 1)))
  for (const { faults } of reports.all) {
    for (const { invariant, reason } of faults) acknowledged.blame(invariant, reason)
  }
  progress.say("comparing the log with every receipt")
  yield* compareLog(ids, run.accountsMax, acknowledged)
  const { orphanRows } = acknowledged
  const orphans = `${orphanRows} events are in the log whose callers died before they could report an answer`
  const audited = yield* auditStores((events) =>
    progress.say(`auditing log and read model: ${events} events`)
  )
  progress.end()
  reports.conclude(meter)
  const figures = reports.figures(shards)
  return {
    ...run.before,
    settings,
    seconds: reports.seconds,
    meter,
    before: reports.stats(({ before }) => before),
    after: reports.stats(({ after }) => after),
    lag: run.lagWatch.histogram,
    caughtUpAfterSeconds,
    rssMiBMax: Math.max(...figures.map(({ rssMiB }) => rssMiB)),
    cpuUs: reports.all.reduce((sum, { cpuUs }) => sum + cpuUs, 0),
    acknowledged,
    audited,
    nodes: figures,
    usage,
    failures: [...failures, ...endings, ...(orphanRows > 0 ? [orphans] : [])]
  } satisfies Measured
})
