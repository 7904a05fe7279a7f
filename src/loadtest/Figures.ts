/** The outcome of a load enters; its figures, as rows of a table, leave. */
import type { Latency } from "./Meter.ts"
import type { LoadOutcome } from "./Outcome.ts"
import type { Pauses } from "./Pauses.ts"

export const number = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 2 })
/** Three digits say all that a latency has to say. */
export const ms = (value: number | null): string =>
  value === null ? "not measured" : `${number(Number(value.toPrecision(value < 1_000 ? 3 : 4)))} ms`

/** A name and a value each, in words. */
export const figureRows = (outcome: LoadOutcome): ReadonlyArray<readonly [string, string]> => [
  ["accounts", number(outcome.accounts)],
  ["seed, share of repeats", `${outcome.seed}, ${outcome.repeats}`],
  ["committed, replayed", `${number(outcome.committed)}, ${number(outcome.replayed)}`],
  ["refused by the rules", printCounts(outcome.rejected, outcome.rejections)],
  ["overloaded, unavailable", `${number(outcome.overloaded)}, ${number(outcome.unavailable)}`],
  ["indeterminate, never resolved", `${number(outcome.indeterminate)}, ${number(outcome.unresolved)}`],
  ...(outcome.overloadedMs === null
    ? []
    : [["from the call to an Overloaded", latencies(outcome.overloadedMs)] as const]),
  ["due, but not sent", number(outcome.unsent)],
  ...(outcome.generator === null
    ? []
    : [
        ["how late the load sent what was due", latencies(outcome.generator.delayMs)] as const,
        ["to draw a command took the load", `${outcome.generator.drawUsPerCommand} µs`] as const
      ]),
  ["latency p50, p90, p99, p99.9, max", Object.values(outcome.latencyMs).map(ms).join(", ")],
  [
    "longest wait over p50",
    `${outcome.fairness} times${outcome.longestWaitAtSeconds === null ? "" : `, at ${outcome.longestWaitAtSeconds} s`}`
  ],
  ["one client at a time, p50, p99", `${ms(outcome.soloMs.p50)}, ${ms(outcome.soloMs.p99)}`],
  ["the store's own commit, p50, p99", `${ms(outcome.storeCommitMs.p50)}, ${ms(outcome.storeCommitMs.p99)}`],
  ...(outcome.storeBesideMs === null
    ? []
    : [
        ["the same beside the load", latencies(outcome.storeBesideMs)] as const,
        ["p99 over that p99", `${outcome.p99OverStore ?? "not measured"} times`] as const
      ]),
  ...(outcome.pauses === null ? [] : pauseRows(outcome.pauses)),
  ["rows of a batch, mean, max", `${outcome.batch.meanRows}, ${outcome.batch.maxRows}`],
  ["accounts in conflict", number(outcome.conflicts)],
  ["batches sent again", number(outcome.resentBatches)],
  [
    "lag of the read model p50, p99",
    `${ms(outcome.projection.lagMsP50)}, ${ms(outcome.projection.lagMsP99)}`
  ],
  ["caught up after", `${outcome.projection.caughtUpAfterSeconds ?? "never"} s`],
  [
    "processor time a command",
    `${outcome.cpuUsPerCommand} µs, of the ${outcome.nodes.length > 1 ? "nodes" : "node"} with all that ran in it`
  ],
  ["processor time", printCpu(outcome.cpu)],
  ["memory, most", `${outcome.rssMiB} MiB`],
  ["accounts in memory at the end", number(outcome.residents)]
]

const latencies = ({ p50, p99, max }: Latency): string => `p50 ${ms(p50)}, p99 ${ms(p99)}, max ${ms(max)}`

const pauseRows = ({ eventLoopMs, gcMs }: Pauses): ReadonlyArray<readonly [string, string]> => {
  const { minor, major } = gcMs
  const print = ({ count, total, max }: Pauses["gcMs"]["minor"]) =>
    `${number(count)} pauses, ${ms(total)} together, ${ms(max)} at most`
  return [
    [
      "its thread came late, p50, p99, max",
      [eventLoopMs.p50, eventLoopMs.p99, eventLoopMs.max].map(ms).join(", ")
    ],
    ["collections of the young heap", print(minor)],
    ["of all of the heap", print(major)]
  ]
}

const printCpu = ({ cores, busy, seconds }: LoadOutcome["cpu"]): string => {
  const parts = Object.entries(seconds).map(([name, used]) => `${name} ${number(used)} s`)
  return `${parts.join(", ")}; ${cores} cores were busy ${number(busy * 100)} % of the time`
}

const printCounts = (sum: number, counts: Readonly<Record<string, number>>): string =>
  `${number(sum)}${
    sum === 0
      ? ""
      : ` (${Object.entries(counts)
          .map(([name, count]) => `${name} ${number(count)}`)
          .join(", ")})`
  }`
