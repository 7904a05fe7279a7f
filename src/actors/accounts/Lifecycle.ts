/**
 * The state of commands, of accounts in memory and of commit batches, and the only code that changes it. Each change
 * is a method that asserts the phase it may be called in, so that a step in the wrong order fails where it is made.
 *
 * ```
 *   PendingCommand   loading ---decide---> queued ---startCommit---> committing ---finish---> done (replied)
 *                     | ^                  |  ^                      |   |
 *                     | |------ evict -----'  '------- requeue ------'   |
 *                     | '------ evict, or recheck -----------------------'
 *                     '--- finish ---> done (rejected, a repeat, or out of time)
 *
 *   AccountActor     loading ---load---> ready ---requestLease---> leasing ---(nothing pending)---> leased
 *                       ^                 | ^                         |                                |
 *                       |                 | '-- last request gone ----'                                |
 *                       |                 | '-- load (or to the next node that asked before it left) ---|
 *                       '-- invalidate ---+------------------------------------------------------------'
 *                                         '-- evict ---> evicted
 *
 *   CommitBatch      take ---> commit | requeue | keep (the others are evicted); meanwhile perhaps chained (see BatchChain.ts)
 * ```
 *
 * A command is evicted when something it was decided on did not happen, and is decided again. A rejection is
 * rechecked once it is durable: its command id is looked up in the log, for an id that was accepted keeps its outcome.
 */
import { Deferred, Effect, Exit, Result } from "effect"
import { type Account, afterOf, evolve, isCovered } from "../../domain/Account.ts"
import { mayTouchAny } from "../../domain/BatchOrder.ts"
import { accountsOf, type Command } from "../../domain/Command.ts"
import { type Decided, decide } from "../../domain/Decide.ts"
import { bounded } from "../../domain/DecisionSize.ts"
import type { CommandError, Rejection, Unavailable } from "../../domain/Errors.ts"
import { linked } from "../../domain/HashChain.ts"
import { emptyHead, type Head } from "../../domain/Head.ts"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import { printToken, type Receipt } from "../../domain/Receipt.ts"
import {
  bytesOf,
  encodeContext,
  encodePayload,
  type StoredEvent,
  schemaVersionOf
} from "../../domain/StoredEvent.ts"
import type { KeptOrder } from "./KeptOrder.ts"

/** One event of a decided command, and the head of its account before and after it. */
interface PendingEvent {
  readonly actor: AccountActor
  readonly before: Head
  readonly after: Head
  readonly row: StoredEvent
}

/**
 * - `loading`: not decided; its command id is being looked up, or an account of it is not in memory yet;
 * - `queued`: decided; its events wait for a commit lane;
 * - `committing`: its events are being sent; from here on only the store knows the outcome;
 * - `done`: every caller is answered.
 */
type CommandPhase = "loading" | "queued" | "committing" | "done"

/** An account that a command keeps from others; AcquireAccounts.ts says in which order accounts are locked. */
export interface AccountLock {
  readonly actor: AccountActor
  /** False once others may have decided on the account: then the command has to acquire its accounts again. */
  readonly isGood: (elapsedMs: number) => boolean
  /** Held until the command is decided, or until its outcome is known. */
  readonly until: "decided" | "done"
  readonly release: () => void
}

export type CommandExit = Exit.Exit<Receipt, CommandError>

export type Reply = (exit: CommandExit) => void

/**
 * How the wait of a command may end it. Admission control makes the errors: `PeerBusy`, where the node of an account takes no more,
 * and `LookupsFull`, where as many look-ups wait as may.
 */
export type FoundExit = CommandExit | "PeerBusy" | "LookupsFull"

/** Goes on with a command whose wait is over: executes it, or ends it with the exit that was found meanwhile. */
export type Continuation = (command: PendingCommand, exit: FoundExit | undefined) => void

/** A caller that sent the id of a command that was in flight already. */
interface Waiter {
  readonly reply: Reply
  readonly deadline: number
}

/** Shared by all commands that have none: most are never joined, never wait and lock nothing. */
const none: ReadonlyArray<never> = []

const illegal = (what: string, phase: string): Error => new Error(`${what} cannot happen in phase ${phase}`)

/**
 * One command in flight on this node, from admission to its reply, which happens exactly once. A node that closes
 * replies to what it cannot wait for: such a command is `done`, though its events may still be queued and sent.
 */
