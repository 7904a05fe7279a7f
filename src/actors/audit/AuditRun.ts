/**
 * One audit under way: its limits, what it reads from, and what it has found so far. Every check takes this one value, so
 * that the bounds on memory (I10) and the findings stand in one place.
 */
import { Context } from "effect"
import type { Posted, StatementLine } from "../../domain/Books.ts"
import type { Event } from "../../domain/Event.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import type { EventKey } from "../../infra/eventstore/EventStoreTypes.ts"
import type { Saved } from "../../infra/eventstore/Snapshots.ts"
import type { FrozenBooks } from "../../infra/readmodel/ReadModelFrozen.ts"
import type { BalanceRow } from "../../infra/readmodel/ReadModelRows.ts"
import type { ContraSums } from "./AuditBooks.ts"
import type { Cursor } from "./AuditCursors.ts"
import type { Findings } from "./AuditFindings.ts"
import type { HoldRows } from "./AuditHolds.ts"

export interface AuditLimits {
  /** Rows of the log or the read model on one page of the walk. */
  readonly pageRows: number
  /** Snapshots of one page. Each may have a thousand holds: to read that takes 2.5 ms, in one turn with the others of its page. */
  readonly pageSnapshots: number
  /** About how many accounts' versions are held at once. Where there are more, the commits are read again. */
  readonly sliceAccounts: number
  /** Commit rows of one page. Each names all events of a batch. */
  readonly pageCommits: number
  /** Keys of one look-up in the event store or the read model. */
  readonly lookUpKeys: number
  /** Accounts whose asset is remembered, so that it is not looked up for each of their legs. */
  readonly assets: number
  /** Contras that are compared one by one; all others are compared as one sum. */
  readonly contras: number
}

export const defaultAuditLimits: AuditLimits = {
  pageRows: 2_000,
  pageSnapshots: 20,
  sliceAccounts: 100_000,
  pageCommits: 100,
  lookUpKeys: 1_000,
  assets: 100_000,
  contras: 100_000
}

/** The limits in force: a reference, so that a test overrides only those it is about. */
export const AuditConfig = Context.Reference<AuditLimits>("chronicle/actors/AuditConfig", {
  defaultValue: () => defaultAuditLimits
})

export interface Tally {
  accounts: number
  events: number
  commits: number
  snapshots: number
  /** Accounts whose balance row is below their last event. */
  behind: number
  /** Transfers of the read model whose event was met. */
  transfersMet: number
}

export interface Run {
  readonly limits: AuditLimits
  readonly store: EventStore["Service"]
  readonly books: FrozenBooks
  readonly findings: Findings
  readonly tally: Tally
  readonly balances: Cursor<BalanceRow>
  readonly lines: Cursor<StatementLine>
  readonly snapshots: Cursor<Saved>
  readonly contras: ContraSums
  readonly holdRows: HoldRows
  /** What all listed events between accounts add up to, asset by asset: zero, if I2 holds. */
  readonly sums: Map<Asset, bigint>
  /** False once an event was met whose amount or asset cannot be read: the sums say nothing then. */
  areSumsKnown: boolean
  /** The assets of some accounts, as many as the limits allow. */
  readonly assets: Map<AccountId, Asset>
}

/** One row of the log, and what the audit knows of it. */
export interface Entry {
  readonly row: StoredEvent
  /** Undefined where the payload cannot be read. */
  readonly event: Event | undefined
  /** Undefined from the first broken row of the account on: what follows it cannot be folded. */
  readonly posted: Posted | undefined
  /** The version of the account's balance row, 0 without one. */
  readonly projected: Version
  /** Whether its statement line was met. Set by the check of the lines. */
  lineSeen: boolean
}

export const keyOf = (key: EventKey): string => `${key.account}@${key.version}`

/** Remembers an account's asset, in place of the one that was remembered longest. */
export const rememberAsset = (run: Run, account: AccountId, asset: Asset): void => {
  run.assets.set(account, asset)
  forgetOldest(run.assets, run.limits.assets)
}
