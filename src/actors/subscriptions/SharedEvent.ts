/** An event as those that follow the log get it, read from its row once for all of them. */
import { Result } from "effect"
import type { Event } from "../../domain/Event.ts"
import { isLinked } from "../../domain/HashChain.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import { decodeStored, entryOf, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { HistoryEntry } from "../../domain/Views.ts"
import type { Commit } from "../../infra/eventstore/EventStore.ts"

/**
 * One committed event. At least once: after a resumption some come again, and (`account`, `version`) tells which.
 * On one account, versions come in order, without a gap where all accounts are asked for from the beginning.
 */
export interface CommittedEvent {
  readonly account: AccountId
  readonly version: Version
  /** Undefined where this program cannot read it; the others go on. */
  readonly event: Event | undefined
  readonly commandId: CommandId
  readonly recordedAt: Instant
  readonly effectiveAt: Instant
  readonly hash: string
  /** Opaque; resumes after this event, or a little before it. */
  readonly cursor: string
}

export const toCommitted = (row: StoredEvent, cursor: string): CommittedEvent => ({
  account: row.accountId,
  version: row.version,
  event: Result.getOrUndefined(decodeStored(row)),
  commandId: row.commandId,
  recordedAt: row.recordedAt,
  effectiveAt: row.effectiveAt ?? row.recordedAt,
  hash: row.hash,
  cursor
})

/** A commit, and the places in the log just before and just after it. */
export class SharedCommit {
  readonly before: string
  readonly after: string
  readonly events: ReadonlyArray<SharedEvent>

  constructor(commit: Commit, before: string, after: string) {
    this.before = before
    this.after = after
    this.events = commit.events.map((row) => new SharedEvent(this, row))
  }
}

export class SharedEvent {
  readonly of: SharedCommit
  readonly row: StoredEvent
  #within: CommittedEvent | undefined
  #last: CommittedEvent | undefined
  #entry: HistoryEntry | undefined
  /** The hash that the event was found to follow upon. */
  #linkedTo: string | undefined

  constructor(of: SharedCommit, row: StoredEvent) {
    this.of = of
    this.row = row
  }

  /** `isLast`: of those of its commit that a follower gets. */
  committed(isLast: boolean): CommittedEvent {
    if (isLast) {
      this.#last ??= toCommitted(this.row, this.of.after)
      return this.#last
    }
    this.#within ??= toCommitted(this.row, this.of.before)
    return this.#within
  }

  /** As the history of its account has it; undefined where this program cannot read it, or it does not follow upon the hash. */
  entryAfter(previousHash: string): HistoryEntry | undefined {
    if (this.#linkedTo !== previousHash) {
      if (!isLinked(previousHash, this.row)) return undefined
      this.#linkedTo = previousHash
    }
    this.#entry ??= Result.getOrUndefined(entryOf(this.row))
    return this.#entry
  }
}