export class PendingCommand {
  readonly command: Command
  readonly commandHash: string
  /** By `LedgerClock.elapsedUnsafe`, as all deadlines here. */
  readonly deadline: number
  readonly #continue: Continuation
  #accounts: ReadonlyArray<AccountId>
  #phase: CommandPhase = "loading"
  #participants: ReadonlyArray<AccountActor> = none
  #pendingEvents: ReadonlyArray<PendingEvent> = none
  #bytes = 0
  #rejection: Rejection | undefined = undefined
  #recordedAt: Instant = 0
  #attempts = 0
  #isRepeat = false
  #isLookedUp = false
  #forwardedAfter: number | undefined = undefined
  #isOfHotAccount = false
  #place = 0
  #order: KeptOrder | undefined = undefined
  #locks: ReadonlyArray<AccountLock> = none
  #reply: Reply | undefined = undefined
  #waiters: Array<Waiter> | undefined = undefined
  #lockOrder: ReadonlyArray<AccountId> | undefined = undefined
  #onDecided: Array<() => void> | undefined = undefined

  /** `accounts` are those that the command names. */
  constructor(
    command: Command,
    commandHash: string,
    deadline: number,
    accounts: ReadonlyArray<AccountId>,
    continuation: Continuation
  ) {
    this.command = command
    this.commandHash = commandHash
    this.deadline = deadline
    this.#accounts = accounts
    this.#continue = continuation
  }

  get phase(): CommandPhase {
    return this.#phase
  }

  /** Those that it is decided on: the ones that it names, and those that were found to belong to it since. */
  get accounts(): ReadonlyArray<AccountId> {
    return this.#accounts
  }

  /** The actors it was decided on; empty while it is loading. */
  get participants(): ReadonlyArray<AccountActor> {
    return this.#participants
  }

  /**
   * What it writes. Empty for a rejected command, which is queued and committed with the others all the same, so that
   * its rejection is told only once everything it was decided on is durable.
   */
  get pendingEvents(): ReadonlyArray<PendingEvent> {
    return this.#pendingEvents
  }

  /** What its events take in the INSERT, about. */
  get bytes(): number {
    return this.#bytes
  }

  get rejection(): Rejection | undefined {
    return this.#rejection
  }

  get recordedAt(): Instant {
    return this.#recordedAt
  }

  /** How often its decision was undone by a conflict of its own, or by a defect. */
  get attempts(): number {
    return this.#attempts
  }

  /** The log was seen to hold its id already: "nothing was done" would be false from here on. */
  get isRepeat(): boolean {
    return this.#isRepeat
  }

  /** The log is being asked for its id. */
  get isLookedUp(): boolean {
    return this.#isLookedUp
  }

  /**
   * Of one that another node sent: how many shards had come to this node by then. If its first account leaves before it is
   * decided, that node sends it to the next owner.
   */
  get forwardedAfter(): number | undefined {
    return this.#forwardedAfter
  }

  /** One of its accounts had many commands in flight when it came: it waits for that account, not for a lane. */
  get isOfHotAccount(): boolean {
    return this.#isOfHotAccount
  }

  /** Neither decided nor answered. */
  get isOpen(): boolean {
    return this.#phase === "loading"
  }

  /** Greater than that of every command which the node took in before. */
  get place(): number {
    return this.#place
  }

  /** That of the batch which it came with; undefined where it came alone. */
  get order(): KeptOrder | undefined {
    return this.#order
  }

  /** Those behind it in its batch wait for it by themselves. */
  get isInLine(): boolean {
    return this.#order?.has(this) ?? false
  }

  /** The accounts it keeps from others, in the order of their ids; few commands need any. */
  get locks(): ReadonlyArray<AccountLock> {
    return this.#locks
  }

  /** Its accounts in the one order in which all nodes lock accounts. */
  get lockOrder(): ReadonlyArray<AccountId> {
    this.#lockOrder ??= [...new Set(this.accounts)].sort()
    return this.#lockOrder
  }

  /** A capture whose destination only its hold names: until that account is added it may pay any account. */
  get mayTouchAny(): boolean {
    return mayTouchAny(this.command) && this.#accounts.length === accountsOf(this.command).length
  }

