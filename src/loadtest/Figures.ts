/** The figures of a load as rows of a table, for the report. */
import type { Latency } from "./Meter.ts"
import type { LoadOutcome } from "./Outcome.ts"
import type { Pauses } from "./Pauses.ts"

export const number = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 2 })
/** A latency with three significant digits, which is as exact as it is measured. */
export const ms = (value: number | null): string =>
  value === null ? "not measured" : `${number(Number(value.toPrecision(value < 1_000 ? 3 : 4)))} ms`

/** A name and a value for each row. */
export const figureRows = (outcome: LoadOutcome): ReadonlyArray<readonly [string, string]> => [
  ["accounts", number(outcome.accounts)],
  ["seed, share of repeats", `${outcome.seed}, ${outcome.repeats}`],
  ["committed, replayed", `${number(outcome.committed)}, ${number(outcome.replayed)}`],
  ["refused by the rules", printCounts(outcome.rejected, outcome.rejections)],
  ["overloaded, unavailable", `${number(outcome.overloaded)}, ${number(outcome.unavailable)}`],
  ["indeterminate, never resolved", `${number(outcome.indeterminate)}, ${number(outcome.unresolved)}`],
  ...(outcome.overloadedMs === null
    ? []
    : [["time from the call to an Overloaded", latencies(outcome.overloadedMs)] as const]),
  ["due but not sent", number(outcome.unsent)],
  ...(outcome.generator === null
    ? []
    : [
        ["delay of the load itself", latencies(outcome.generator.delayMs)] as const,
        ["time to generate a command", `${outcome.generator.drawUsPerCommand} µs`] as const
      ]),
  ["latency p50, p90, p99, p99.9, max", Object.values(outcome.latencyMs).map(ms).join(", ")],
  [
    "longest wait as a multiple of p50",
    `${outcome.fairness}${outcome.longestWaitAtSeconds === null ? "" : `, at ${outcome.longestWaitAtSeconds} s`}`
  ],
  ["latency of a single client, p50, p99", `${ms(outcome.soloMs.p50)}, ${ms(outcome.soloMs.p99)}`],
  [
    "a commit of one event in the store, p50, p99",
    `${ms(outcome.storeCommitMs.p50)}, ${ms(outcome.storeCommitMs.p99)}`
  ],
  ...(outcome.storeBesideMs === null
    ? []
    : [
        ["the same during the load", latencies(outcome.storeBesideMs)] as const,
        ["p99 of the ledger as a multiple of that p99", `${outcome.p99OverStore ?? "not measured"}`] as const
      ]),
  ...(outcome.pauses === null ? [] : pauseRows(outcome.pauses)),
  ["rows of a batch, mean, max", `${outcome.batch.meanRows}, ${outcome.batch.maxRows}`],
  ["accounts in conflict", number(outcome.conflicts)],
  ["batches sent again because their outcome was unknown", number(outcome.resentBatches)],
  [
    "lag of the read model p50, p99",
    `${ms(outcome.projection.lagMsP50)}, ${ms(outcome.projection.lagMsP99)}`
  ],
  ["read model caught up after", `${outcome.projection.caughtUpAfterSeconds ?? "never"} s`],
  [
    "processor time per command",
    `${outcome.cpuUsPerCommand} µs, of the whole ${outcome.nodes.length > 1 ? "node processes" : "process"}`
  ],
  ["processor time by program", printCpu(outcome.cpu)],
  ["memory at most", `${outcome.rssMiB} MiB`],
  ["accounts in memory at the end", number(outcome.residents)]
]

const latencies = ({ p50, p99, max }: Latency): string => `p50 ${ms(p50)}, p99 ${ms(p99)}, max ${ms(max)}`

const pauseRows = ({ eventLoopMs, gcMs }: Pauses): ReadonlyArray<readonly [string, string]> => {
  const { minor, major } = gcMs
  const print = ({ count, total, max }: Pauses["gcMs"]["minor"]) =>
    `${number(count)} pauses, ${ms(total)} in total, ${ms(max)} at most`
  return [
    [
      "delay of the event loop, p50, p99, max",
      [eventLoopMs.p50, eventLoopMs.p99, eventLoopMs.max].map(ms).join(", ")
    ],
    ["collections of the young generation", print(minor)],
    ["collections of the whole heap", print(major)]
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
