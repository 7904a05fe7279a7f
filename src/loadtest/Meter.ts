/** Counts the answers of a load, and keeps their latency distribution and a history, in bounded memory. */
import { build, type Histogram } from "hdr-histogram-js"
import type { CommandError } from "../domain/Errors.ts"

const usPerMs = 1_000
/** Points of the history. When there are more, every other one is dropped, and only every other one is added from then on. */
const historyMax = 600

/** A latency distribution, in milliseconds, to three significant digits. */
export interface Latency {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** What happened between two samples of the load. */
export interface Sample {
  /** Seconds since the start of the load. */
  readonly at: number
  readonly committedPerSecond: number
  readonly overloadedPerSecond: number
  readonly p99Ms: number
  readonly lagMs: number | undefined
  readonly rssMiB: number
  readonly waiting: number
}

/** Waits longer than ten minutes count as ten minutes. */
const usMax = 600_000_000

/** A histogram of microseconds, to three significant digits. */
export const makeHistogram = (): Histogram =>
  build({ lowestDiscernibleValue: 1, highestTrackableValue: usMax, numberOfSignificantValueDigits: 3 })

export const recordMs = (histogram: Histogram, ms: number): void =>
  histogram.recordValue(Math.min(Math.max(1, Math.round(ms * usPerMs)), usMax))

const toMs = (us: number): number => Math.round(us) / usPerMs

/** Bounded by the maximum, because a bucket stands for its upper end, which may lie above every recorded value. */
const atPercentile = (histogram: Histogram, percentile: number): number =>
  toMs(Math.min(histogram.getValueAtPercentile(percentile), histogram.maxValue))

export const summarize = (histogram: Histogram): Latency => ({
  p50: atPercentile(histogram, 50),
  p90: atPercentile(histogram, 90),
  p99: atPercentile(histogram, 99),
  p999: atPercentile(histogram, 99.9),
  max: toMs(histogram.maxValue)
})

export class Meter {
  committed = 0
  replayed = 0
  /** These three count answers, not commands: a command that is sent again may get several. */
  overloaded = 0
  unavailable = 0
  indeterminate = 0
  readonly rejections = new Map<string, number>()
  /** Commands that were due but not sent when the time was over (open loop). */
  unsent = 0
  rssMiBMax = 0
  /** Defects of `dispatch`, which are always bugs. */
  readonly defects: Array<string> = []
  /** Latency of commands that were decided on a state: committed, or refused by the rules. */
  readonly decided: Histogram = makeHistogram()
  /** Time from the call to an `Overloaded`. Leaves out how late the load sent the command. */
  readonly refusals: Histogram = makeHistogram()
  /** How long after it was due a command was sent (open loop): the part of the latency that the load itself caused. */
  readonly delays: Histogram = makeHistogram()
  /** Milliseconds that generating commands took, and how many were generated (open loop). */
  generatedMs = 0
  generated = 0
  /** The longest wait for a decision, and when it ended, milliseconds since the start of the load. */
  longest = { tookMs: 0, atMs: 0 }
  readonly #recent: Histogram = makeHistogram()
  #history: Array<Sample> = []
  #every = 1
  #samples = 0
  #last = { atMs: 0, committed: 0, overloaded: 0 }

  /** `atMs`: since the start of the load. */
  accepted(isReplayed: boolean, tookMs: number, atMs = 0): void {
    if (isReplayed) {
      this.replayed++
      return
    }
    this.committed++
    this.#record(tookMs, atMs)
  }

  /** The rules of the ledger refused the command. */
  rejected(error: CommandError, tookMs: number, atMs = 0): void {
    this.rejections.set(error._tag, (this.rejections.get(error._tag) ?? 0) + 1)
    // This refusal comes from memory, without the store, and would flatter the distribution.
    if (error._tag !== "CommandIdReused") this.#record(tookMs, atMs)
  }

  refusedForLoad(tookMs: number): void {
    this.overloaded++
    recordMs(this.refusals, tookMs)
  }

  get rejectedCount(): number {
    let sum = 0
    for (const count of this.rejections.values()) sum += count
    return sum
  }

  /** Adds a point to the history. `p99Ms` is given where other processes recorded the latencies. */
  sample(
    atMs: number,
    state: Pick<Sample, "lagMs" | "rssMiB" | "waiting"> & Partial<Pick<Sample, "p99Ms">>
  ): Sample {
    const seconds = Math.max(atMs - this.#last.atMs, 1) / 1_000
    const sample: Sample = {
      at: atMs / 1_000,
      committedPerSecond: Math.round((this.committed - this.#last.committed) / seconds),
      overloadedPerSecond: Math.round((this.overloaded - this.#last.overloaded) / seconds),
      p99Ms: toMs(this.#recent.getValueAtPercentile(99)),
      ...state
    }
    this.rssMiBMax = Math.max(this.rssMiBMax, state.rssMiB)
    this.#last = { atMs, committed: this.committed, overloaded: this.overloaded }
    this.#recent.reset()
    if (this.#samples++ % this.#every === 0) this.#history.push(sample)
    if (this.#history.length > historyMax) {
      this.#history = this.#history.filter((_, index) => index % 2 === 0)
      this.#every *= 2
    }
    return sample
  }

  get history(): ReadonlyArray<Sample> {
    return this.#history
  }

  #record(tookMs: number, atMs: number): void {
    if (tookMs > this.longest.tookMs) this.longest = { tookMs, atMs }
    recordMs(this.decided, tookMs)
    recordMs(this.#recent, tookMs)
  }
}

/** Points of the percentile plot: percentile and latency in milliseconds, ever closer towards 100 %. */
export const percentiles = (
  histogram: Histogram
): ReadonlyArray<readonly [percentile: number, ms: number]> => {
  const points: Array<readonly [number, number]> = []
  for (let rest = 100; rest > 0.0005; rest *= 0.8) {
    points.push([100 - rest, atPercentile(histogram, 100 - rest)])
    if ((rest / 100) * histogram.totalCount < 0.5) break
  }
  return points
}