  /** An account that it does not name belongs to it: it holds no locks meanwhile. */
  addAccount(account: AccountId): void {
    if (this.#phase !== "loading" || this.#locks.length > 0) throw illegal("another account", this.#phase)
    this.#accounts = [...this.#accounts, account]
    this.#lockOrder = undefined
  }

  markOfHotAccount(): void {
    this.#isOfHotAccount = true
  }

  /** The node took it in. */
  takePlace(place: number, order: KeptOrder | undefined): void {
    this.#place = place
    this.#order = order
  }

  /** It came again, with a batch. */
  shareOrder(order: KeptOrder): void {
    if (this.#order === undefined) this.#order = order
    else this.#order.join(order)
  }

  /** Where it was sent more than once, the first time counts. */
  markForwarded(after: number): void {
    this.#forwardedAfter = Math.min(this.#forwardedAfter ?? after, after)
  }

  markRepeat(): void {
    this.#isRepeat = true
  }

  noteLookUp(): void {
    this.#isLookedUp = true
  }

  noteAttempt(): void {
    this.#attempts++
  }

  /** Its wait is over: it is executed, or ends with `exit` where one was found. */
  resume(exit?: FoundExit): void {
    this.#isLookedUp = false
    if (this.#phase !== "done") this.#continue(this, exit)
  }

  /**
   * Decides it on the speculative heads of its actors in one synchronous step, and moves them on: `loading` to
   * `queued`. In one thread this serializes the commands of an account, and both sides of a transfer, without a lock.
   * All events have one `recordedAt`, not before the last of any of the accounts; where they take more than `bytesMax`,
   * about, the command is rejected. A throw is a defect, and leaves the command and every actor as they were.
   */
  decide(actors: ReadonlyArray<AccountActor>, now: Instant, bytesMax: number): void {
    if (this.#phase !== "loading") throw illegal("a decision", this.#phase)
    let recordedAt = now
    for (const actor of actors) {
      if (!actor.isDecidable) throw illegal(`a decision on ${actor.id}`, actor.phase)
      const last = actor.speculative.recordedAt
      if (last > recordedAt) recordedAt = last
    }
    const { command } = this
    const decision = bounded(decide(command, statesOf(actors), recordedAt), command, bytesMax)
    const events = Result.isSuccess(decision)
      ? toPendingEvents(this, decision.success, actors, recordedAt)
      : none
    // Nothing below can fail: the decision is made.
    for (const { actor, after } of events) actor.speculate(after)
    for (const actor of actors) actor.addUncommitted()
    this.#recordedAt = recordedAt
    this.#participants = actors
    this.#pendingEvents = events
    this.#bytes = bytesOfAll(events)
    this.#rejection = Result.isFailure(decision) ? decision.failure : undefined
    this.#phase = "queued"
  }

  /** Its events are sent with those of the batch: `queued` to `committing`. */
  startCommit(): void {
    if (this.#phase === "done") return
    if (this.#phase !== "queued") throw illegal("a commit", this.#phase)
    this.#phase = "committing"
  }

  /** The batch wrote nothing and waits again: `committing` to `queued`. */
  requeue(): void {
    if (this.#phase === "done") return
    if (this.#phase !== "committing") throw illegal("a return to the queue", this.#phase)
    this.#phase = "queued"
  }

  /** Everything of it is in the log: the actors' committed heads move on. */
  commit(): void {
    if (this.#phase !== "committing" && this.#phase !== "done") throw illegal("a commit's end", this.#phase)
    for (const { actor, after } of this.#pendingEvents) actor.commitTo(after)
    for (const actor of this.#participants) actor.removeUncommitted()
  }

  /** Something it was decided on did not happen: it waits to be decided again. Its actors are rolled back already. */
  evict(): void {
    if (this.#phase === "loading") throw illegal("an eviction", this.#phase)
    for (const actor of this.#participants) actor.removeUncommitted()
    this.#participants = none
    this.#pendingEvents = none
    this.#bytes = 0
    this.#rejection = undefined
    if (this.#phase !== "done") this.#phase = "loading"
  }

  /**
   * The state it was rejected on is durable. Its id is looked up before it is answered, for an id that was accepted
   * once keeps its outcome (I4); a look-up from before the decision proves nothing, since another node may have
   * accepted the id while an account was being loaded.
   */
  recheck(): void {
    if (this.#phase !== "committing" || this.#rejection === undefined) throw illegal("a recheck", this.#phase)
    this.#participants = none
    this.#phase = "loading"
    this.releaseLocks()
  }

  /** It could never be decided, whatever its accounts hold. Its id is looked up before it is answered, as after a rejection. */
  refuse(rejection: Rejection): void {
    if (this.#phase !== "loading") throw illegal("a refusal", this.#phase)
    this.#rejection = rejection
  }

  /** Replies to all callers, once, each also behind a step that throws. */
  finish(exit: CommandExit): void {
    if (this.#phase === "done") throw illegal("a second reply", this.#phase)
    this.#phase = "done"
    const first = this.#takeReply()
    const others = this.#waiters
    this.#waiters = undefined
    // Most commands hold nothing, and no other caller waits for them: what the other way closes over is made there alone.
    if (this.#locks.length === 0 && this.#onDecided === undefined && others === undefined) first?.(exit)
    else this.#finishAll(exit, first, others ?? none)
  }

  #finishAll(exit: CommandExit, first: Reply | undefined, others: ReadonlyArray<Waiter>): void {
    const replayed = markReplayed(exit)
    allOf(
      [
        () => this.releaseLocks(),
        () => this.noteDecided(),
        () => first?.(exit),
        () => allOf(others, ({ reply }) => reply(replayed))
      ],
      (step) => step()
    )
  }

  /**
   * Drops the events once they are in the log and the receipt is made. A Map that grew leaves its old table behind,
   * which keeps what it held alive through the next young collections: measured, most commands were promoted to the
   * old heap with all their rows.
   */
  forgetEvents(): void {
    this.#pendingEvents = none
    this.#participants = none
  }

  /** Replies to those whose deadline is not after `until`; the command itself stays in flight. */
  expireWaiters(until: number, exit: CommandExit): void {
    const first = this.deadline <= until ? this.#takeReply() : undefined
    const late = this.#waiters?.filter((one) => one.deadline <= until) ?? none
    if (late.length > 0) this.#waiters = this.#waiters?.filter((one) => one.deadline > until)
    else if (first === undefined) return
    allOf([first, ...late.map(({ reply }) => reply)], (reply) => reply?.(exit))
  }

  /** The first caller; its deadline is the command's. */
  replyTo(reply: Reply): void {
    this.#reply = reply
  }

  /** A caller that came later with the same command, and has a deadline of its own. */
  join(reply: Reply, deadline: number): void {
    this.#waiters ??= []
    this.#waiters.push({ reply, deadline })
  }

  addLock(lock: AccountLock): void {
    this.#locks = [...this.#locks, lock]
  }

  /** Releases the accounts it holds: all of them, or those that only the decision needed. */
  releaseLocks(until: AccountLock["until"] | "all" = "all"): void {
    // Apart, because what a function closes over is made at its beginning: few commands hold any.
    if (this.#locks.length > 0) this.#release(until)
  }

  #release(until: AccountLock["until"] | "all"): void {
    const locks = this.#locks
    const isOver = (lock: AccountLock) => until === "all" || lock.until === until
    this.#locks = locks.filter((lock) => !isOver(lock))
    allOf(locks.filter(isOver), (lock) => lock.release())
  }

  /** Calls back once it is decided or done, at once if it is. */
  whenDecided(resume: () => void): void {
    if (this.#phase !== "loading") return resume()
    this.#onDecided ??= []
    this.#onDecided.push(resume)
  }

  /**
   * Tells those that wait for its decision, once its events are in the queue, for theirs must come after them; or once it is known that it
   * will not be decided.
   */
  noteDecided(): void {
    const resumes = this.#onDecided
    if (resumes === undefined) return
    this.#onDecided = undefined
    allOf(resumes, (resume) => resume())
  }

  /** That of the first caller, who is replied to once. */
  #takeReply(): Reply | undefined {
    const reply = this.#reply
    this.#reply = undefined
    return reply
  }
}

/** Takes the step with each, also behind one with which it throws; answers the first of what was thrown, a bug of this program. */
export const tryAll = <A>(all: Iterable<A>, step: (one: A) => void): Result.Result<void, unknown> => {
  let outcome: Result.Result<void, unknown> = Result.void
  for (const one of all) {
    const taken = Result.try(() => step(one))
    if (Result.isFailure(taken) && Result.isSuccess(outcome)) outcome = taken
  }
  return outcome
}

/** The same, and throws that. */
const allOf = <A>(all: Iterable<A>, step: (one: A) => void): void => Result.getOrThrow(tryAll(all, step))

/** Lets commands go on, each also behind one that throws; answers the first of what they threw. */
export const resumeAll = (
  commands: ReadonlyArray<PendingCommand>,
  exit?: FoundExit
): Result.Result<void, unknown> => tryAll(commands, (command) => command.resume(exit))

const bytesOfAll = (events: ReadonlyArray<PendingEvent>): number => {
  let bytes = 0
  for (const { row } of events) bytes += bytesOf(row)
  return bytes
}

/** One of the actors that a command was executed with. Most commands have two at most. */
const actorOf = (actors: ReadonlyArray<AccountActor>, id: AccountId): AccountActor => {
  for (const actor of actors) if (actor.id === id) return actor
  throw new Error(`a command was executed without account ${id}, which it is about`)
}

/** The states that a command is decided on. */
const statesOf =
  (actors: ReadonlyArray<AccountActor>) =>
  (id: AccountId): Account =>
    actorOf(actors, id).speculative.account

/** The events of one decision, each on the head that the one before left on its account. */
const toPendingEvents = (
  pending: PendingCommand,
  decision: ReadonlyArray<Decided>,
  actors: ReadonlyArray<AccountActor>,
  recordedAt: Instant
): ReadonlyArray<PendingEvent> => {
  // Of its final size at once: the first push would make room for seventeen.
  const events = new Array<PendingEvent>(decision.length)
  for (let ordinal = 0; ordinal < decision.length; ordinal++) {
    const decided = decision[ordinal] as Decided // the index is below the length
    const actor = actorOf(actors, decided.account)
    const before = lastHeadOf(actor, events, ordinal)
    events[ordinal] = toPendingEvent(pending, decided, ordinal, actor, before, recordedAt)
  }
  return events
}

/** The head that the last of the first `count` events left on the account. Most commands have one event an account, and few events. */
const lastHeadOf = (actor: AccountActor, events: ReadonlyArray<PendingEvent>, count: number): Head => {
  for (let nth = count - 1; nth >= 0; nth--) {
    const event = events[nth] as PendingEvent // the index is below the count
    if (event.actor === actor) return event.after
  }
  return actor.speculative
}

const toPendingEvent = (
  { command, commandHash }: PendingCommand,
  { event, effectiveAt = command.effectiveAt }: Decided,
  ordinal: number,
  actor: AccountActor,
  before: Head,
  recordedAt: Instant
): PendingEvent => {
  const account = evolve(before.account, event, recordedAt)
  if (!isCovered(account)) throw new Error(`command ${command.commandId} would overdraw ${actor.id}`)
  const { stored, chained } = encodePayload(event, afterOf(account))
  const unlinked = {
    accountId: actor.id,
    version: account.version,
    type: event._tag,
    schemaVersion: schemaVersionOf(event._tag),
    payload: stored,
    commandId: command.commandId,
    ordinal,
    commandHash: ordinal === 0 ? commandHash : null,
    recordedAt,
    effectiveAt: effectiveAt === undefined || effectiveAt === recordedAt ? null : effectiveAt,
    context: encodeContext(command.context),
    hash: ""
  }
  const row = linked(before.hash, unlinked, chained)
  return { actor, before, after: { account, hash: row.hash, recordedAt }, row }
}

const markReplayed = (exit: CommandExit): CommandExit =>
  exit._tag === "Success" && !exit.value.replayed ? Exit.succeed({ ...exit.value, replayed: true }) : exit

/** The receipt of a command whose events this node wrote. */
export const receiptOf = ({ command, pendingEvents, recordedAt }: PendingCommand): Receipt => {
  const postings = pendingEvents.map(({ row, after }) => {
    const { accountId: account, version, hash } = row
    const { balance, held, available } = afterOf(after.account)
    return { account, version, hash, balance, held, available }
  })
  const { commandId } = command
  return { commandId, replayed: false, recordedAt, postings, readToken: printToken(postings) }
}

/** Annotates a log with the commands that it is about, and the traces they belong to, a few of each. */
export const about = (pending: ReadonlyArray<PendingCommand>) => {
  const commands = pending.slice(0, 10).map(({ command }) => command)
  return Effect.annotateLogs({
    commandIds: commands.map(({ commandId }) => commandId),
    traceparents: commands.flatMap(({ context }) => context?.traceparent ?? [])
  })
}

/**
 * - `loading`: its head is not known; commands wait in its mailbox;
 * - `ready`: commands are decided on it;
 * - `leasing`: another node asked for it; no new command is decided, and once nothing is pending it is leased;
 * - `leased`: another node decides on it (LeaseServer.ts);
 * - `evicted`: it left memory; nothing may be decided on it any more.
 */
type AccountPhase = "loading" | "ready" | "leasing" | "leased" | "evicted"

/** Another node that wants to decide on the account. It is told once: the head, or why not. */
interface LeaseRequest {
  readonly lease: string
  readonly grant: (committed: Head) => void
  readonly refuse: (failure: Exit.Exit<never, Unavailable>) => void
}

type HeadReader = (head: Exit.Exit<Head, Unavailable>) => void

/** One account in memory. */
export class AccountActor {
  readonly id: AccountId
  /** The shard that it falls into (see Placement.ts). */
  readonly shard: number
  #phase: AccountPhase = "loading"
  #committed: Head
  #speculative: Head
  #uncommitted = 0
  #pins = 0
  #leaseRequests: ReadonlyArray<LeaseRequest> = none
  /** How many further nodes have it before its own commands do: those that asked before it left; undefined while it is at home. */
  #leasesLeft: number | undefined = undefined
  #batch: CommitBatch | undefined = undefined
  #blockedAtScan = 0
  #mailbox: Array<PendingCommand> | undefined = undefined
  #readers: Set<HeadReader> | undefined = undefined
  #generation = 0
  #usedAt: number
  #passedAt = Number.NEGATIVE_INFINITY

  constructor(id: AccountId, nowMs: number, shard = 0) {
    this.id = id
    this.shard = shard
    this.#committed = emptyHead(id)
    this.#speculative = this.#committed
    this.#usedAt = nowMs
  }

  get phase(): AccountPhase {
    return this.#phase
  }

  /** What the log holds. */
  get committed(): Head {
    return this.#committed
  }

  /** What the log will hold once everything decided so far is committed. */
  get speculative(): Head {
    return this.#speculative
  }

  /** Commands that were decided on it and are not committed; it stays in memory while there are any. */
  get uncommitted(): number {
    return this.#uncommitted
  }

  /** The batch that is being sent with events of this account; the later one where one is chained behind another. */
  get batch(): CommitBatch | undefined {
    return this.#batch
  }

  /** The scan of the commit queue at which an older command of it had to wait. */
  get blockedAtScan(): number {
    return this.#blockedAtScan
  }

  /** Counts its invalidations: what was read from the log in an earlier generation is no longer the truth. */
  get generation(): number {
    return this.#generation
  }

  /** When it was last asked for, in milliseconds elapsed. */
  get usedAt(): number {
    return this.#usedAt
  }

  /** When it was last passed over in the search for room. */
  get passedAt(): number {
    return this.#passedAt
  }

  /** Commands that wait for it, keep it while they wait for another account or for their turn, or were decided on it. */
  get inFlight(): number {
    return this.#uncommitted + this.#pins + (this.#mailbox?.length ?? 0)
  }

  get isIdle(): boolean {
    return this.#phase === "ready" && this.#isUnused
  }

  /** Nothing is pending on it and nothing waits for it, though it may be loading. */
  get isDroppable(): boolean {
    return (this.#phase === "ready" || this.#phase === "loading") && this.#isUnused && !this.#readers?.size
  }

  /** A command that is not decided yet keeps it from being leased. */
  get isPinned(): boolean {
    return this.#pins > 0
  }

  get hasReaders(): boolean {
    return this.#readers !== undefined
  }

  get #isUnused(): boolean {
    return this.inFlight + this.#leaseRequests.length === 0
  }

  /** A command that holds a lock on it may still be decided while a lease is asked for. */
  get isDecidable(): boolean {
    return this.#phase === "ready" || this.#phase === "leasing"
  }

  /**
   * No commit of it is on its way, so that its committed state is its last one. A commit that was sent may have landed though
   * its answer has not come, and a reader of the log may know of it: from then on a state before it must not be told as the last.
   */
  get isTellable(): boolean {
    return this.isDecidable && this.#batch === undefined
  }

  touch(nowMs: number): void {
    this.#usedAt = nowMs
  }

  passOver(nowMs: number): void {
    this.#passedAt = nowMs
  }

  /**
   * Its head is known, from the log or from the node that returns its lease: `loading` or `leased` to `ready`. An account that many nodes
   * want goes round: those that asked before it left have it one after another, and then its own commands, of which more are there by
   * then for one commit. Were they decided between any two nodes, every second commit of it would be its owner's.
   */
  load(head: Head): void {
    if (this.#phase !== "loading" && this.#phase !== "leased") throw illegal("a load", this.#phase)
    const isReturned = this.#phase === "leased"
    this.#committed = head
    this.#speculative = head
    if (!isReturned || this.#leasesLeft === undefined || this.#leasesLeft === 0) return this.#becomeReady()
    this.#leasesLeft--
    this.#phase = "leasing"
    const told = Result.try(() => this.tellReaders())
    this.offerLease()
    Result.getOrThrow(told)
  }

  /** What it holds may be wrong: back to `loading`, until the log has been read. */
  invalidate(): void {
    if (this.#phase === "evicted") throw illegal("a reload", this.#phase)
    this.#phase = "loading"
    this.#generation++
  }

  /** It leaves memory. */
  evict(): void {
    if (this.#phase === "evicted") throw illegal("an eviction", this.#phase)
    this.#phase = "evicted"
  }

  /** It was evicted because it cannot be loaded: everything that waits for it is told why. */
  tellFailure(failure: Exit.Exit<never, Unavailable>): void {
    if (this.#phase !== "evicted") throw illegal("a failure", this.#phase)
    const steps: ReadonlyArray<() => void> = [
      () => Result.getOrThrow(resumeAll(this.#mailbox ?? none, failure)),
      () => allOf(this.#readers ?? none, (reader) => reader(failure)),
      () => allOf(this.#leaseRequests, (request) => request.refuse(failure))
    ]
    allOf(steps, (step) => step())
  }

  /** What waits for it is executed, in order; then it may be leased. */
  #becomeReady(): void {
    this.#phase = "ready"
    this.#leasesLeft = undefined
    const mailbox = this.#mailbox
    this.#mailbox = undefined
    const resumed = resumeAll(mailbox ?? none)
    const told = Result.try(() => this.tellReaders())
    this.offerLease()
    Result.getOrThrow(resumed)
    Result.getOrThrow(told)
  }

  /**
   * Tells its readers its committed head, if that may be told now. `held` is a batch with events of it of which nothing has
   * landed yet, because it may commit only later: the head is the last one until then. Each is told, also behind one that throws.
   */
  tellReaders(held?: CommitBatch): void {
    const readers = this.#readers
    const isLast = this.#batch === undefined || this.#batch === held
    if (readers === undefined || !this.isDecidable || !isLast) return
    this.#readers = undefined
    const head = Exit.succeed(this.#committed)
    allOf(readers, (reader) => reader(head))
  }

  /** Lets a command wait until it is ready. */
  wait(command: PendingCommand): void {
    this.#mailbox ??= []
    this.#mailbox.push(command)
  }

  /** Lets those commands go that were answered while they waited. */
  forgetDone(): void {
    this.#mailbox = this.#mailbox?.filter(({ phase }) => phase !== "done")
  }

  /** Tells the reader its head once that may be told. Calling what this returns takes the reader back. */
  addReader(reader: HeadReader): () => void {
    this.#readers ??= new Set()
    this.#readers.add(reader)
    return () => this.#readers?.delete(reader)
  }

  /** A command that waits for other accounts, or for its turn, needs this one afterwards: meanwhile it is not leased. */
  pin(): void {
    if (this.#phase !== "ready") throw illegal("a pin", this.#phase)
    this.#pins++
  }

  unpin(): void {
    if (this.#pins === 0) throw new Error(`account ${this.id} is not pinned`)
    this.#pins--
    this.offerLease()
  }

  requestLease(request: LeaseRequest): void {
    this.#leaseRequests = [...this.#leaseRequests, request]
    this.offerLease()
  }

  withdrawLeaseRequest(lease: string): void {
    if (this.#leaseRequests.length === 0) return
    this.#leaseRequests = this.#leaseRequests.filter((one) => one.lease !== lease)
    this.offerLease()
  }

  /** Grants it to the node that asked first, once nothing is pending on it. */
  offerLease(): void {
    if (this.#leaseRequests.length === 0) {
      if (this.#phase === "leasing") this.#becomeReady()
      return
    }
    if (this.#phase === "ready") this.#phase = "leasing"
    if (this.#phase !== "leasing" || this.#uncommitted + this.#pins > 0) return
    const [request, ...others] = this.#leaseRequests
    this.#leaseRequests = others
    this.#leasesLeft ??= others.length
    this.#phase = "leased"
    request?.grant(this.#committed)
  }

  markBlocked(scan: number): void {
    this.#blockedAtScan = scan
  }

  enterBatch(batch: CommitBatch): void {
    this.#batch = batch
  }

  /** Nothing where it is in another batch by now. */
  leaveBatch(batch: CommitBatch): void {
    if (this.#batch === batch) this.#batch = undefined
  }

  speculate(after: Head): void {
    this.#speculative = after
  }

  commitTo(after: Head): void {
    this.#committed = after
  }

  addUncommitted(): void {
    this.#uncommitted++
  }

  removeUncommitted(): void {
    if (this.#uncommitted === 0) throw new Error(`account ${this.id} has nothing uncommitted`)
    this.#uncommitted--
  }
}

/** Evicts the commands, which stand in the order of their decision, and takes the heads of their actors back, of each also behind one that throws. */
export const evictAll = (commands: ReadonlyArray<PendingCommand>): void => {
  const rolledBack = new Set<AccountActor>()
  allOf(commands, (command) => {
    for (const { actor, before } of command.pendingEvents) {
      if (!rolledBack.has(actor)) actor.speculate(before)
      rolledBack.add(actor)
    }
    command.evict()
  })
}

/** Tells the readers of all accounts that the commands were decided on; answers the first of what was thrown. */
export const tellReadersOf = (
  commands: ReadonlyArray<PendingCommand>,
  held?: CommitBatch
): Result.Result<void, unknown> => {
  // Few accounts have any, and a batch may have thousands of accounts.
  const read: Array<AccountActor> = []
  for (const { participants } of commands)
    for (const actor of participants) if (actor.hasReaders) read.push(actor)
  return tryAll(read, (actor) => actor.tellReaders(held))
}

/** The commands that one lane sends at once, in one INSERT. */
export class CommitBatch {
  #commands: ReadonlyArray<PendingCommand> = none
  #predecessor: CommitBatch | undefined = undefined
  #successor: CommitBatch | undefined = undefined
  #isRetrying = false
  #verdict: Deferred.Deferred<boolean> | undefined = undefined

  get commands(): ReadonlyArray<PendingCommand> {
    return this.#commands
  }

  /** The batch that must be committed before this one may be; undefined once it is. */
  get predecessor(): CommitBatch | undefined {
    return this.#predecessor
  }

  /** The batch whose commands were decided on this one's, and which is being written meanwhile. */
  get successor(): CommitBatch | undefined {
    return this.#successor
  }

  /** Its first attempt did not commit. No batch may be chained behind it, because its outcome may take long. */
  get isRetrying(): boolean {
    return this.#isRetrying
  }

  /** Of a chained batch: whether it may commit, as soon as that is known. */
  get verdict(): Deferred.Deferred<boolean> | undefined {
    return this.#verdict
  }

  /** Takes these queued commands, which are all that it has. */
  take(commands: ReadonlyArray<PendingCommand>): void {
    for (const command of commands) {
      command.startCommit()
      for (const actor of command.participants) actor.enterBatch(this)
    }
    this.#commands = commands
  }

  chainBehind(predecessor: CommitBatch): void {
    if (predecessor.#predecessor ?? predecessor.#successor) throw new Error("a chain has two batches at most")
    this.#predecessor = predecessor
    predecessor.#successor = this
    this.#verdict = Deferred.makeUnsafe<boolean>()
  }

  /**
   * Its rows are durable: its actors may enter another batch, and its successor may commit. All of it is done where a part throws, a bug of
   * this program, which is thrown at its end.
   */
  commit(): void {
    const commands = this.#commands
    // Before the commands: a bug in one of them leaves no account of the others in a batch that is no more.
    this.#leaveActors()
    this.#commands = none
    const committed = tryAll(commands, (command) => command.commit())
    // Before the successor may commit: a reader of an account that is written to without a pause waits for one batch.
    const told = tellReadersOf(commands, this.#successor)
    this.#settleSuccessor(true)
    Result.getOrThrow(committed)
    Result.getOrThrow(told)
  }

  /**
   * It did not commit at once: its successor may not commit, and nothing is chained behind it again. Answers the
   * successor, whose commands are to be put back.
   */
  detachSuccessor(): CommitBatch | undefined {
    this.#isRetrying = true
    return this.#settleSuccessor(false)
  }

  /** Certainly nothing of it was written: its commands are queued again. */
  requeue(): ReadonlyArray<PendingCommand> {
    const commands = this.#commands
    this.#leaveActors()
    this.#commands = none
    for (const command of commands) command.requeue()
    return commands
  }

  /** Keeps these of its commands; the others are to be evicted. */
  keep(commands: ReadonlyArray<PendingCommand>): void {
    this.#leaveActors()
    this.#commands = commands
    this.claimActors()
  }

  /** The accounts of its commands are its own again, after a successor that had them was put back. */
  claimActors(): void {
    for (const { participants } of this.#commands) for (const actor of participants) actor.enterBatch(this)
  }

  #leaveActors(): void {
    for (const { participants } of this.#commands) for (const actor of participants) actor.leaveBatch(this)
  }

  #settleSuccessor(isCommitted: boolean): CommitBatch | undefined {
    const successor = this.#successor
    if (successor === undefined) return undefined
    this.#successor = undefined
    successor.#predecessor = undefined
    if (successor.#verdict !== undefined) Deferred.doneUnsafe(successor.#verdict, Exit.succeed(isCommitted))
    return successor
  }
}
