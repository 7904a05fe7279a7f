/** `npm run bench:scaling`: the same load on a single node and on clusters of one, two, three … nodes, in turn on one stack. */
import { parseArgs } from "node:util"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, References } from "effect"
import { tableLines } from "../src/cli/Output.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { runLoadTest } from "../src/loadtest/LoadTest.ts"
import { runNodesTest } from "../src/loadtest/nodes/NodesTest.ts"
import type { LoadOutcome } from "../src/loadtest/Outcome.ts"
import { makeProgress } from "../src/loadtest/Progress.ts"
import { ownStack } from "../src/loadtest/Services.ts"
import { type LoadSettings, scenarioNames } from "../src/loadtest/Settings.ts"

const { values } = parseArgs({
  options: {
    scenario: { type: "string", default: "transfers-uniform" },
    nodes: { type: "string", default: "0,1,2,3" },
    accounts: { type: "string", default: "2000" },
    concurrency: { type: "string", default: "512" },
    seconds: { type: "string", default: "5" },
    "read-side": { type: "string", default: "off" }
  }
})

const settings: LoadSettings = {
  scenario: scenarioNames.find((name) => name === values.scenario) ?? "transfers-uniform",
  accounts: Number(values.accounts),
  pace: { _tag: "Closed", concurrency: Number(values.concurrency) },
  seconds: Number(values.seconds),
  seed: 1,
  repeats: 0,
  intruder: 0,
  readSide: values["read-side"] === "on",
  patienceSeconds: 300
}

const header = [
  "nodes",
  "committed/s",
  "p50 ms",
  "p99 ms",
  "node µs/command",
  "PostgreSQL µs/command",
  "busiest thread",
  "sent on",
  "borrowed",
  "rows a batch",
  "ok"
]

/** `nodes` 0 is a single node without a cluster, in this process. */
const row = (nodes: number, outcome: LoadOutcome): ReadonlyArray<string> => {
  const { here, borrowing, forwarded } = outcome.nodes.reduce(
    (sum, { ways }) => ({
      here: sum.here + ways.here,
      borrowing: sum.borrowing + ways.borrowing,
      forwarded: sum.forwarded + ways.forwarded
    }),
    { here: 0, borrowing: 0, forwarded: 0 }
  )
  const share = (part: number) => `${Math.round((100 * part) / Math.max(1, here + borrowing + forwarded))} %`
  const decided = Math.max(1, outcome.committed + outcome.rejected)
  return [
    nodes === 0 ? "alone" : `${nodes}`,
    `${outcome.committedPerSecond}`,
    outcome.latencyMs.p50.toFixed(1),
    outcome.latencyMs.p99.toFixed(1),
    `${outcome.cpuUsPerCommand}`,
    (((outcome.cpu.seconds.postgres ?? 0) * 1e6) / decided).toFixed(0),
    `${Math.round(100 * Math.max(...outcome.nodes.map((node) => node.eventLoopUtilization)))} %`,
    share(forwarded),
    share(borrowing),
    `${outcome.batch.meanRows}`,
    outcome.ok ? "yes" : `NO: ${outcome.findings[0] ?? "nothing committed"}`
  ]
}

const program = Effect.gen(function* () {
  const stack = yield* ownStack
  const progress = makeProgress(
    process.stderr.isTTY === true,
    () => process.stderr.columns ?? 100,
    (text) => process.stderr.write(text)
  )
  const outcomes = yield* Effect.forEach(values.nodes.split(",").map(Number), (nodes) =>
    (nodes === 0
      ? runLoadTest(settings, stack, progress)
      : runNodesTest(settings, nodes, stack, progress)
    ).pipe(Effect.map(({ outcome }) => ({ nodes, outcome })))
  )
  const { cpu, eventStore } = outcomes[0]?.outcome ?? {}
  yield* Console.log(
    `${settings.scenario}, read side ${settings.readSide ? "on" : "off"}, ${eventStore}, ${cpu?.cores} cores`
  )
  const rows = outcomes.map(({ nodes, outcome }) => row(nodes, outcome))
  yield* Effect.forEach(tableLines([header, ...rows], "rrrrrrrrrrl"), (line) => Console.log(line))
  const figures = outcomes.map(({ nodes, outcome }) => ({ nodes, cpu: outcome.cpu, each: outcome.nodes }))
  yield* Console.log(JSON.stringify(figures))
}).pipe(
  Effect.scoped,
  Effect.provide(NodeServices.layer),
  Effect.provideService(References.MinimumLogLevel, "Error")
)

tuneCollector()
NodeRuntime.runMain(program)
