/** What was counted and checked enters; the JSON value that `loadtest --json` prints leaves (design §12). */
import type { Histogram } from "hdr-histogram-js"
import type { Acknowledged } from "./Acknowledged.ts"
import type { DriverStats } from "./Driver.ts"
import { type Latency, type Meter, percentiles, type Sample, summarize } from "./Meter.ts"
import { batchBetween, type NodeFigures } from "./NodeFigures.ts"
import type { Pauses } from "./Pauses.ts"
import type { LoadSettings } from "./Settings.ts"
import type { Usage } from "./Usage.ts"

export const invariantNames = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"] as const
export type InvariantName = (typeof invariantNames)[number]

/** What an audit of log and read model found. */
export interface Audited {
  readonly invariants: Readonly<Record<"I1" | "I2" | "I3" | "I4" | "I5" | "I8", boolean>>
  readonly findings: ReadonlyArray<string>
}

/** What was measured around the load. */
export interface Measured {
  readonly settings: LoadSettings
  readonly product: string
  readonly seconds: number
  readonly meter: Meter
  readonly before: DriverStats
  readonly after: DriverStats
  readonly lag: Histogram
  /** Undefined where the read model did not get there. */
  readonly caughtUpAfterSeconds: number | undefined
  readonly rssMiBMax: number
  /** Processor time of this process during the load, in microseconds. */
  readonly cpuUs: number
  /** One commit of one event, straight to the store. */
  readonly store: Latency
  /** The same at the time of the load, by a client that shares nothing with it but the store. */
  readonly storeBeside?: Latency | null
  /** Of the process of the one node; not where there are several. */
  readonly pauses?: Pauses
  /** One client, one command at a time, through the ledger. */
  readonly solo: Latency
  readonly acknowledged: Acknowledged
  readonly audited: Audited
  readonly nodes: ReadonlyArray<NodeFigures>
  readonly usage: Usage
  /** What befell the load itself: the ledger may have kept every promise, and yet these are not its figures. */
  readonly failures: ReadonlyArray<string>
}

export interface LoadOutcome {
  readonly scenario: string
  readonly accounts: number
  readonly nodes: ReadonlyArray<NodeFigures>
  readonly concurrency: number | null
  readonly rate: number | null
  readonly repeats: number
  readonly intruder: number
  readonly seed: number
  readonly readSide: "on" | "off"
  readonly seconds: number
  readonly committed: number
  readonly committedPerSecond: number
  /** Commands that were decided: committed, or refused by the rules. */
  readonly latencyMs: Latency
  /** The longest wait as a multiple of the p50. */
  readonly fairness: number
  /** When the longest wait ended, in seconds since the start of the load; null where several nodes measured. */
  readonly longestWaitAtSeconds: number | null
  readonly rejected: number
  readonly rejections: Readonly<Record<string, number>>
  readonly overloaded: number
  /** From the call to the `Overloaded`. */
  readonly overloadedMs: Latency | null
  readonly unavailable: number
  readonly indeterminate: number
  /** Of those, commands that never got a definite answer. */
  readonly unresolved: number
  readonly unsent: number
  /** The load's own share, in an open loop: how late it sent what was due, and what drawing a command cost it. */
  readonly generator: { readonly delayMs: Latency; readonly drawUsPerCommand: number } | null
  readonly conflicts: number
  readonly replayed: number
  readonly resentBatches: number
  readonly batch: { readonly meanRows: number; readonly maxRows: number }
  readonly projection: {
    readonly lagMsP50: number | null
    readonly lagMsP99: number | null
    readonly caughtUpAfterSeconds: number | null
  }
  readonly rssMiB: number
  readonly residents: number
  readonly cpuUsPerCommand: number
  readonly cpu: Usage
  readonly storeCommitMs: Latency
  /** At the time of the load; null: not measured. */
  readonly storeBesideMs: Latency | null
  /** The p99 of the ledger over the p99 of a single commit, at the time of the load. */
  readonly p99OverStore: number | null
  readonly pauses: Pauses | null
  readonly soloMs: Latency
  readonly eventStore: string
  readonly invariants: Readonly<Record<InvariantName, boolean>>
  readonly findings: ReadonlyArray<string>
  readonly ok: boolean
}

