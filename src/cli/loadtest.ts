/** `chronicle loadtest`: loads a node or several, prints the figures, and proves that every invariant held. */
import { Clock, Config, Data, Effect, FileSystem, Option, Path, Schema } from "effect"
import { CliError, Command, Flag } from "effect/cli"
import { printInstant } from "../domain/Ids.ts"
import { limitsFromEnvironment } from "../infra/config/Environment.ts"
import { runLoadTest } from "../loadtest/LoadTest.ts"
import { runNodesTest } from "../loadtest/nodes/NodesTest.ts"
import type { LoadOutcome } from "../loadtest/Outcome.ts"
import { makeProgress } from "../loadtest/Progress.ts"
import { renderReport } from "../loadtest/Report.ts"
import { ownStack } from "../loadtest/Services.ts"
import { type LoadSettings, type Pace, scenarioNames } from "../loadtest/Settings.ts"
import { printOutcome } from "./LoadTestOutput.ts"
import { printJson } from "./Output.ts"
import { environmentServices, jsonFlag } from "./serviceOptions.ts"

/** An invariant was broken under the load, or nothing was committed. */
export class LoadTestFailed extends Data.TaggedError("LoadTestFailed")<{
  readonly findings: ReadonlyArray<string>
}> {
  override get message() {
    return this.findings.join("; ")
  }
}

/** Much more than the read model should need for what it has to catch up with. */
const patienceSeconds = 600
const concurrencyDefault = 1_024
/** On one machine: each has its connections to both databases. */
const nodesMax = 9
/**
 * Commands of an open loop that may be under way at once: a little more than a node takes, so that it has to say so.
 */
const outstandingMax = 24_000

const within = (least: number, most: number) =>
  Schema.Finite.check(
    Schema.isBetween({ minimum: least, maximum: most }, { message: `must be ${least} to ${most}` })
  )

const flags = {
  scenario: Flag.Literals("scenario", scenarioNames).pipe(
    Flag.withDescription("Transfers between any two accounts, or all with one account, deposits, or a mix")
  ),
  accounts: Flag.Int("accounts").pipe(
    Flag.withSchema(within(100, 10_000_000)),
    Flag.withDescription("Accounts opened and funded before the load; default 10,000"),
    Flag.withDefault(10_000)
  ),
  concurrency: Flag.Int("concurrency").pipe(
    Flag.withSchema(within(1, 100_000)),
    Flag.withDescription(`Closed loop: clients, each waits for its answer; default ${concurrencyDefault}`),
    Flag.optional
  ),
  rate: Flag.Int("rate").pipe(
    Flag.withSchema(within(1, 1_000_000)),
    Flag.withDescription("Open loop: commands a second, each timed from when it was due"),
    Flag.optional
  ),
  duration: Flag.Int("duration").pipe(
    Flag.withSchema(within(1, 86_400)),
    Flag.withDescription("Seconds of load; default 15"),
    Flag.withDefault(15)
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("The same seed draws the same commands; default 1"),
    Flag.withDefault(1)
  ),
  repeats: Flag.Finite("repeats").pipe(
    Flag.withSchema(within(0, 0.9)),
    Flag.withDescription("Share of commands whose id was sent before; default 0"),
    Flag.withDefault(0)
  ),
  intruder: Flag.Finite("intruder").pipe(
    Flag.withSchema(within(0, 0.9)),
    Flag.withDescription(
      "Share of commands sent to a second node that takes the accounts for its own; default 0"
    ),
    Flag.withDefault(0)
  ),
  readSide: Flag.Literals("read-side", ["on", "off"]).pipe(
    Flag.withDescription("off: relay and projections wait until the load is over"),
    Flag.withDefault("on")
  ),
  nodes: Flag.Int("nodes").pipe(
    Flag.withSchema(within(1, nodesMax)),
    Flag.withDescription(
      "Nodes that share the accounts, each a process that gives itself its part of the load; 1 is this process"
    ),
    Flag.withDefault(1)
  ),
  report: Flag.Path("report").pipe(
    Flag.withDescription("Directory for a report: one HTML page"),
    Flag.optional
  ),
  json: jsonFlag
}

interface Asked {
  readonly scenario: LoadSettings["scenario"]
  readonly accounts: number
  readonly concurrency: Option.Option<number>
  readonly rate: Option.Option<number>
  readonly duration: number
  readonly seed: number
  readonly repeats: number
  readonly intruder: number
  readonly nodes: number
  readonly readSide: "on" | "off"
}

const toSettings = Effect.fnUntraced(function* (asked: Asked) {
  const { scenario, accounts, seed, repeats, intruder } = asked
  if (Option.isSome(asked.rate) && Option.isSome(asked.concurrency)) {
    const reason = "--rate and --concurrency exclude each other: an open loop, or a closed one"
    return yield* new CliError.UserError({ cause: reason })
  }
  if (asked.nodes > 1 && intruder > 0) {
    const reason = "--intruder is for one node: those of a cluster know of each other"
    return yield* new CliError.UserError({ cause: reason })
  }
  if (Option.getOrElse(asked.concurrency, () => concurrencyDefault) < asked.nodes) {
    return yield* new CliError.UserError({ cause: "--concurrency must be a client for each node at least" })
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
    seed,
    repeats,
    intruder,
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

export const loadtest = Command.make(
  "loadtest",
  flags,
  Effect.fnUntraced(function* ({ report, json, ...asked }) {
    const settings = yield* toSettings(asked)
    const progress = makeProgress(
      process.stderr.isTTY === true,
      () => process.stderr.columns ?? 100,
      (text) => process.stderr.write(text)
    )
    const startedAt = printInstant(yield* Clock.currentTimeMillis)
    progress.say("starting the services")
    const { outcome, details } = yield* Effect.gen(function* () {
      const urls = yield* services
      return yield* asked.nodes === 1
        ? runLoadTest(settings, urls, progress)
        : runNodesTest(settings, asked.nodes, urls, progress)
    }).pipe(Effect.scoped, Effect.provide(limitsFromEnvironment))
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
).pipe(Command.withDescription("Load a node, measure it, and prove that every invariant held"))

const writeReport = Effect.fnUntraced(function* (directory: string, outcome: LoadOutcome, page: string) {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* files.makeDirectory(directory, { recursive: true })
  const file = path.join(directory, `${outcome.scenario}.html`)
  yield* files.writeFileString(file, page)
  return file
})
