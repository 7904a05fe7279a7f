/**
 * Settings, services and a number of nodes enter; so many processes are started and each given its share of the load;
 * what all of them measured, and whether every invariant holds over the whole, leaves.
 */
import { Clock, Effect, Fiber, Layer, References } from "effect"
import { EventStore } from "../../infra/EventStore.ts"
import { Acknowledged } from "../Acknowledged.ts"
import { auditAll } from "../Audited.ts"
import { makeDraws } from "../Draws.ts"
import { awaitCaughtUp, makeLagWatch } from "../Lag.ts"
import { probeCommands, startNode } from "../LoadTest.ts"
import { Meter, makeHistogram, summarize } from "../Meter.ts"
import { makeNames } from "../Names.ts"
import { detailsOf, type Measured, toOutcome } from "../Outcome.ts"
import { prepareAccounts } from "../Prepare.ts"
import { probeStore } from "../Probe.ts"
import type { Progress } from "../Progress.ts"
import { makeScenario } from "../Scenario.ts"
import type { LoadSettings } from "../Settings.ts"
import { lookAtProcesses, usageBetween } from "../Usage.ts"
import { checkLog } from "../Walk.ts"
import { migrate, readSide, type ServiceUrls, stores } from "../World.ts"
import { Told } from "./AckJournal.ts"
import { nameOf, startCluster } from "./Cluster.ts"
import { Gathered } from "./Gathered.ts"
import type { NodeProcess } from "./NodeProcess.ts"
import type { FromNode } from "./Protocol.ts"
import { endAll, loadAll, passOn, prepareAll } from "./Rounds.ts"

const samplesEveryMs = 500

/** `nodes`: two at least. What a test does to the nodes while they are under load is `meanwhile`. */
export const runNodesTest = Effect.fn("LoadTest.runNodes")(function* (
  settings: LoadSettings,
  nodes: number,
  urls: ServiceUrls,
  progress: Progress,
  meanwhile: (nodes: ReadonlyArray<NodeProcess>) => Effect.Effect<void> = () => Effect.void
) {
  progress.say("bringing both databases to the current schema")
  yield* migrate(urls)
  return yield* measure(settings, nodes, urls, progress, meanwhile).pipe(
    Effect.map((measured) => ({ outcome: toOutcome(measured), details: detailsOf(measured.meter) })),
    Effect.scoped,
    Effect.provide(stores(urls))
  )
})

