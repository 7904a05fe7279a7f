/** The figures of one node during a load, from its counters before and after. */
import type { DriverStats } from "./Driver.ts"
import type { Latency } from "./Meter.ts"

/** What one node did during the load, and what it used. */
export interface NodeFigures {
  readonly name: string
  /** Shards that the node owned when the load began; null for a single node. */
  readonly shards: number | null
  /** These count the commands that the node was given, wherever they were decided. */
  readonly committed: number
  readonly committedPerSecond: number
  readonly rejected: number
  readonly overloaded: number
  readonly unavailable: number
  readonly indeterminate: number
  readonly latencyMs: Latency
  /** Where the accounts of the commands that the node was given were: all on the node, some leased from others, the first one on another node. */
  readonly ways: { readonly here: number; readonly borrowing: number; readonly forwarded: number }
  /** Events of the commands that the node decided, on whichever node they were given. */
  readonly rows: number
  readonly batch: { readonly meanRows: number; readonly maxRows: number }
  readonly conflicts: number
  readonly cpuSeconds: number
  /** 0 … 1: at 1 the thread that decides commands was never idle. */
  readonly eventLoopUtilization: number
  readonly rssMiB: number
  readonly residents: number
  /** How the node ended, if not in order. */
  readonly ended: string | null
}

type Derived = "committedPerSecond" | "rows" | "batch" | "conflicts" | "cpuSeconds" | "residents"

interface NodeCounts extends Omit<NodeFigures, Derived> {
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

/** Rows of the batches of the load. The largest batch may have been before the load. */
export const batchBetween = (before: DriverStats, after: DriverStats): NodeFigures["batch"] => {
  const batches = after.batches - before.batches
  const meanRows = batches === 0 ? 0 : round((after.rows - before.rows) / batches, 1)
  return { meanRows, maxRows: after.rowsMax }
}
