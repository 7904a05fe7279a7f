/** Two looks at the machine's processes enter; the processor time that each kind of them used in between leaves. */
import { availableParallelism, cpus } from "node:os"
import { NodeServices } from "@effect/platform-node"
import { Effect, FileSystem } from "effect"

/** Linux counts the time of processes in hundredths of a second, on every architecture Node runs on. */
const ticksPerSecond = 100

interface ProcessRow {
  readonly parent: number
  readonly name: string
  /** Of its own, and of those of its children that ended. */
  readonly ticks: number
}

export interface Look {
  readonly rows: ReadonlyMap<number, ProcessRow>
  /** Of all cores, in milliseconds. */
  readonly idleMs: number
  readonly totalMs: number
}

/** Processor time during the load. */
export interface Usage {
  readonly cores: number
  /** The share of all cores' time that anybody used: what is not in `seconds` is the rest of the machine. */
  readonly busy: number
  /**
   * Seconds of each node, of this process (`loadtest`) and of the services it started, by program. Services that run
   * by themselves are not in it, nor any on a system without `/proc`.
   */
  readonly seconds: Readonly<Record<string, number>>
}

/** `12 (a name) S 1 …`: the name may have blanks and parentheses; utime, stime, cutime, cstime are fields 14 to 17. */
const parseStat = (stat: string): ProcessRow | undefined => {
  const open = stat.indexOf("(")
  const close = stat.lastIndexOf(")")
  if (open < 0 || close < 0) return undefined
  const fields = stat.slice(close + 2).split(" ")
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
  return { parent: Number(fields[1]), name: stat.slice(open + 1, close), ticks }
}

export const lookAtProcesses: Effect.Effect<Look> = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const entries = yield* fs.readDirectory("/proc").pipe(Effect.orElseSucceed((): Array<string> => []))
  const rows = new Map<number, ProcessRow>()
  for (const entry of entries.filter((name) => /^\d+$/.test(name))) {
    // One that ended since is counted by its parent.
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

const isBelow = (rows: Look["rows"], pid: number, ancestor: number): boolean => {
  // A table that is read while it changes might have a circle; no tree is so deep.
  for (let at = pid, depth = 0; depth < 64; depth++) {
    const row = rows.get(at)
    if (row === undefined) return false
    if (row.parent === ancestor) return true
    at = row.parent
  }
  return false
}

/** `own`: the seconds of the nodes and of this process, which are known better from inside; `nodes`: their ids. */
export const usageBetween = (
  before: Look,
  after: Look,
  own: Readonly<Record<string, number>>,
  nodes: ReadonlySet<number> = new Set()
): Usage => {
  const seconds: Record<string, number> = { ...own }
  // By sums, since what a process used that ended in between is in its parent's by now.
  const add = ({ rows }: Look, sign: 1 | -1): void => {
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
