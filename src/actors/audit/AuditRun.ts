/** One audit under way: what it reads from, and what it found so far. */
import type { Posted, StatementLine } from "../../domain/Books.ts"
import type { Event } from "../../domain/Event.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import type { EventKey } from "../../infra/eventstore/EventStoreTypes.ts"
import type { Saved } from "../../infra/eventstore/Snapshots.ts"
import type { FrozenBooks } from "../../infra/readmodel/ReadModelFrozen.ts"
import type { BalanceRow } from "../../infra/readmodel/ReadModelRows.ts"
import type { ContraSums } from "./AuditBooks.ts"
import type { AuditLimits } from "./AuditConfig.ts"
import type { Cursor } from "./AuditCursor.ts"
import type { Findings } from "./AuditFindings.ts"

export interface Tally {
  accounts: number
  events: number
  commits: number
  snapshots: number
  /** Accounts whose balance row is not at the last event that was read. */
  behind: number
  /** Transfers of the read model that an event was found for. */
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
  /** Per asset what all listed events between accounts add up to: zero, if I2 holds. */
  readonly sums: Map<Asset, bigint>
  /** False once an event was met whose amount or asset cannot be known. */
  areSumsKnown: boolean
  /** The assets of some accounts, as many as may be remembered. */
  readonly assets: Map<AccountId, Asset>
}

/** One row of the log under audit. */
export interface Entry {
  readonly row: StoredEvent
  /** Undefined where the payload cannot be read. */
  readonly event: Event | undefined
  /** Undefined from the first broken row of the account on: then nothing can be said. */
  readonly posted: Posted | undefined
  /** The version of the account's balance row, 0 without one. */
  readonly projected: Version
  /** Whether its statement line was met. */
  lineSeen: boolean
}

export const keyOf = (key: EventKey): string => `${key.account}@${key.version}`

/** Remembers an account's asset; the longest remembered one makes room. */
export const rememberAsset = (run: Run, account: AccountId, asset: Asset): void => {
  if (run.assets.size >= run.limits.assets) {
    const [oldest] = run.assets.keys()
    if (oldest !== undefined) run.assets.delete(oldest)
  }
  run.assets.set(account, asset)
}
