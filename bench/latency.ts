/**
 * `npm run bench:latency`: what the read side costs commands at the loads that users have, against its bars. Each row is a load
 * test on an embedded stack of its own, with the read side off and on in turn, and every invariant checked; the last is a node
 * that nobody asks.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer, Logger, References } from "effect"
import { Command, Flag } from "effect/cli"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { runLoadTest } from "../src/loadtest/LoadTest.ts"
import type { LoadOutcome } from "../src/loadtest/Outcome.ts"
import { makeProgress } from "../src/loadtest/Progress.ts"
import { ownStack } from "../src/loadtest/Services.ts"
import type { Pace } from "../src/loadtest/Settings.ts"
import { readProcesses, usageBetween } from "../src/loadtest/Usage.ts"

interface Sizes {
  readonly seconds: number
  readonly accounts: number
  readonly idle: number
}

const silent = makeProgress(
  false,
  () => 100,
  () => {}
)
const outstandingMax = 24_000
const concurrency = 1_024

const load = (pace: Pace, readSide: boolean, { seconds, accounts }: Sizes) =>
  Effect.gen(function* () {
    const stack = yield* ownStack
    const settings = {
      scenario: "transfers-uniform",
      accounts,
      pace,
      seconds,
      seed: 1,
      repeats: 0,
      intruder: 0,
      readSide,
      storeBaseline: false,
      patienceSeconds: 600
    } as const
    const { outcome } = yield* runLoadTest(settings, stack, silent)
    const what = pace._tag === "Open" ? `${pace.perSecond}/s` : `${concurrency} callers`
    const { latencyMs, projection, cpu } = outcome
    yield* Console.log(
      `${what}, read side ${outcome.readSide}: ${outcome.committedPerSecond}/s, p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, ` +
        `lag p50 ${projection.lagMsP50 ?? "-"} ms, p99 ${projection.lagMsP99 ?? "-"} ms, ${outcome.commandThreadCpuUsPerCommand} µs of the ` +
        `thread of commands a command, seconds ${JSON.stringify(cpu.seconds)}${outcome.ok ? "" : `, BROKEN: ${outcome.findings.join("; ")}`}`
    )
    return outcome
  }).pipe(Effect.scoped)

/** Off and on, in turn. */
const pair = Effect.fnUntraced(function* (pace: Pace, sizes: Sizes) {
  const off = yield* load(pace, false, sizes)
  const on = yield* load(pace, true, sizes)
  return { off, on }
})

/** Cores that a node with its stack takes while nobody asks it anything. */
const idle = ({ idle: seconds }: Sizes) =>
  Effect.gen(function* () {
    const stack = yield* ownStack
    yield* LedgerNode.migrate(stack)
    yield* Layer.build(LedgerNode.layer({ ...stack, nodeName: "idle" }))
    yield* Effect.sleep("5 seconds")
    const before = yield* readProcesses
    const cpu = process.cpuUsage()
    yield* Effect.sleep(seconds * 1_000)
    const { user, system } = process.cpuUsage(cpu)
    const usage = usageBetween(before, yield* readProcesses, { node: (user + system) / 1e6 })
    return Object.fromEntries(
      Object.entries(usage.seconds).map(([name, used]) => [name, Number((used / seconds).toFixed(4))])
    )
  }).pipe(Effect.scoped)

const cores = ({ cpu, seconds }: LoadOutcome): number =>
  Object.values(cpu.seconds).reduce((sum, used) => sum + used, 0) / seconds

const ratio = (on: number, off: number): string => (off === 0 ? "-" : (on / off).toFixed(2))

const main = Effect.fnUntraced(function* (sizes: Sizes) {
  const open = (perSecond: number): Pace => ({ _tag: "Open", perSecond, outstandingMax })
  const saturated = yield* pair({ _tag: "Closed", concurrency }, sizes)
  const half = yield* load(open(Math.round(saturated.on.committedPerSecond / 2)), true, sizes)
  const slow = yield* pair(open(1_000), sizes)
  const quick = yield* pair(open(5_000), sizes)
  const quiet = yield* idle(sizes)
  const thread = ({ commandThreadCpuUsPerCommand }: LoadOutcome) => commandThreadCpuUsPerCommand ?? 0
  const rows: ReadonlyArray<readonly [string, string, string]> = [
    [
      `open loop at half of the saturated rate (${half.rate}/s), read side on: command p99 / lag p99, ms`,
      `${half.latencyMs.p99} / ${half.projection.lagMsP99}`,
      "40 / 250"
    ],
    [
      "command p50, read side on over off, at 1,000 and 5,000 a second",
      `${ratio(slow.on.latencyMs.p50, slow.off.latencyMs.p50)} and ${ratio(quick.on.latencyMs.p50, quick.off.latencyMs.p50)}`,
      "1.3"
    ],
    [
      "processor of the thread of commands a command, on over off, at 5,000 a second",
      ratio(thread(quick.on), thread(quick.off)),
      "1.2"
    ],
    [
      "saturated, read side on over off",
      ratio(saturated.on.committedPerSecond, saturated.off.committedPerSecond),
      "0.55"
    ],
    ["all processes at 1,000 a second, read side on, cores", cores(slow.on).toFixed(2), "half of before"],
    ["an idle node with its stack, cores", JSON.stringify(quiet), "node 0.01"]
  ]
  yield* Console.log("\n| | measured | bar |\n|---|---|---|")
  for (const row of rows) yield* Console.log(`| ${row.join(" | ")} |`)
  const outcomes = [saturated.off, saturated.on, half, slow.off, slow.on, quick.off, quick.on]
  yield* Console.log(`\nevery invariant held: ${outcomes.every(({ ok }) => ok)}`)
})

const flags = {
  seconds: Flag.Int("seconds").pipe(Flag.withDescription("Of each load; default 15"), Flag.withDefault(15)),
  accounts: Flag.Int("accounts").pipe(Flag.withDescription("Default 10,000"), Flag.withDefault(10_000)),
  idle: Flag.Int("idle").pipe(
    Flag.withDescription("Seconds of the idle node; default 10"),
    Flag.withDefault(10)
  )
}

tuneCollector()
Command.make("bench:latency", flags, main).pipe(
  Command.run({ version: "1" }),
  Effect.provide(NodeServices.layer),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  NodeRuntime.runMain
)
