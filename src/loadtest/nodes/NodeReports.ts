/** What each node tells of its load enters, as it comes; the figures of each, and of all together, leave. */
import { decodeFromCompressedBase64 } from "hdr-histogram-js"
import { addStats, type DriverStats } from "../Driver.ts"
import { type Meter, makeHistogram, type Sample, summarize } from "../Meter.ts"
import { type NodeFigures, nodeFigures } from "../NodeFigures.ts"
import type { Report } from "./Protocol.ts"

const none: DriverStats = {
  batches: 0,
  rows: 0,
  rowsMax: 0,
  behind: 0,
  conflicts: 0,
  repeats: 0,
  unknown: 0,
  residents: 0,
  inFlight: 0
}

/** One node's last words; all it will ever have said, where it ended in the middle. */
interface Heard {
  report?: Report
  histograms?: NonNullable<Report["histograms"]>
  /** Why it has none, where it should. */
  ended?: string
  seconds?: number
}

export class NodeReports {
  readonly #heard: ReadonlyArray<Heard>
  readonly #names: ReadonlyArray<string>

  constructor(names: ReadonlyArray<string>) {
    this.#names = names
    this.#heard = names.map(() => ({}))
  }

  take(nth: number, report: Report): void {
    const heard = this.#heard[nth]
    if (heard === undefined) return
    heard.report = report
    if (report.histograms !== undefined) heard.histograms = report.histograms
  }

  finished(nth: number, seconds: number): void {
    const heard = this.#heard[nth]
    if (heard !== undefined) heard.seconds = seconds
  }

  /** The node is no more. */
  ended(nth: number, how: string): void {
    const heard = this.#heard[nth]
    if (heard !== undefined) heard.ended ??= how
  }

  hasEnded(nth: number): boolean {
    return this.#heard[nth]?.ended !== undefined
  }

  /** Of each node, as it said last. */
  get committed(): ReadonlyArray<number> {
    return this.#heard.map(({ report }) => report?.committed ?? 0)
  }

  /** Of those that are there. */
  get reports(): ReadonlyArray<Report> {
    return this.#heard.flatMap(({ report }) => (report === undefined ? [] : [report]))
  }

  /** The longest; what the load took. */
  get seconds(): number {
    return Math.max(0, ...this.#heard.map(({ seconds, report }) => seconds ?? report?.sample.at ?? 0))
  }

  /** Puts into the meter what all nodes counted up to now. */
  count(meter: Meter): void {
    const sum = (pick: (report: Report) => number) =>
      this.reports.reduce((total, report) => total + pick(report), 0)
    meter.committed = sum((report) => report.committed)
    meter.replayed = sum((report) => report.replayed)
    meter.overloaded = sum((report) => report.overloaded)
    meter.unavailable = sum((report) => report.unavailable)
    meter.indeterminate = sum((report) => report.indeterminate)
    meter.unsent = sum((report) => report.unsent)
  }

  /** A point of the history of all nodes: p99 of the slowest one, memory and commands under way of all. */
  sample(meter: Meter, atMs: number, lagMs: number | undefined): Sample {
    this.count(meter)
    const live = this.#heard.flatMap(({ report, ended }) =>
      report === undefined || ended !== undefined ? [] : [report.sample]
    )
    const sum = (pick: (sample: Sample) => number) => live.reduce((total, one) => total + pick(one), 0)
    return meter.look(atMs, {
      lagMs,
      p99Ms: Math.max(0, ...live.map(({ p99Ms }) => p99Ms)),
      rssMiB: sum(({ rssMiB }) => rssMiB),
      waiting: sum(({ waiting }) => waiting)
    })
  }

  /** Puts what all nodes measured into the meter; to be called once, when the load is over. */
  conclude(meter: Meter): void {
    this.count(meter)
    for (const { histograms } of this.#heard) {
      if (histograms === undefined) continue
      meter.decided.add(decodeFromCompressedBase64(histograms.decided))
      meter.refusals.add(decodeFromCompressedBase64(histograms.refusals))
    }
    for (const { rejections, defects } of this.reports) {
      for (const [tag, count] of Object.entries(rejections)) {
        meter.rejections.set(tag, (meter.rejections.get(tag) ?? 0) + count)
      }
      meter.defects.push(...defects)
    }
  }

  stats(pick: (report: Report) => DriverStats): DriverStats {
    return this.reports.map(pick).reduce(addStats, none)
  }

  /** Each node's figures, over the seconds of the whole load. */
  figures(shards: ReadonlyMap<string, number>): ReadonlyArray<NodeFigures> {
    return this.#heard.map(({ report, histograms, ended }, nth) => {
      const name = this.#names[nth] ?? ""
      const decided =
        histograms === undefined ? makeHistogram() : decodeFromCompressedBase64(histograms.decided)
      return nodeFigures({
        name,
        seconds: this.seconds,
        committed: report?.committed ?? 0,
        rejected: Object.values(report?.rejections ?? {}).reduce((sum, count) => sum + count, 0),
        overloaded: report?.overloaded ?? 0,
        unavailable: report?.unavailable ?? 0,
        indeterminate: report?.indeterminate ?? 0,
        latencyMs: summarize(decided),
        before: report?.before ?? none,
        after: report?.after ?? none,
        ways: report?.ways ?? { here: 0, borrowing: 0, forwarded: 0 },
        cpuUs: report?.cpuUs ?? 0,
        eventLoopUtilization: report?.eventLoopUtilization ?? 0,
        rssMiB: report?.rssMiBMax ?? 0,
        shards: shards.get(name) ?? null,
        ended: ended ?? null
      })
    })
  }
}
