/** Gathers what each node reports of its load, and adds it up: figures of each node, and of all together. */
import { decodeFromCompressedBase64 } from "hdr-histogram-js"
import { addStats, type DriverStats } from "../Driver.ts"
import { type Meter, makeHistogram, type Sample, summarize } from "../Meter.ts"
import { type NodeFigures, nodeFigures } from "../NodeFigures.ts"
import type { Report } from "./Protocol.ts"

const noStats: DriverStats = {
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

/** What is known of one node. A node that died in the middle of the load keeps its last report. */
interface NodeState {
  report?: Report
  histograms?: NonNullable<Report["histograms"]>
  /** Why the node ended, where it was not told to. */
  ended?: string
  seconds?: number
}

export class NodeReports {
  readonly #nodes: ReadonlyArray<NodeState>
  readonly #names: ReadonlyArray<string>

  constructor(names: ReadonlyArray<string>) {
    this.#names = names
    this.#nodes = names.map(() => ({}))
  }

  take(nth: number, report: Report): void {
    const node = this.#nodes[nth]
    if (node === undefined) return
    node.report = report
    if (report.histograms !== undefined) node.histograms = report.histograms
  }

  finished(nth: number, seconds: number): void {
    const node = this.#nodes[nth]
    if (node !== undefined) node.seconds = seconds
  }

  /** The node died, or did not end in order. */
  ended(nth: number, how: string): void {
    const node = this.#nodes[nth]
    if (node !== undefined) node.ended ??= how
  }

  hasEnded(nth: number): boolean {
    return this.#nodes[nth]?.ended !== undefined
  }

  /** Committed commands of each node, by its last report. */
  get committed(): ReadonlyArray<number> {
    return this.#nodes.map(({ report }) => report?.committed ?? 0)
  }

  /** The last report of each node that sent one. */
  get all(): ReadonlyArray<Report> {
    return this.#nodes.flatMap(({ report }) => (report === undefined ? [] : [report]))
  }

  /** The seconds of the node that took longest. */
  get seconds(): number {
    return Math.max(0, ...this.#nodes.map(({ seconds, report }) => seconds ?? report?.sample.at ?? 0))
  }

  /** Sets the counters of the meter to the sums of all nodes. */
  count(meter: Meter): void {
    const sum = (pick: (report: Report) => number) =>
      this.all.reduce((total, report) => total + pick(report), 0)
    meter.committed = sum((report) => report.committed)
    meter.replayed = sum((report) => report.replayed)
    meter.overloaded = sum((report) => report.overloaded)
    meter.unavailable = sum((report) => report.unavailable)
    meter.indeterminate = sum((report) => report.indeterminate)
    meter.unsent = sum((report) => report.unsent)
  }

  /** Adds a point to the history: the p99 of the slowest node, the sums of memory and of commands under way. */
  sample(meter: Meter, atMs: number, lagMs: number | undefined): Sample {
    this.count(meter)
    const live = this.#nodes.flatMap(({ report, ended }) =>
      report === undefined || ended !== undefined ? [] : [report.sample]
    )
    const sum = (pick: (sample: Sample) => number) => live.reduce((total, sample) => total + pick(sample), 0)
    return meter.sample(atMs, {
      lagMs,
      p99Ms: Math.max(0, ...live.map(({ p99Ms }) => p99Ms)),
      rssMiB: sum(({ rssMiB }) => rssMiB),
      waiting: sum(({ waiting }) => waiting)
    })
  }

  /** Adds everything that the nodes measured to the meter. Called once, after the load. */
  conclude(meter: Meter): void {
    this.count(meter)
    for (const { histograms } of this.#nodes) {
      if (histograms === undefined) continue
      meter.decided.add(decodeFromCompressedBase64(histograms.decided))
      meter.refusals.add(decodeFromCompressedBase64(histograms.refusals))
    }
    for (const { rejections, defects } of this.all) {
      for (const [tag, count] of Object.entries(rejections)) {
        meter.rejections.set(tag, (meter.rejections.get(tag) ?? 0) + count)
      }
      meter.defects.push(...defects)
    }
  }

  stats(pick: (report: Report) => DriverStats): DriverStats {
    return this.all.map(pick).reduce(addStats, noStats)
  }

  /** The figures of each node, over the seconds of the whole load. */
  figures(shards: ReadonlyMap<string, number>): ReadonlyArray<NodeFigures> {
    return this.#nodes.map(({ report, histograms, ended }, nth) => {
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
        before: report?.before ?? noStats,
        after: report?.after ?? noStats,
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
