/**
 * The messages between a load test and its node processes, over the channel that Node.js opens to a forked process. Each
 * request is answered once, by its id; a node sends its other messages unasked. SIGTERM ends a node in order. A node
 * ends at once when its parent has died.
 */
import type { LogLevel } from "effect"
import type { Position } from "../../domain/Receipt.ts"
import type { AckFault } from "../Acknowledged.ts"
import type { DriverStats } from "../Driver.ts"
import type { Latency, Sample } from "../Meter.ts"
import type { LoadSettings } from "../Settings.ts"

/** The argument of a node process, as JSON. Its environment names the services, as for `serve`. */
export interface NodeWork {
  /** The prefix of the run's ids. */
  readonly run: string
  /** The number of the node, from 0. */
  readonly nth: number
  readonly nodes: number
  /** The least level at which the node logs. */
  readonly logLevel: LogLevel.LogLevel
  /** The settings of the whole run. The node takes its share of the pace. */
  readonly settings: LoadSettings
}

export type Request =
  /** Opens and funds accounts `from` … `to - 1`. */
  | { readonly _tag: "Prepare"; readonly from: number; readonly to: number }
  /** Measures a single client that waits for each answer. */
  | { readonly _tag: "SingleClient" }
  /** Runs the commands of the warm-up, if there is one. */
  | { readonly _tag: "WarmUp" }
  | { readonly _tag: "Load" }

export type ToNode =
  | { readonly _tag: "Request"; readonly id: number; readonly request: Request }
  /** Versions that were acknowledged on any node: account, version, account, version … */
  | { readonly _tag: "Versions"; readonly versions: Float64Array }

/** Counts commands by where their accounts were when the command was sent, as seen by the node that sent it. */
export interface Ways {
  /** All on the sending node. */
  readonly here: number
  /** The first one on the sending node, another one elsewhere, from where it is leased. */
  readonly borrowing: number
  /** The first one elsewhere, to where the command is forwarded. */
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
  /** Broken invariants that the callers of this node noticed. */
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
  /** The node takes commands and requests. */
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Answered"; readonly id: number; readonly answer: Answer }
  | { readonly _tag: "Failed"; readonly id: number; readonly reason: string }
  /** Records of `AckJournal`. */
  | { readonly _tag: "Acks"; readonly records: Float64Array }
  /** A write that was acknowledged at this instant of the machine's monotonic clock. */
  | { readonly _tag: "Mark"; readonly position: Position; readonly atMs: number }
  | { readonly _tag: "Report"; readonly report: Report }

export interface Answer {
  /** Of a `Load`. */
  readonly seconds?: number
  /** Of a `SingleClient`. */
  readonly latency?: Latency
}
