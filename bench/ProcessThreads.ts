/** The processor time of each thread of a process, as Linux counts it: tells apart what a node does in which of its threads. */
import { readdirSync, readFileSync } from "node:fs"
import { Result } from "effect"

/** Clock ticks a second of `/proc`, on every Linux that Node.js runs on. */
const ticksASecond = 100

export interface ProcessorSeconds {
  /** The thread in which the process began: that of a node's commands. */
  readonly main: number
  /** The read side's thread of a node. */
  readonly readSide: number
  /** All others: collectors, compilers, and threads for files and hashes. */
  readonly others: number
}

/** To the nanosecond, where the ticks of `stat` are of ten milliseconds. */
const secondsOf = (pid: number, thread: string): readonly [name: string, seconds: number] => {
  const folder = `/proc/${pid}/task/${thread}`
  const nanoseconds = Number(readFileSync(`${folder}/schedstat`, "utf8").split(" ")[0])
  return [readFileSync(`${folder}/comm`, "utf8").trim(), nanoseconds / 1e9]
}

export const processorSeconds = (pid: number): ProcessorSeconds => {
  const seconds = { main: 0, readSide: 0, others: 0 }
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    // A thread may end meanwhile.
    const read = Result.try(() => secondsOf(pid, thread))
    if (Result.isFailure(read)) continue
    const [name, took] = read.success
    if (thread === String(pid)) seconds.main += took
    else if (name.startsWith("chronicle-read")) seconds.readSide += took
    else seconds.others += took
  }
  return seconds
}

const statOf = (pid: number): { readonly name: string; readonly fields: ReadonlyArray<string> } => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  // A name may contain anything, so what follows is counted from its end.
  const end = stat.lastIndexOf(")")
  return { name: stat.slice(stat.indexOf("(") + 1, end), fields: stat.slice(end + 2).split(" ") }
}

const ticks = (fields: ReadonlyArray<string>, first: number): number =>
  (Number(fields[first]) + Number(fields[first + 1])) / ticksASecond

/** Of the whole process, its threads that have ended included, to ten milliseconds. */
export const processSeconds = (pid: number): number => ticks(statOf(pid).fields, 11)

/** How long the thread in which a process began was ready to run and had no core, in seconds. */
export const waitedSeconds = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[1]) / 1e9

interface ProcessRow {
  readonly parent: number
  readonly name: string
  /** Of its threads, and of its children that have ended. */
  readonly seconds: number
}

const rowOf = (pid: number): ProcessRow => {
  const { name, fields } = statOf(pid)
  const { main, readSide, others } = processorSeconds(pid)
  return { parent: Number(fields[1]), name, seconds: main + readSide + others + ticks(fields, 13) }
}

/** The processor time of all processes of a name below one, those that have ended included. */
export const secondsOfPrograms = (ancestor: number): ((name: string) => number) => {
  const rows = new Map<number, ProcessRow>()
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue
    // A process may end meanwhile; its time is its parent's then.
    const row = Result.try(() => rowOf(Number(entry)))
    if (Result.isSuccess(row)) rows.set(Number(entry), row.success)
  }
  const isBelow = (pid: number): boolean => {
    const parent = rows.get(pid)?.parent
    return parent !== undefined && (parent === ancestor || isBelow(parent))
  }
  return (name) =>
    [...rows].reduce((sum, [pid, row]) => (row.name === name && isBelow(pid) ? sum + row.seconds : sum), 0)
}

export const residentMib = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024)
