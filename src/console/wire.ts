/** The answers of the API as they come, in JSON: the encoded form of the ledger's own views, so that a changed view is an error here. */
import type { EventType } from "../domain/Event.ts"
import type { AccountView, CommandView, HistoryEntry, HoldView, PastView, SumView } from "../domain/Views.ts"

export type Account = (typeof AccountView)["Encoded"] | (typeof PastView)["Encoded"]
export type Hold = NonNullable<Account["holds"]>[number]
export type Transaction = (typeof CommandView)["Encoded"]
export type Leg = Transaction["legs"][number]
export type LoggedEvent = (typeof HistoryEntry)["Encoded"]
export type Sum = (typeof SumView)["Encoded"]

export interface Page<Row> {
  readonly rows: ReadonlyArray<Row>
  readonly next?: string | null
}

/** A line of a statement. */
export interface Line {
  readonly version: number
  readonly type: EventType
  readonly amount: string
  readonly balance: string
  readonly counterparty: string | null
  readonly description: string | null
  readonly commandId: string
  readonly recordedAt: number
  readonly effectiveAt: number
}

export interface Statement extends Page<Line> {
  readonly opening?: string
  readonly closing?: string
}

export interface TrialLine {
  readonly asset: string
  readonly accounts: string
  readonly contras: string
  readonly total: string
}

export interface TrialBalance {
  readonly recordedAt: number
  readonly lines: ReadonlyArray<TrialLine>
  readonly parked: number
}

export interface ContraBalance {
  readonly contra: string
  readonly asset: string
  readonly balance: string
}

/** A hold with the account that it is of. */
export type HoldOfAccount = (typeof HoldView)["Encoded"]

export interface Parked {
  readonly account: string
  readonly version: number
  readonly reason: string
  readonly since: number
}

/** Which nodes there are, as the one that was asked knows them. */
export interface Nodes {
  readonly shards: number
  readonly nodes: ReadonlyArray<{
    readonly node: string
    readonly isAsked: boolean
    readonly shards: ReadonlyArray<number>
  }>
  readonly unowned: ReadonlyArray<number>
  /** Empty on a node alone, which runs every part of the read side. */
  readonly duties?: ReadonlyArray<{
    readonly duty: string
    readonly node?: string
    readonly isUnowned: boolean
  }>
}

export interface Stats {
  readonly inFlight: number
  readonly residents: number
  readonly batches: number
  readonly rows: number
  readonly committed: number
  readonly conflicts: number
  readonly repeats: number
  readonly unknown: number
  readonly fenced: number
  readonly commitMs: number
  readonly trouble?: string | null
}

interface Partition {
  readonly partition: number
  readonly isOwned: boolean
  readonly behindEvents: number
  readonly behindMs: number
  readonly events: number
  readonly restarts: number
  readonly lastError?: string
}

interface Projection {
  readonly name: string
  readonly lagMs: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly sweep: {
    readonly sweptAt: number
    readonly completeTo: number
    readonly parked: number
    readonly lag: { readonly events: number; readonly ms: number; readonly isExact: boolean }
  }
  readonly partitions: ReadonlyArray<Partition>
}

/** Of `GET /health`, as it is told to those who may know; others learn that the node is up. */
export interface Health {
  readonly bus: { readonly connected: boolean }
  readonly readSide: {
    readonly ready: boolean
    readonly reasons: ReadonlyArray<string>
    readonly alarms: ReadonlyArray<string>
    readonly relay: { readonly unpublished: number; readonly events: number; readonly restarts: number }
    readonly projections: ReadonlyArray<Projection>
  }
}
