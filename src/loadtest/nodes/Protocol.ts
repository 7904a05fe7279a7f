/**
 * What a load test and the node processes it started say to each other, over the channel that Node opens to a forked
 * process. A request is answered once with its id; the other messages of a node come by themselves. SIGTERM ends a
 * node in order; it ends at once when its parent is gone.
 */
import type { LogLevel } from "effect"
import type { Position } from "../../domain/Receipt.ts"
import type { AckFault } from "../Acknowledged.ts"
import type { DriverStats } from "../Driver.ts"
import type { Latency, Sample } from "../Meter.ts"
import type { LoadSettings } from "../Settings.ts"

/** The argument of a node process, as JSON. Where its services are stands in its environment, as for `serve`. */
export interface NodeWork {
  /** Begins the ids of the run. */
  readonly run: string
  /** Which of the nodes, from 0. */
  readonly nth: number
  readonly nodes: number
  /** How serious a line of its log must be to be written. */
  readonly logLevel: LogLevel.LogLevel
  /** Of the whole run; the node takes its share of the pace. */
  readonly settings: LoadSettings
}

export type Request =
  /** Opens and funds accounts `from` … `to - 1`. */
  | { readonly _tag: "Prepare"; readonly from: number; readonly to: number }
  /** One client that waits for each answer. */
  | { readonly _tag: "Solo" }
  | { readonly _tag: "Load" }

export type ToNode =
  | { readonly _tag: "Request"; readonly id: number; readonly request: Request }
  /** Versions somebody was told of, account after account: index, version. */
  | { readonly _tag: "Known"; readonly versions: Float64Array }

/** Where the accounts of a command were, when it was sent, as seen by the node that sent it. */
export interface Ways {
  /** All on this node. */
  readonly here: number
  /** The first one on this node, another elsewhere: this node borrows it. */
  readonly borrowing: number
  /** The first one elsewhere: the command is sent there. */
  readonly forwarded: number
}

/** A node's counters since its load began. */
export interface Report {
  readonly sample: Sample
  readonly committed: number
  readonly replayed: number
  readonly rejections: Readonly<Record<string, number>>
  readonly overloaded: number
  readonly unavailable: number
  readonly indeterminate: number
  readonly unsent: number
  readonly defects: ReadonlyArray<string>
  /** Promises that its own callers saw broken. */
  readonly faults: ReadonlyArray<AckFault>
  readonly before: DriverStats
  readonly after: DriverStats
  readonly ways: Ways
  readonly cpuUs: number
  readonly eventLoopUtilization: number
  readonly rssMiBMax: number
  /** Compressed; not in every report. */
  readonly histograms?: { readonly decided: string; readonly refusals: string }
}

export type FromNode =
  /** It takes commands and requests. */
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Answered"; readonly id: number; readonly answer: Answer }
  | { readonly _tag: "Failed"; readonly id: number; readonly reason: string }
  /** See `AckJournal`. */
  | { readonly _tag: "Acks"; readonly records: Float64Array }
  /** A write that was acknowledged at this instant of the machine's monotonic clock. */
  | { readonly _tag: "Mark"; readonly position: Position; readonly atMs: number }
  | { readonly _tag: "Report"; readonly report: Report }

/** `seconds` of a load, `latencies` of a solo. */
export interface Answer {
  readonly seconds?: number
  readonly solo?: Latency
}
