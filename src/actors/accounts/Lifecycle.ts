/** One command under way in this node: from admission to its settlement, which happens exactly once. */
import { Effect, Exit } from "effect"
import { accountsOf, type Command } from "../../domain/Command.ts"
import type { CommandError, Rejection } from "../../domain/Errors.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import { printToken, type Receipt } from "../../domain/Receipt.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { AccountActor } from "./AccountActor.ts"

/** One event of a decided command, and the head of its account on either side of it. */
export interface PendingEvent {
  readonly actor: AccountActor
  readonly before: Head
  readonly after: Head
  readonly row: StoredEvent
}

/**
 * - `waiting`: nothing is decided (looking up a repeat, or an account is loading);
 * - `queued`: decided, its rows wait for a lane;
 * - `flying`: its rows are being sent; from here on only the store knows;
 * - `settled`: every waiter is answered.
 */
export type CommandPhase = "waiting" | "queued" | "flying" | "settled"

/** An account that a ticket keeps from others; see AcquireAccounts.ts for the order in which it may. */
export interface AccountLock {
  readonly actor: AccountActor
  /** False once the account may have been decided on by others: the ticket must begin again. */
  readonly isGood: (nowMs: number) => boolean
  /** Held until the ticket is decided, or until its outcome is known. */
  readonly until: "decided" | "settled"
  readonly release: () => void
}

export type CommandExit = Exit.Exit<Receipt, CommandError>

type Resume = (settlement: CommandExit) => void

/** A caller that sent the id while it was under way already. */
interface Joined {
  readonly resume: Resume
  readonly deadline: number
}

/** Shared by all who have none: most tickets never wait, are joined, or hold anything. */
const none: ReadonlyArray<never> = []

export class PendingCommand {
  readonly command: Command
  readonly commandHash: string
  readonly accounts: ReadonlyArray<AccountId>
  /** By `LedgerClock.elapsedUnsafe`, as all deadlines here. */
  readonly deadline: number
  phase: CommandPhase = "waiting"
  /** The actors it was decided on; empty while it is waiting. */
  participants: ReadonlyArray<AccountActor> = none
  /** What it writes; empty for a refused command, which rides along so that its refusal is as true as a commit. */
  pendingEvents: ReadonlyArray<PendingEvent> = none
  rejection: Rejection | undefined = undefined
  recordedAt: Instant = 0
  /** How often it was decided in vain because of a conflict of its own. */
  attempts = 0
  /** The log was seen to hold its id already: "nothing was done" would be a lie from here on. */
  isRepeat = false
  /** Another node gave it: if the first account leaves before it is decided, that node is to give it to the next. */
  isForwarded = false
  /** One of its accounts had many others under way when it came: it waits for that one, not for a lane. */
  isOfHotAccount = false
  /** The accounts it keeps from others, in the order of their ids; few tickets need any. */
  locks: ReadonlyArray<AccountLock> = none
  /** The first caller, until it is answered. */
  #resume: Resume | undefined = undefined
  /** Made by the first who joins, as the next: few tickets need any. */
  #joined: Array<Joined> | undefined = undefined
  #order: ReadonlyArray<AccountId> | undefined = undefined
  #onDecided: Array<() => void> | undefined = undefined

  /** `accounts` may be given where they are known already. */
  constructor(command: Command, commandHash: string, deadline: number, accounts = accountsOf(command)) {
    this.command = command
    this.commandHash = commandHash
    this.accounts = accounts
    this.deadline = deadline
  }

  /** Its accounts in the one order in which all nodes take hold of them. */
  get order(): ReadonlyArray<AccountId> {
    this.#order ??= [...new Set(this.accounts)].sort()
    return this.#order
  }

  /** Lets go of the accounts it holds: all of them, or those that it needed for the decision alone. */
  release(until: AccountLock["until"] | "all" = "all"): void {
    const { locks: holds } = this
    if (holds.length === 0) return
    const isOver = (hold: AccountLock) => until === "all" || hold.until === until
    this.locks = holds.filter((hold) => !isOver(hold))
    for (const hold of holds) if (isOver(hold)) hold.release()
  }

  /** Calls back once it is decided or settled, at once if it is. */
  whenDecided(resume: () => void): void {
    if (this.phase !== "waiting") return resume()
    this.#onDecided ??= []
    this.#onDecided.push(resume)
  }

  /** Its phase is not `waiting` any more. */
  noteDecided(): void {
    const resumes = this.#onDecided
    if (resumes === undefined) return
    this.#onDecided = undefined
    for (const resume of resumes) resume()
  }

  /** The first caller; its patience is the ticket's. */
  await(resume: Resume): void {
    this.#resume = resume
  }

  /** A caller that came later with the same command, and has patience of its own. */
  join(resume: Resume, deadline: number): void {
    this.#joined ??= []
    this.#joined.push({ resume, deadline })
  }

  /** Answers those whose patience ends at `until`, while the ticket is still under way. */
  expireWaiters(until: number, settlement: CommandExit): void {
    if (this.deadline <= until) this.#answerFirst(settlement)
    const late = this.#joined?.filter((one) => one.deadline <= until)
    if (late === undefined || late.length === 0) return
    this.#joined = this.#joined?.filter((one) => one.deadline > until)
    for (const { resume } of late) resume(settlement)
  }

  /** Answers all callers and forgets them. */
  reply(settlement: CommandExit): void {
    const joined = this.#joined
    this.#joined = undefined
    this.#answerFirst(settlement)
    if (joined === undefined) return
    const replayed = markReplayed(settlement)
    for (const { resume } of joined) resume(replayed)
  }

  #answerFirst(settlement: CommandExit): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.(settlement)
  }
}

const markReplayed = (settlement: CommandExit): CommandExit =>
  settlement._tag === "Success" && !settlement.value.replayed
    ? Exit.succeed({ ...settlement.value, replayed: true })
    : settlement

/** Takes the speculation of their actors back to before the first of them; they wait to be decided again. */
export const rollBack = (evicted: ReadonlyArray<PendingCommand>): void => {
  const rolledBack = new Set<AccountActor>()
  for (const ticket of evicted) {
    for (const { actor, before } of ticket.pendingEvents) {
      if (!rolledBack.has(actor)) actor.speculative = before
      rolledBack.add(actor)
    }
    for (const actor of ticket.participants) actor.uncommitted--
    ticket.phase = "waiting"
    ticket.participants = []
    ticket.pendingEvents = []
    ticket.rejection = undefined
  }
}

/** The receipt of a command whose rows this node wrote. */
export const receiptOf = (ticket: PendingCommand): Receipt => {
  const postings = ticket.pendingEvents.map(({ row }) => ({
    account: row.accountId,
    version: row.version,
    hash: row.hash
  }))
  return {
    commandId: ticket.command.commandId,
    replayed: false,
    recordedAt: ticket.recordedAt,
    postings,
    readToken: printToken(postings)
  }
}

/** Names the commands that a log is about, and the traces they belong to, a few of each. */
export const about = (tickets: ReadonlyArray<PendingCommand>) => {
  const commands = tickets.slice(0, 10).map(({ command }) => command)
  return Effect.annotateLogs({
    commandIds: commands.map(({ commandId }) => commandId),
    traceparents: commands.flatMap(({ context }) => context?.traceparent ?? [])
  })
}
