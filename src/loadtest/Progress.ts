/** Shows how far a load test is: one line that is rewritten in place on a terminal, a few lines in a log. */
import { printable } from "../domain/Printable.ts"
import type { Sample } from "./Meter.ts"

/** Without a terminal, a line is written for every tenth sample, and for every 200th report of a long step. */
const quietEvery = 10
const quietStepEvery = 200
const clearLine = "\r\u001b[2K"

export interface Progress {
  /** Names the current step, with how far it is. */
  readonly say: (text: string) => void
  readonly show: (sample: Sample, seconds: number) => void
  /** Ends the line that was written last. */
  readonly end: () => void
}

export const makeProgress = (
  isTerminal: boolean,
  columns: () => number,
  write: (text: string) => void
): Progress => {
  let isOpen = false
  let shown = 0
  let lastStep = ""
  let reports = 0
  const put = (text: string): void => {
    isOpen = true
    write(clearLine + text.slice(0, Math.max(20, columns() - 1)))
  }
  return {
    say: (raw) => {
      const text = printable(raw)
      if (isTerminal) return put(text)
      // Two reports belong to one step if they differ only in their numbers.
      const step = text.replaceAll(/[\d,.]+/g, "")
      reports = step === lastStep ? reports + 1 : 0
      if (reports % quietStepEvery !== 0) return
      lastStep = step
      write(`${text}\n`)
    },
    show: (sample, seconds) => {
      const line = describe(sample, seconds)
      if (isTerminal) put(line)
      else if (shown++ % quietEvery === quietEvery - 1) write(`${line}\n`)
    },
    end: () => {
      if (isTerminal && isOpen) write("\n")
      isOpen = false
    }
  }
}

const barWidth = 16

const describe = (sample: Sample, seconds: number): string => {
  const done = Math.min(barWidth, Math.round((sample.at / seconds) * barWidth))
  const parts = [
    `${"█".repeat(done)}${"░".repeat(barWidth - done)} ${sample.at.toFixed(0).padStart(3)} s`,
    `${sample.committedPerSecond.toLocaleString("en").padStart(7)}/s`,
    `p99 ${sample.p99Ms.toFixed(0)} ms`,
    sample.lagMs === undefined ? "" : `lag ${sample.lagMs.toFixed(0)} ms`,
    sample.overloadedPerSecond > 0 ? `${sample.overloadedPerSecond.toLocaleString("en")} overloaded/s` : "",
    `${sample.rssMiB} MiB`
  ]
  return parts.filter((part) => part !== "").join("  ")
}
