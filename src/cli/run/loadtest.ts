/** `chronicle loadtest`: loads a node or several, prints the figures, and proves that every invariant held. */
import { Clock, Config, Effect, FileSystem, identity, Option, Path } from "effect"
import { printInstant } from "../../domain/Ids.ts"
import { wholeIdSegments } from "../../domain/Shard.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { makeDirectories } from "../../infra/dev/Directories.ts"
import { tuneCollector } from "../../infra/telemetry/Collector.ts"
import { runLoadTest } from "../../loadtest/LoadTest.ts"
import { runNodesTest } from "../../loadtest/nodes/NodesTest.ts"
import type { LoadOutcome } from "../../loadtest/Outcome.ts"
import { makeProgress } from "../../loadtest/Progress.ts"
import { renderReport } from "../../loadtest/Report.ts"
import { ownStack } from "../../loadtest/Services.ts"
import type { LoadSettings, Pace } from "../../loadtest/Settings.ts"
import { LoadTestFailed, OptionsInvalid } from "../failures.ts"
import { concurrencyDefault, type LoadTestFlags } from "../loadtest.ts"
import { printJson } from "../Output.ts"
import { printOutcome } from "./LoadTestOutput.ts"
import { environmentServices } from "./services.ts"

/** Much more than the read model should need for what it has to catch up with. */
const patienceSeconds = 600
/**
 * Commands of an open loop that may be under way at once: a little more than a node takes, so that it has to say so.
 */
const outstandingMax = 24_000

const toSettings = Effect.fnUntraced(function* (asked: Omit<LoadTestFlags, "report" | "json">) {
  const { scenario, accounts, seed, repeats, intruder, affinity, callers, warmUp } = asked
  if (Option.isSome(asked.rate) && Option.isSome(asked.concurrency)) {
    const reason = "--rate and --concurrency exclude each other: an open loop, or a closed one"
    return yield* new OptionsInvalid({ reason })
  }
  if (asked.nodes > 1 && intruder > 0) {
    const reason = "--intruder is for one node: those of a cluster know of each other"
    return yield* new OptionsInvalid({ reason })
  }
  if (Option.getOrElse(asked.concurrency, () => concurrencyDefault) < asked.nodes) {
    return yield* new OptionsInvalid({ reason: "--concurrency must be a client for each node at least" })
  }
  if (affinity && scenario !== "transfers-uniform") {
    return yield* new OptionsInvalid({ reason: "--affinity is for transfers-uniform" })
  }
  const pace: Pace = Option.isSome(asked.rate)
    ? { _tag: "Open", perSecond: asked.rate.value, outstandingMax }
    : { _tag: "Closed", concurrency: Option.getOrElse(asked.concurrency, () => concurrencyDefault) }
  const readSide = asked.readSide === "on"
  return {
    scenario,
    accounts,
    pace,
    seconds: asked.duration,
    warmUp,
    seed,
    repeats,
    intruder,
    affinity,
    callers,
    readSide,
    patienceSeconds
  } satisfies LoadSettings
})

/** The services that the environment names, else a stack of its own. */
const services = Effect.gen(function* () {
  const url = yield* Config.option(Config.String("CHRONICLE_EVENT_STORE_URL"))
  if (Option.isSome(url)) return yield* environmentServices
  return yield* ownStack
})

/** Places accounts by the first segment of their ids, unless the environment says how. */
const withGroups = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.flatMap(ClusterConfig, (limits) =>
    Effect.provideService(test, ClusterConfig, {
      ...limits,
      affinitySegments: limits.affinitySegments === wholeIdSegments ? 1 : limits.affinitySegments
    })
  )

export const loadtest = Effect.fnUntraced(function* ({ report, json, ...asked }: LoadTestFlags) {
  tuneCollector()
  const settings = yield* toSettings(asked)
  const progress = makeProgress(
    process.stderr.isTTY === true,
    () => process.stderr.columns ?? 100,
    (text) => process.stderr.write(text)
  )
  const startedAt = printInstant(yield* Clock.currentTimeMillis)
  // Before the load, which would come to nothing told where there can be no report.
  if (Option.isSome(report)) yield* makeDirectories(report.value)
  progress.say("starting the services")
  const { outcome, details } = yield* Effect.gen(function* () {
    const urls = yield* services
    return yield* asked.nodes === 1
      ? runLoadTest(settings, urls, progress)
      : runNodesTest(settings, asked.nodes, urls, progress)
  }).pipe(asked.affinity ? withGroups : identity, Effect.scoped, Effect.provide(limitsFromEnvironment))
  if (Option.isSome(report)) {
    const page = yield* writeReport(report.value, outcome, renderReport(outcome, details, startedAt))
    progress.say(`the report is in ${page}`)
  }
  progress.end()
  if (json) yield* printJson(outcome)
  else yield* printOutcome(outcome)
  if (!outcome.ok) {
    return yield* new LoadTestFailed({
      findings: outcome.findings.length > 0 ? outcome.findings : ["nothing was committed"]
    })
  }
})

const writeReport = Effect.fnUntraced(function* (directory: string, outcome: LoadOutcome, page: string) {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = path.join(directory, `${outcome.scenario}.html`)
  yield* files.writeFileString(file, page)
  return file
})
