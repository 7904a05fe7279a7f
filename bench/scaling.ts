/**
 * `npm run bench:scaling`: how several nodes on one machine compare with one, as a table of bars. Every load runs in turn
 * on one stack, `--rounds` times, each ratio is of runs that follow each other; then the storm and the latency of a single
 * transfer. Exit code 1 where an invariant was broken; a bar that is missed is only said.
 */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, References } from "effect"
import { tableLines } from "../src/cli/Output.ts"
import { ClusterConfig, defaultClusterLimits } from "../src/infra/config/ClusterConfig.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { runNodesTest } from "../src/loadtest/nodes/NodesTest.ts"
import type { LoadOutcome } from "../src/loadtest/Outcome.ts"
import { makeProgress } from "../src/loadtest/Progress.ts"
import { ownStack } from "../src/loadtest/Services.ts"
import type { LoadSettings } from "../src/loadtest/Settings.ts"

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
    accounts: { type: "string", default: "2000" },
    concurrency: { type: "string", default: "512" },
    /** Commands that each node is given before it is measured, the same for one node and for several. */
    "warm-up": { type: "string", default: "15000" },
    "storm-seconds": { type: "string", default: "60" },
    /** Loads whose names contain this; empty: all. */
    only: { type: "string", default: "" }
  }
})

const plain: LoadSettings = {
  scenario: "transfers-uniform",
  accounts: Number(values.accounts),
  pace: { _tag: "Closed", concurrency: Number(values.concurrency) },
  seconds: Number(values.seconds),
  warmUp: Number(values["warm-up"]),
  seed: 1,
  repeats: 0,
  intruder: 0,
  readSide: false,
  patienceSeconds: 300
}

/** A ratio of a figure over several nodes to the same over one, and what it should be. */
interface Bar {
  readonly nodes: number
  readonly what: "processor" | "rate"
  readonly bar: number
  readonly aim: number
}

interface MeasuredLoad {
  readonly name: string
  readonly settings: LoadSettings
  readonly bars: ReadonlyArray<Bar>
}

const loads: ReadonlyArray<MeasuredLoad> = [
  {
    name: "random transfers, callers know the owner",
    settings: plain,
    bars: [
      { nodes: 2, what: "processor", bar: 3, aim: 2 },
      { nodes: 3, what: "processor", bar: 4, aim: 2.5 },
      { nodes: 2, what: "rate", bar: 0.4, aim: 0.6 },
      { nodes: 3, what: "rate", bar: 0.3, aim: 0.5 }
    ]
  },
  {
    name: "random transfers, given to any node",
    settings: { ...plain, callers: "any" },
    bars: [
      { nodes: 2, what: "processor", bar: 3, aim: 2 },
      { nodes: 3, what: "processor", bar: 4, aim: 2.5 },
      { nodes: 2, what: "rate", bar: 0.4, aim: 0.6 },
      { nodes: 3, what: "rate", bar: 0.3, aim: 0.5 }
    ]
  },
  {
    name: "one account a command, callers know the owner",
    settings: { ...plain, scenario: "deposits-uniform" },
    bars: [{ nodes: 3, what: "rate", bar: 0.8, aim: 0.95 }]
  },
  {
    name: "transfers within a group (--affinity)",
    settings: { ...plain, affinity: true },
    bars: [{ nodes: 3, what: "rate", bar: 0.8, aim: 0.95 }]
  },
  {
    name: "mixed-zipf, read side on",
    settings: { ...plain, scenario: "mixed-zipf", readSide: true },
    bars: [{ nodes: 3, what: "rate", bar: 0.4, aim: 0.6 }]
  }
]

interface Measured {
  readonly load: string
  readonly nodes: number
  readonly outcome: LoadOutcome
}

const header = [
  "load",
  "nodes",
  "committed/s",
  "p50 ms",
  "p99 ms",
  "node µs/command",
  "databases µs/command",
  "busiest thread",
  "sent on",
  "borrowed",
  "rows a batch",
  "ok"
]

const row = ({ load, nodes, outcome }: Measured): ReadonlyArray<string> => {
  const ways = outcome.nodes.map((node) => node.ways)
  const sum = (key: "here" | "borrowing" | "forwarded") => ways.reduce((total, one) => total + one[key], 0)
  const all = Math.max(1, sum("here") + sum("borrowing") + sum("forwarded"))
  const share = (part: number) => `${Math.round((100 * part) / all)} %`
  const decided = Math.max(1, outcome.committed + outcome.rejected)
  const { postgres = 0, cockroach = 0 } = outcome.cpu.seconds
  const databaseSeconds = postgres + cockroach
  return [
    load,
    `${nodes}`,
    `${outcome.committedPerSecond}`,
    outcome.latencyMs.p50.toFixed(1),
    outcome.latencyMs.p99.toFixed(1),
    `${outcome.cpuUsPerCommand}`,
    ((databaseSeconds * 1e6) / decided).toFixed(0),
    `${Math.round(100 * Math.max(...outcome.nodes.map((node) => node.eventLoopUtilization)))} %`,
    share(sum("forwarded")),
    share(sum("borrowing")),
    `${outcome.batch.meanRows}`,
    outcome.ok ? "yes" : `NO: ${outcome.findings[0] ?? "nothing committed"}`
  ]
}