/** What only the report shows. */
export interface LoadDetails {
  readonly history: ReadonlyArray<Sample>
  readonly percentiles: ReadonlyArray<readonly [percentile: number, ms: number]>
}

export const detailsOf = (meter: Meter): LoadDetails => ({
  history: meter.history,
  percentiles: percentiles(meter.decided)
})

const round = (value: number, digits: number): number => Number(value.toFixed(digits))

const generatorOf = (meter: Meter): LoadOutcome["generator"] =>
  meter.drawn === 0
    ? null
    : {
        delayMs: summarize(meter.delays),
        drawUsPerCommand: round((meter.drawnMs * 1_000) / meter.drawn, 2)
      }

export const toOutcome = (measured: Measured): LoadOutcome => {
  const { settings, meter, before, after, acknowledged, audited, lag } = measured
  const { pace } = settings
  const latencyMs = summarize(meter.decided)
  const beside = measured.storeBeside ?? null
  const caughtUp = measured.caughtUpAfterSeconds
  const invariants = {
    ...audited.invariants,
    I4: audited.invariants.I4 && acknowledged.isKept("I4"),
    I6: acknowledged.isKept("I6"),
    I7: acknowledged.isKept("I7"),
    // A read model that never gets there is not the fold of the whole stream.
    I8: audited.invariants.I8 && caughtUp !== undefined
  }
  const findings = [
    ...measured.failures,
    ...meter.defects.slice(0, 3).map((defect) => `defect: ${defect}`),
    ...acknowledged.faults.map(({ invariant, reason }) => `${invariant}: ${reason}`),
    ...audited.findings,
    ...(caughtUp === undefined ? ["I8: the read model did not catch up"] : [])
  ]
  const answered = meter.committed + meter.replayed + meter.rejectedCount
  return {
    scenario: settings.scenario,
    accounts: settings.accounts,
    nodes: measured.nodes,
    concurrency: pace._tag === "Closed" ? pace.concurrency : null,
    rate: pace._tag === "Open" ? pace.perSecond : null,
    repeats: settings.repeats,
    intruder: settings.intruder,
    seed: settings.seed,
    readSide: settings.readSide ? "on" : "off",
    seconds: round(measured.seconds, 3),
    committed: meter.committed,
    committedPerSecond: Math.round(meter.committed / measured.seconds),
    latencyMs,
    fairness: latencyMs.p50 === 0 ? 0 : round(latencyMs.max / latencyMs.p50, 2),
    longestWaitAtSeconds: meter.longest.tookMs === 0 ? null : round(meter.longest.atMs / 1_000, 2),
    rejected: meter.rejectedCount,
    rejections: Object.fromEntries([...meter.rejections].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    overloaded: meter.overloaded,
    overloadedMs: meter.overloaded === 0 ? null : summarize(meter.refusals),
    unavailable: meter.unavailable,
    indeterminate: meter.indeterminate,
    unresolved: acknowledged.openCount,
    unsent: meter.unsent,
    generator: generatorOf(meter),
    conflicts: after.conflicts - before.conflicts,
    replayed: meter.replayed,
    resentBatches: after.unknown - before.unknown,
    batch: batchBetween(before, after),
    projection: {
      lagMsP50: lag.totalCount === 0 ? null : lag.getValueAtPercentile(50),
      lagMsP99: lag.totalCount === 0 ? null : lag.getValueAtPercentile(99),
      caughtUpAfterSeconds: caughtUp === undefined ? null : round(caughtUp, 3)
    },
    rssMiB: measured.rssMiBMax,
    residents: after.residents,
    cpuUsPerCommand: answered === 0 ? 0 : round(measured.cpuUs / answered, 1),
    cpu: measured.usage,
    storeCommitMs: measured.store,
    storeBesideMs: beside,
    p99OverStore: beside === null || beside.p99 === 0 ? null : round(latencyMs.p99 / beside.p99, 2),
    pauses: measured.pauses ?? null,
    soloMs: measured.solo,
    eventStore: measured.product,
    invariants,
    findings,
    ok:
      Object.values(invariants).every(Boolean) &&
      meter.defects.length === 0 &&
      measured.failures.length === 0 &&
      meter.committed > 0
  }
}
