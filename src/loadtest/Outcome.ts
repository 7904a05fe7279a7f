/** The outcome of a load test: the JSON value that `loadtest --json` prints, made of everything that was measured and checked. */
import type { Histogram } from "hdr-histogram-js"
import type { Acknowledged } from "./Acknowledged.ts"
import type { DriverStats } from "./Driver.ts"
import type { Heaps } from "./Heaps.ts"
import { type Latency, type Meter, percentiles, type Sample, summarize } from "./Meter.ts"
import { batchBetween, type NodeFigures } from "./NodeFigures.ts"
import type { Pauses } from "./Pauses.ts"
import type { LoadSettings } from "./Settings.ts"
import type { Usage } from "./Usage.ts"

export const invariantNames = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"] as const
export type InvariantName = (typeof invariantNames)[number]

/** The result of an audit of log and read model. */
export interface AuditResult {
  readonly invariants: Readonly<Record<"I1" | "I2" | "I3" | "I4" | "I5" | "I8", boolean>>
  readonly findings: ReadonlyArray<string>
}

/** Everything that was measured during the load, and around it. */
export interface Measured {
  readonly settings: LoadSettings
  readonly product: string
  readonly seconds: number
  readonly meter: Meter
  readonly before: DriverStats
  readonly after: DriverStats
  readonly lag: Histogram
  /** Undefined where the read model did not catch up in time. */
  readonly caughtUpAfterSeconds: number | undefined
  readonly rssMiBMax: number
  /** Processor time of this process during the load, in microseconds. */
  readonly cpuUs: number
  /** Processor time of the thread of the commands alone; undefined with several nodes, and where Node.js does not tell. */
  readonly commandThreadCpuUs?: number | undefined
  /** A commit of one event, sent straight to the store before the load. */
  readonly store: Latency
  /** The same during the load, by a client that shares only the store with it. */
  readonly storeBaseline?: Latency | null
  /** Of the process of a single node; undefined where there are several. */
  readonly pauses?: Pauses
  readonly heapMiB?: Heaps | null
  /** A single client of the ledger that sends one command at a time. */
  readonly singleClient: Latency
  readonly acknowledged: Acknowledged
  readonly audited: AuditResult
  readonly nodes: ReadonlyArray<NodeFigures>
  readonly usage: Usage
  /** What went wrong with the load itself. The invariants may hold all the same, but the figures are not those of a whole load. */
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
  /** Commands that each node was given before it was measured. */
  readonly warmUp: number
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
  /** Time from the call to an `Overloaded`. */
  readonly overloadedMs: Latency | null
  readonly unavailable: number
  readonly indeterminate: number
  /** Commands among them that never got a definite answer. */
  readonly unresolved: number
  readonly unsent: number
  /** The part of the load itself, in an open loop: how late it sent the commands, and what generating one took. */
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
  /** Of a single node; null where there are several, or for a load of under two seconds. */
  readonly heapMiB?: Heaps | null
  readonly residents: number
  readonly cpuUsPerCommand: number
  /** The same of the thread that decides them (and gives the load); null with several nodes. */
  readonly commandThreadCpuUsPerCommand?: number | null
  readonly cpu: Usage
  readonly storeCommitMs: Latency
  /** A commit of one event during the load; null where it was not measured. */
  readonly storeBesideMs: Latency | null
  /** The p99 of the ledger divided by the p99 of a commit of one event during the load. */
  readonly p99OverStore: number | null
  readonly pauses: Pauses | null
  readonly soloMs: Latency
  readonly eventStore: string
  readonly invariants: Readonly<Record<InvariantName, boolean>>
  readonly findings: ReadonlyArray<string>
  readonly ok: boolean
}

/** What the report shows and the JSON value leaves out. */
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
  meter.generated === 0
    ? null
    : {
        delayMs: summarize(meter.delays),
        drawUsPerCommand: round((meter.generatedMs * 1_000) / meter.generated, 2)
      }

/** The invariants after a load, with what was found amiss. */
const judge = (measured: Measured): Pick<LoadOutcome, "invariants" | "findings"> => {
  const { meter, acknowledged, audited, caughtUpAfterSeconds } = measured
  const isCaughtUp = caughtUpAfterSeconds !== undefined
  return {
    invariants: {
      ...audited.invariants,
      I4: audited.invariants.I4 && acknowledged.isKept("I4"),
      I6: acknowledged.isKept("I6"),
      I7: acknowledged.isKept("I7"),
      // A read model that never catches up is not the fold of the whole stream.
      I8: audited.invariants.I8 && isCaughtUp
    },
    findings: [
      ...measured.failures,
      ...meter.defects.slice(0, 3).map((defect) => `defect: ${defect}`),
      ...acknowledged.faults.map(({ invariant, reason }) => `${invariant}: ${reason}`),
      ...audited.findings,
      ...(isCaughtUp ? [] : ["I8: the read model did not catch up"])
    ]
  }
}

export const toOutcome = (measured: Measured): LoadOutcome => {
  const { settings, meter, before, after, acknowledged, lag } = measured
  const { pace } = settings
  const latencyMs = summarize(meter.decided)
  const baseline = measured.storeBaseline ?? null
  const caughtUp = measured.caughtUpAfterSeconds
  const { invariants, findings } = judge(measured)
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
    warmUp: settings.warmUp ?? 0,
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
    heapMiB: measured.heapMiB ?? null,
    residents: after.residents,
    cpuUsPerCommand: answered === 0 ? 0 : round(measured.cpuUs / answered, 1),
    commandThreadCpuUsPerCommand:
      answered === 0 || measured.commandThreadCpuUs === undefined
        ? null
        : round(measured.commandThreadCpuUs / answered, 1),
    cpu: measured.usage,
    storeCommitMs: measured.store,
    storeBesideMs: baseline,
    p99OverStore: baseline === null || baseline.p99 === 0 ? null : round(latencyMs.p99 / baseline.p99, 2),
    pauses: measured.pauses ?? null,
    soloMs: measured.singleClient,
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
