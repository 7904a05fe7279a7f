/** What one node counted before and after a load enters; its line of the outcome leaves. */
import type { DriverStats } from "./Driver.ts"
import type { Latency } from "./Meter.ts"

/** What one node did and took during the load. */
export interface NodeFigures {
  readonly name: string
  /** Shards it owned when the load began; null for a node alone. */
  readonly shards: number | null
  /** Of the commands it was given, wherever they were decided. */
  readonly committed: number
  readonly committedPerSecond: number
  readonly rejected: number
  readonly overloaded: number
  readonly unavailable: number
  readonly indeterminate: number
  readonly latencyMs: Latency
  /** Where the accounts of the commands it was given were: all here; some borrowed; the first one elsewhere. */
  readonly ways: { readonly here: number; readonly borrowing: number; readonly forwarded: number }
  /** Events of the commands it decided, whoever was given them. */
  readonly rows: number
  readonly batch: { readonly meanRows: number; readonly maxRows: number }
  readonly conflicts: number
  readonly cpuSeconds: number
  /** 0 … 1: at 1 the one thread that decides commands had no pause. */
  readonly eventLoopUtilization: number
  readonly rssMiB: number
  readonly residents: number
  /** How it ended, if that was not in order. */
  readonly ended: string | null
}

type Derived = "committedPerSecond" | "rows" | "batch" | "conflicts" | "cpuSeconds" | "residents"

export interface NodeCounts extends Omit<NodeFigures, Derived> {
  readonly seconds: number
  readonly before: DriverStats
  readonly after: DriverStats
  readonly cpuUs: number
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits))

export const nodeFigures = ({ seconds, before, after, cpuUs, ...counts }: NodeCounts): NodeFigures => ({
  ...counts,
  committedPerSecond: seconds === 0 ? 0 : Math.round(counts.committed / seconds),
  rows: after.rows - before.rows,
  batch: batchBetween(before, after),
  conflicts: after.conflicts - before.conflicts,
  cpuSeconds: round(cpuUs / 1e6, 2),
  eventLoopUtilization: round(counts.eventLoopUtilization, 3),
  residents: after.residents
})

/** Rows of the batches of the load; the largest one may have been before. */
export const batchBetween = (before: DriverStats, after: DriverStats): NodeFigures["batch"] => {
  const batches = after.batches - before.batches
  const meanRows = batches === 0 ? 0 : round((after.rows - before.rows) / batches, 1)
  return { meanRows, maxRows: after.rowsMax }
}
