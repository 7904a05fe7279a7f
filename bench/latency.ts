/**
 * `npm run bench:latency [-- --old DIR]`: what commands and the read side cost at the loads that users have, against their bars. Each
 * figure is of a load test of its own (`chronicle loadtest`) that checks every invariant, or of an idle node. With
 * `--old` an earlier checkout, with its dependencies installed, takes each load too, in turn, since a machine is
 * faster in one minute than in another; which of the two begins changes with each load.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, Logger, Option, Path, References } from "effect"
import { Command, Flag } from "effect/cli"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import * as LedgerNode from "../src/LedgerNode.ts"
import { ownStack } from "../src/loadtest/Services.ts"
import { readProcesses, usageBetween } from "../src/loadtest/Usage.ts"
import { median } from "./Comparison.ts"
import { barsOf, type Figures, type Load, loads, type Outcome, type Version } from "./latency/Bars.ts"
import { startNode } from "./servedNode.ts"

interface Sizes {
  readonly seconds: number
  readonly accounts: number
  readonly idle: number
}

/** The standard output of a program of a checkout, with the Node.js that the checkout carries, whatever its exit code says. */
const outputOf = Effect.fnUntraced(function* (directory: string, args: ReadonlyArray<string>) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  return yield* spawner.string(
    ChildProcess.make("node_modules/.bin/node", ["src/cli/main.ts", ...args], {
      cwd: directory,
      stderr: "inherit"
    })
  )
})

const runLoad = Effect.fnUntraced(function* (
  { name, directory }: Version,
  load: Load,
  rate: number,
  { seconds, accounts }: Sizes
) {
  const pace = load.pace === "open" ? ["--rate", `${rate}`] : ["--concurrency", `${load.callers}`]
  const size = ["--accounts", `${accounts}`, "--duration", `${seconds}`]
  const printed = yield* outputOf(directory, [
    "loadtest",
    "--scenario",
    load.scenario,
    "--read-side",
    load.readSide,
    ...pace,
    ...size,
    "--json"
  ])
  const outcome: Outcome = JSON.parse(printed.trim().split("\n").at(-1) ?? "")
  const { latencyMs, projection, cpu } = outcome
  yield* Console.log(
    `${name}: ${load.name}${load.pace === "open" ? ` (${rate} a second)` : ""}, read side ${load.readSide}: ${outcome.committedPerSecond}/s, ` +
      `p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, lag p50 ${projection.lagMsP50 ?? "-"} ms, p99 ${projection.lagMsP99 ?? "-"} ms, ` +
      `thread of commands ${outcome.commandThreadCpuUsPerCommand ?? "-"} µs a command, seconds ${JSON.stringify(cpu.seconds)}` +
      (outcome.ok ? "" : `, BROKEN: ${outcome.findings.join("; ")}`)
  )
  return outcome
})

/** Cores that a node, and the stack below it, take while the node is idle. */
const idle = ({ directory }: Version, { idle: seconds }: Sizes) =>
  Effect.gen(function* () {
    const stack = yield* ownStack
    yield* LedgerNode.migrate(stack)
    const { pid } = yield* startNode(stack, {}, directory)
    // The start, and what the first sweeps and the collector still do after it.
    yield* Effect.sleep("15 seconds")
    const before = yield* readProcesses
    yield* Effect.sleep(seconds * 1_000)
    const after = yield* readProcesses
    const ticks = (table: typeof before) => table.rows.get(pid)?.ticks ?? 0
    const node = (ticks(after) - ticks(before)) / 100
    const usage = usageBetween(before, after, { node }, new Set([pid]))
    return Object.fromEntries(
      Object.entries(usage.seconds).map(([name, used]) => [name, Number((used / seconds).toFixed(4))])
    )
  }).pipe(Effect.scoped)

/** Seconds that the command line takes to say what it can do. */
const help = Effect.fnUntraced(function* ({ directory }: Version) {
  const took: Array<number> = []
  for (let round = 0; round < 5; round++) {
    const start = yield* Clock.monotonicTimeNanos
    yield* outputOf(directory, ["--help"])
    took.push(Number((yield* Clock.monotonicTimeNanos) - start) / 1e9)
  }
  return median(took)
})

const main = Effect.fnUntraced(function* ({
  old,
  ...sizes
}: Sizes & { readonly old: Option.Option<string> }) {
  const path = yield* Path.Path
  const now: Version = { name: "new", directory: path.resolve(".") }
  const versions = Option.match(old, {
    onNone: () => [now],
    onSome: (directory): ReadonlyArray<Version> => [{ name: "old", directory: path.resolve(directory) }, now]
  })
  const figures = new Map<Version, Figures>(
    versions.map((version) => [version, { outcomes: new Map(), idle: {}, helpSeconds: 0 }])
  )
  for (const [index, load] of loads.entries()) {
    for (const version of index % 2 === 0 ? versions : versions.toReversed()) {
      const found = figures.get(version)
      const rate = load.rateOf?.(found?.outcomes ?? new Map()) ?? 0
      found?.outcomes.set(load.name, yield* runLoad(version, load, rate, sizes))
    }
  }
  for (const [version, found] of figures) {
    found.idle = yield* idle(version, sizes)
    found.helpSeconds = yield* help(version)
  }
  const heading = versions.map(({ name }) => name).join(" | ")
  yield* Console.log(`\n| | ${heading} | bar | aim |\n|---|${"---|".repeat(versions.length)}---|---|`)
  const before = versions.length > 1 ? figures.values().next().value : undefined
  const columns = [...figures.values()].map((found) => barsOf(found, before))
  for (const [row, { bar, aim, what }] of (columns[0] ?? []).entries()) {
    const cells = columns.map((rows) => rows[row]?.measured ?? "-")
    yield* Console.log(`| ${[what, ...cells, bar, aim].join(" | ")} |`)
  }
  const outcomes = [...figures.values()].flatMap((found) => [...found.outcomes.values()])
  yield* Console.log(`\nevery invariant held: ${outcomes.every(({ ok }) => ok)}`)
  yield* Console.log(
    "Measured elsewhere: against PL/pgSQL and TigerBeetle (npm run bench:peers), outage, rebuild and balances by id (npm run bench:readside)."
  )
})

const flags = {
  seconds: Flag.Int("seconds").pipe(Flag.withDescription("Of each load; default 15"), Flag.withDefault(15)),
  accounts: Flag.Int("accounts").pipe(Flag.withDescription("Default 10,000"), Flag.withDefault(10_000)),
  idle: Flag.Int("idle").pipe(
    Flag.withDescription("Seconds of the idle node; default 60"),
    Flag.withDefault(60)
  ),
  old: Flag.Directory("old", { mustExist: true }).pipe(
    Flag.withDescription("A checkout of an earlier version, with its dependencies installed"),
    Flag.optional
  )
}

Command.make("bench:latency", flags, main).pipe(
  Command.run({ version: "1" }),
  Effect.provide(NodeServices.layer),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  NodeRuntime.runMain
)