const spread = (ratios: ReadonlyArray<number>): string => {
  const sorted = ratios.toSorted((a, b) => a - b)
  const at = (index: number) => (sorted[index] ?? Number.NaN).toFixed(2)
  return `${at(sorted.length >> 1)} (${at(0)}-${at(sorted.length - 1)})`
}

const verdict = (median: number, bar: number, aim: number, isUpper: boolean): string => {
  const reaches = (limit: number) => (isUpper ? median <= limit : median >= limit)
  return reaches(aim) ? "aim" : reaches(bar) ? "bar" : "missed"
}

const medianOf = (figures: ReadonlyArray<number>) =>
  figures.toSorted((a, b) => a - b)[figures.length >> 1] ?? Number.NaN

/** The bars of a load, from its rounds, each of which is measured with every number of nodes. */
const barRows = ({ name, bars }: MeasuredLoad, rounds: ReadonlyArray<ReadonlyMap<number, LoadOutcome>>) =>
  bars.map(({ nodes, what, bar, aim }) => {
    const figure = (outcome: LoadOutcome | undefined) =>
      (what === "processor" ? outcome?.cpuUsPerCommand : outcome?.committedPerSecond) ?? Number.NaN
    const ratios = rounds.map((round) => figure(round.get(nodes)) / figure(round.get(1)))
    const isUpper = what === "processor"
    const text = isUpper ? "processor a command" : "committed/s"
    return [
      `${name}: ${text}, ${nodes} nodes over one`,
      spread(ratios),
      `${bar}`,
      `${aim}`,
      verdict(medianOf(ratios), bar, aim, isUpper)
    ]
  })

/** Runs a script of `bench/cluster`, whose last output is JSON. */
const script = (name: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<Record<string, unknown>>((resume) => {
    const file = fileURLToPath(new URL(`cluster/${name}`, import.meta.url))
    execFile(process.execPath, [file, ...args], { maxBuffer: 2 ** 26 }, (error, stdout) => {
      const begin = stdout.indexOf("{")
      if (begin < 0) return resume(Effect.die(error ?? new Error(`${name} printed nothing`)))
      resume(Effect.succeed(JSON.parse(stdout.slice(begin)) as Record<string, unknown>)) // what the script prints last
    })
  })

const numberAt = (found: Record<string, unknown>, key: string): number => Number(found[key])

const program = Effect.gen(function* () {
  const progress = makeProgress(
    process.stderr.isTTY === true,
    () => process.stderr.columns ?? 100,
    (text) => process.stderr.write(text)
  )
  const chosen = loads.filter(({ name }) => name.includes(values.only))
  const runs: Array<Measured> = []
  const bars: Array<ReadonlyArray<string>> = []
  yield* Effect.gen(function* () {
    const stack = yield* ownStack
    for (const load of chosen) {
      const rounds: Array<ReadonlyMap<number, LoadOutcome>> = []
      const counts = [1, ...new Set(load.bars.map(({ nodes }) => nodes))]
      for (let nth = 0; nth < Number(values.rounds); nth++) {
        const round = new Map<number, LoadOutcome>()
        for (const nodes of counts) {
          const { outcome } = yield* runNodesTest(load.settings, nodes, stack, progress)
          round.set(nodes, outcome)
          runs.push({ load: load.name, nodes, outcome })
        }
        rounds.push(round)
      }
      bars.push(...barRows(load, rounds))
    }
    // One rule for the stack's life; ids without `:` are placed by the whole id all the same.
  }).pipe(
    Effect.scoped,
    Effect.provideService(ClusterConfig, { ...defaultClusterLimits, affinitySegments: 1 })
  )
  const isWhole = values.only === ""
  const storm = isWhole ? yield* script("storm.ts", values["storm-seconds"], "3") : undefined
  if (storm !== undefined) {
    const rate = numberAt(storm, "acceptedPerSecond")
    const faults = Array.isArray(storm.faults) ? storm.faults.length : 0
    if (faults > 0) process.exitCode = 1
    bars.push([
      `storm of rings over three nodes, ${values["storm-seconds"]} s, transfers/s`,
      `${rate}${faults > 0 ? ` with ${faults} faults` : ""}`,
      "5000",
      "10000",
      verdict(rate, 5_000, 10_000, false)
    ])
    const latency = yield* script("latency.ts")
    const ratio = numberAt(latency, "ratio")
    bars.push([
      `single transfer over two nodes, idle: p50 over the local one (${numberAt(latency, "localMs").toFixed(2)} ms)`,
      ratio.toFixed(2),
      "3",
      "2",
      verdict(ratio, 3, 2, true)
    ])
  }
  const { cpu, eventStore } = runs[0]?.outcome ?? {}
  yield* Console.log(
    `${eventStore}, ${cpu?.cores} cores, ${values.seconds} s a run after ${values["warm-up"]} commands a node, ${values.rounds} rounds`
  )
  yield* Effect.forEach(tableLines([header, ...runs.map(row)], "lrrrrrrrrrrl"), (line) => Console.log(line))
  yield* Console.log("")
  const title = ["median of the rounds (spread)", "measured", "bar", "aim", "reaches"]
  yield* Effect.forEach(tableLines([title, ...bars], "lrrrl"), (line) => Console.log(line))
  if (runs.some(({ outcome }) => !outcome.ok)) process.exitCode = 1
}).pipe(Effect.provide(NodeServices.layer), Effect.provideService(References.MinimumLogLevel, "Error"))

tuneCollector()
NodeRuntime.runMain(program)
