/** One account in memory: commands enter one after another, decided rows leave for the commit queue. */
import { type Exit, Result } from "effect"
import { evolve, isCovered } from "../../domain/Account.ts"
import { type Decided, decide } from "../../domain/Decide.ts"
import type { Unavailable } from "../../domain/Errors.ts"
import { linked } from "../../domain/HashChain.ts"
import { emptyHead, type Head } from "../../domain/Head.ts"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import { encodeContext, encodePayload, schemaVersionOf } from "../../domain/StoredEvent.ts"
import type { CommitBatch } from "./Flight.ts"
import type { PendingCommand, PendingEvent } from "./Lifecycle.ts"

/** Another node that wants to decide on the account; told once that it may, or why not. */
export interface Borrower {
  readonly lease: string
  readonly grant: (actor: AccountActor) => void
  readonly refuse: (refusal: Exit.Exit<never, Unavailable>) => void
}

export type Reader = (head: Exit.Exit<Head, Unavailable>) => void

/**
 * The actor of one account. Its turn is a synchronous function (`takeTurn`): in one thread that serializes the
 * commands of an account, and the two sides of a transfer, without a lock to wait for or a deadlock to fear.
 * The mailbox holds what arrives while the account is being loaded from the log.
 */
export class AccountActor {
  readonly id: AccountId
  /** The accounts that move between nodes together with it (see Placement.ts). */
  readonly group: number
  /**
   * - `lending`: another node asked for it; nothing new is decided on it, and once all is settled it is lent;
   * - `lent`: another node decides on it (see LeaseServer.ts);
   * - `gone`: it left memory, nobody may decide on it any more.
   */
  phase: "loading" | "ready" | "lending" | "lent" | "gone" = "loading"
  /** What the log holds. */
  committed: Head
  /** What the log will hold once everything decided so far is committed. */
  speculative: Head
  /** Tickets decided on it and not settled; it stays in memory while there are any. */
  uncommitted = 0
  /** Tickets that wait for other accounts and need this one afterwards: meanwhile it is not lent. */
  pins = 0
  /** Nodes that wait to borrow it, in order of arrival. */
  borrowers: Array<Borrower> = []
  /** The batch that is being sent with rows of this account; the later one, where one follows another. */
  batch: CommitBatch | undefined = undefined
  /** At which look of the commit queue an older ticket of it had to wait. */
  blockedAtScan = 0
  /** Made by the first that waits, as the next: most accounts in memory are never waited for, and there are many. */
  mailbox: Array<PendingCommand> | undefined = undefined
  /** Readers that wait for it to be ready. */
  readers: Set<Reader> | undefined = undefined
  /** When it was last asked for, and last passed over in the search for room; in milliseconds elapsed. */
  usedAt: number
  passedAt = Number.NEGATIVE_INFINITY

  constructor(id: AccountId, nowMs: number, group = 0) {
    this.id = id
    this.group = group
    this.committed = emptyHead(id)
    this.speculative = this.committed
    this.usedAt = nowMs
  }

  /** Tickets that wait for it or were decided on it, and are not settled. */
  get underWay(): number {
    return this.uncommitted + (this.mailbox?.length ?? 0)
  }

  /** Lets a ticket wait until it is ready. */
  wait(ticket: PendingCommand): void {
    this.mailbox ??= []
    this.mailbox.push(ticket)
  }

  get isIdle(): boolean {
    return this.phase === "ready" && this.underWay + this.pins + this.borrowers.length === 0
  }

  /** Takes on the state read from the log; whatever it thought before is forgotten. */
  load(head: Head): void {
    this.committed = head
    this.speculative = head
    this.phase = "ready"
  }
}

/**
 * One turn: decides a command on the speculative states of its actors, all ready, in one synchronous step, and
 * moves them on. `recordedAt` is one for all legs and not before any of their accounts' last. A throw is a
 * defect, and leaves every actor as it was.
 */
export const decideOn = (ticket: PendingCommand, actors: ReadonlyArray<AccountActor>, now: Instant): void => {
  const { command } = ticket
  let recordedAt = now
  for (const { speculative } of actors) {
    if (speculative.recordedAt > recordedAt) recordedAt = speculative.recordedAt
  }
  const actorOf = (id: AccountId): AccountActor => {
    for (const actor of actors) if (actor.id === id) return actor
    throw new Error(`command ${command.commandId} was routed without account ${id}`)
  }
  const decision = decide(command, (id) => actorOf(id).speculative.account)
  const legs = Result.isSuccess(decision)
    ? decision.success.map((decided, ordinal) =>
        toLeg(ticket, decided, ordinal, actorOf(decided.account), recordedAt)
      )
    : []
  // Nothing below can fail: the turn has happened.
  for (const { actor, after } of legs) actor.speculative = after
  for (const actor of actors) actor.uncommitted++
  ticket.recordedAt = recordedAt
  ticket.participants = actors
  ticket.pendingEvents = legs
  ticket.rejection = Result.isFailure(decision) ? decision.failure : undefined
}

const toLeg = (
  { command, commandHash }: PendingCommand,
  { event }: Decided,
  ordinal: number,
  actor: AccountActor,
  recordedAt: Instant
): PendingEvent => {
  const before = actor.speculative
  const account = evolve(before.account, event)
  if (!isCovered(account)) throw new Error(`command ${command.commandId} would overdraw ${actor.id}`)
  const { effectiveAt } = command
  const row = linked(before.hash, {
    accountId: actor.id,
    version: account.version,
    type: event._tag,
    schemaVersion: schemaVersionOf(event._tag),
    payload: encodePayload(event),
    commandId: command.commandId,
    ordinal,
    commandHash: ordinal === 0 ? commandHash : null,
    recordedAt,
    effectiveAt: effectiveAt === undefined || effectiveAt === recordedAt ? null : effectiveAt,
    context: encodeContext(command.context),
    hash: ""
  })
  return { actor, before, after: { account, hash: row.hash, recordedAt }, row }
}