const measure = Effect.fnUntraced(function* (
  settings: LoadSettings,
  count: number,
  urls: ServiceUrls,
  progress: Progress,
  meanwhile: (nodes: ReadonlyArray<NodeProcess>) => Effect.Effect<void>
) {
  const store = yield* EventStore
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const run = `lt${clock.currentTimeMillisUnsafe().toString(36)}`
  const names = makeNames(run, settings.scenario === "mixed-zipf")
  // The nodes draw the load; this process only what is to be cold.
  const share = { nth: count, of: count + 1 }
  const scenario = makeScenario(settings, names, yield* makeDraws(settings.seed), share)
  const acknowledged = new Acknowledged(names, scenario.accountsMax, false)
  const told = new Told(names, acknowledged)
  const gathered = new Gathered(Array.from({ length: count }, (_, nth) => nameOf(nth)))
  const lagWatch = yield* makeLagWatch
  const product = yield* store.product
  progress.say(`measuring what one commit costs on ${product}`)
  const storeLatency = yield* probeStore(names, probeCommands)
  const catchUp = (why: string) => {
    progress.say(`waiting for the read model ${why}`)
    return awaitCaughtUp(names, scenario.accountsMax, acknowledged, `${settings.patienceSeconds} seconds`)
  }

  if (scenario.cold > 0) {
    progress.say(`opening and funding ${scenario.cold} accounts that no node will know`)
    const cold = { from: 0, to: scenario.cold }
    yield* Effect.scoped(
      Effect.flatMap(startNode(run), (driver) =>
        prepareAccounts(driver, scenario, acknowledged, cold, () => {})
      )
    )
  }
  const hear = (nth: number, message: FromNode): void => {
    if (message._tag === "Acks") told.take(message.records)
    else if (message._tag === "Report") gathered.take(nth, message.report)
    else if (message._tag === "Mark") lagWatch.markUnsafe(message.position, message.atMs)
  }
  progress.say(`starting ${count} nodes`)
  const cluster = yield* startCluster(
    urls,
    { run, nodes: count, logLevel: yield* References.MinimumLogLevel, settings },
    hear
  )
  const passing = yield* Effect.forkChild(passOn(told, cluster.nodes))
  progress.say("opening and funding the other accounts")
  yield* prepareAll(cluster.nodes, scenario.cold, settings.accounts)
  const [first] = cluster.nodes
  const solo = first === undefined ? {} : yield* first.ask({ _tag: "Solo" })
  if (settings.readSide) yield* catchUp("to reach the prepared accounts")

  const meter = new Meter()
  const start = nowMs()
  const sampling = yield* Effect.forkChild(
    Effect.sync(() =>
      progress.show(gathered.sample(meter, nowMs() - start, lagWatch.currentMs()), settings.seconds)
    ).pipe(Effect.delay(samplesEveryMs), Effect.forever)
  )
  const watching = yield* Effect.forkChild(settings.readSide ? lagWatch.watch : Effect.never)
  const befalling = yield* Effect.forkChild(meanwhile(cluster.nodes))
  const look = yield* lookAtProcesses
  const cpu = process.cpuUsage()
  const failures = yield* loadAll(cluster.nodes, settings, gathered)
  const own = process.cpuUsage(cpu)
  const lookAfter = yield* lookAtProcesses
  yield* Fiber.interruptAll([sampling, watching, befalling])
  progress.end()

  // Where the nodes have no read side, all of it was left for now, and for this process.
  if (!settings.readSide) yield* Layer.build(readSide(urls))
  const caughtUpAfterSeconds = yield* catchUp("to catch up")
  yield* Fiber.interrupt(passing)
  progress.say("ending the nodes")
  failures.push(...(yield* endAll(cluster.nodes, gathered)))
  told.lost((command) => gathered.hasEnded(command % (count + 1)))
  for (const { faults } of gathered.reports) {
    for (const { invariant, reason } of faults) acknowledged.blame(invariant, reason)
  }
  progress.say("comparing the log with every receipt")
  yield* checkLog(names, scenario.accountsMax, acknowledged)
  if (acknowledged.orphanRows > 0) {
    failures.push(`${acknowledged.orphanRows} events are in the log whose callers died before they were told`)
  }
  const audited = yield* auditAll((events) => progress.say(`auditing log and read model: ${events} events`))
  progress.end()
  gathered.conclude(meter)
  const figures = gathered.figures(cluster.shards)
  const cpuSeconds = Object.fromEntries(figures.map((one) => [one.name, one.cpuSeconds]))
  return {
    settings,
    product,
    seconds: gathered.seconds,
    meter,
    before: gathered.stats(({ before }) => before),
    after: gathered.stats(({ after }) => after),
    lag: lagWatch.histogram,
    caughtUpAfterSeconds,
    rssMiBMax: Math.max(...figures.map(({ rssMiB }) => rssMiB)),
    cpuUs: gathered.reports.reduce((sum, { cpuUs }) => sum + cpuUs, 0),
    store: storeLatency,
    solo: solo.solo ?? summarize(makeHistogram()),
    acknowledged,
    audited,
    nodes: figures,
    usage: usageBetween(
      look,
      lookAfter,
      { ...cpuSeconds, loadtest: (own.user + own.system) / 1e6 },
      new Set(cluster.nodes.map(({ pid }) => pid))
    ),
    failures
  } satisfies Measured
})
