/** Measures how much processor time each program used during a load, from the kernel's table of processes. */
import { availableParallelism, cpus } from "node:os"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, FileSystem } from "effect"

/** Linux counts the processor time of processes in hundredths of a second on every architecture that Node runs on. */
const ticksPerSecond = 100

interface ProcessRow {
  readonly parent: number
  readonly name: string
  /** Of the process itself, and of its children that have ended. */
  readonly ticks: number
}

/** The table of processes at one moment. */
export interface ProcessTable {
  readonly rows: ReadonlyMap<number, ProcessRow>
  /** Of all cores together, in milliseconds. */
  readonly idleMs: number
  readonly totalMs: number
}

/** Processor time during the load. */
export interface Usage {
  readonly cores: number
  /** The share of all cores' time that was used, 0 … 1. What is not in `seconds` was used by the rest of the machine. */
  readonly busy: number
  /**
   * Seconds of each node, of this process (`loadtest`) and of the services that it started, by program. Leaves out
   * services that were running before, and all services on a system without `/proc`.
   */
  readonly seconds: Readonly<Record<string, number>>
}

/** Reads `12 (a name) S 1 …`. The name may hold blanks and parentheses; utime, stime, cutime and cstime are fields 14 to 17. */
const parseStat = (stat: string): ProcessRow | undefined => {
  const open = stat.indexOf("(")
  const close = stat.lastIndexOf(")")
  if (open < 0 || close < 0) return undefined
  const fields = stat.slice(close + 2).split(" ")
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
  return { parent: Number(fields[1]), name: stat.slice(open + 1, close), ticks }
}

export const readProcesses: Effect.Effect<ProcessTable> = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const entries = yield* fs.readDirectory("/proc").pipe(Effect.orElseSucceed((): Array<string> => []))
  const rows = new Map<number, ProcessRow>()
  for (const entry of entries.filter((name) => /^\d+$/.test(name))) {
    // The time of a process that has ended since is counted with its parent.
    const stat = yield* fs.readFileString(`/proc/${entry}/stat`).pipe(Effect.orElseSucceed(() => ""))
    const row = parseStat(stat)
    if (row !== undefined) rows.set(Number(entry), row)
  }
  const cores = cpus().map(({ times }) => times)
  const idleMs = cores.reduce((sum, { idle }) => sum + idle, 0)
  const totalMs = cores.reduce(
    (sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq,
    0
  )
  return { rows, idleMs, totalMs }
}).pipe(Effect.provide(NodeServices.layer))

const isBelow = (rows: ProcessTable["rows"], pid: number, ancestor: number): boolean => {
  // The table changes while it is read, so that it might hold a circle. No tree is deeper than 64.
  for (let at = pid, depth = 0; depth < 64; depth++) {
    const row = rows.get(at)
    if (row === undefined) return false
    if (row.parent === ancestor) return true
    at = row.parent
  }
  return false
}

/** `own`: the seconds of the nodes and of this process, which they measured themselves; `nodes`: the ids of the node processes. */
export const usageBetween = (
  before: ProcessTable,
  after: ProcessTable,
  own: Readonly<Record<string, number>>,
  nodes: ReadonlySet<number> = new Set()
): Usage => {
  const seconds: Record<string, number> = { ...own }
  // Sums by program, because the time of a process that ended meanwhile has moved to its parent.
  const add = ({ rows }: ProcessTable, sign: 1 | -1): void => {
    for (const [pid, { name, ticks }] of rows) {
      if (nodes.has(pid) || !isBelow(rows, pid, process.pid)) continue
      seconds[name] = (seconds[name] ?? 0) + (sign * ticks) / ticksPerSecond
    }
  }
  add(after, 1)
  add(before, -1)
  const totalMs = after.totalMs - before.totalMs
  const round = (value: number) => Number(value.toFixed(2))
  return {
    cores: availableParallelism(),
    busy: totalMs === 0 ? 0 : round(1 - (after.idleMs - before.idleMs) / totalMs),
    seconds: Object.fromEntries(
      Object.entries(seconds).flatMap(([name, value]) => (value > 0 ? [[name, round(value)]] : []))
    )
  }
}
