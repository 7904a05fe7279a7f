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

const secondsOf = (pid: number, thread: string): readonly [name: string, seconds: number] => {
  const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8")
  // A name may contain anything, so what follows is counted from its end.
  const end = text.lastIndexOf(")")
  const fields = text.slice(end + 2).split(" ")
  return [text.slice(text.indexOf("(") + 1, end), (Number(fields[11]) + Number(fields[12])) / ticksASecond]
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

export const residentMib = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024)
