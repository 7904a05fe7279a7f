/** The commands of this node that are admitted and not answered: looked up by id, watched for their deadlines, counted. */
import { Context, Effect, Exit, FiberSet, Latch, Layer, Result } from "effect"
import { type CommandError, Indeterminate, Unavailable } from "../../domain/Errors.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import type { CommandExit, PendingCommand, Reply } from "../accounts/Lifecycle.ts"

export const unavailable = (what: string, reason: string) => Exit.fail(new Unavailable({ what, reason }))

export const indeterminate = ({ command }: PendingCommand) =>
  Exit.fail(new Indeterminate({ commandId: command.commandId }))

/** True of this asking alone: an earlier one, whose answer did not come, may still do it. */
export const saysNothingWasDone = ({ _tag }: CommandError): boolean =>
  _tag === "Overloaded" || _tag === "Unavailable"

/** What this node answered since its start, each command once. Costs a command one addition. */
class OutcomeCounts {
  accepted = 0
  /** Answered with the outcome of an earlier attempt of the caller. */
  replayed = 0
  /** Callers that joined a command in flight. */
  joined = 0
  /** By the error's tag; `Defect` where a bug of this program ended it. */
  readonly refused = new Map<string, number>()

  note(exit: CommandExit): void {
    if (exit._tag === "Success") {
      if (exit.value.replayed) this.replayed++
      else this.accepted++
      return
    }
    const [reason] = exit.cause.reasons
    const tag = reason?._tag === "Fail" ? reason.error._tag : "Defect"
    this.refused.set(tag, (this.refused.get(tag) ?? 0) + 1)
  }
}

/** What is in flight at this moment. */
interface Load {
  /** Commands by phase: `waiting` for an account or a look-up, `queued` for a lane, `flying` to the store. */
  readonly phases: { readonly waiting: number; readonly queued: number; readonly flying: number }
  /** How long the oldest command has been in flight, in milliseconds. */
  readonly oldestMs: number
  /** The most commands in flight on one account. */
  readonly accountMost: number
}

/** What the metrics tell of the write side, beside `DispatcherStats`. */
export interface DispatcherMeters extends Load {
  readonly outcomes: OutcomeCounts
  /** Decided commands that wait for a lane. */
  readonly queued: number
  /** Of the last heartbeat: this node's clock against the store's, in milliseconds. */
  readonly clockSkewMs: number
  readonly recordedAheadMs: number
}

/**
 * A cell that is emptied at the end: a Map that is rehashed leaves its old table behind, linked to the next, and once
 * one such table got into the old heap, every command that was in any later one was kept alive and copied there too.
 */
interface Cell {
  pending: PendingCommand | undefined
}

/**
 * In the order of their arrival; nearly all may wait equally long, so that is also the order of their deadlines. Those that waited
 * elsewhere before (for a look-up, or for another command of their id) have less left, and are kept apart.
 */
export class InFlightCommands {
  static readonly Service = Context.Service<InFlightCommands>("chronicle/actors/InFlightCommands")
  static readonly layer = Layer.effect(
    InFlightCommands.Service,
    Effect.map(
      FiberSet.makeRuntime<never>(),
      (run) => new InFlightCommands((defect) => run(Effect.logError("a command met a bug", defect)))
    )
  )

  readonly outcomes = new OutcomeCounts()
  readonly #cells = new Map<CommandId, Cell>()
  /** Those with a deadline before that of a command which came earlier. */
  readonly #impatient = new Set<PendingCommand>()
  /** Those that a caller with an earlier deadline has joined, who waited elsewhere before. */
  readonly #hurried = new Set<PendingCommand>()
  #lastDeadline = Number.NEGATIVE_INFINITY
  #ofHotAccounts = 0
  #awaiting = 0
  #joined = 0
  #isClosing = false
  readonly #onDefect: (defect: unknown) => void
  readonly #some = Latch.makeUnsafe(false)

  /** Waits until there is a command. */
  readonly awaitSome = Effect.suspend(() => {
    if (this.#cells.size === 0) this.#some.closeUnsafe()
    return this.#some.await
  })

  constructor(onDefect: (defect: unknown) => void = () => {}) {
    this.#onDefect = onDefect
  }

  /** With those that are not admitted yet, because their subject is being looked up. */
  get size(): number {
    return this.#cells.size + this.#awaiting
  }

  /** Callers that wait for commands which were sent before, or for their turn since such a one was refused. */
  get joined(): number {
    return this.#joined
  }

  /** No caller waits. */
  get isIdle(): boolean {
    return this.size + this.#joined === 0
  }

  /** The command that had its id was refused, and its turn to be submitted has not come. */
  beginTurn(): void {
    this.#joined++
  }

  endTurn(): void {
    this.#joined--
  }

  /** One comes that is not admitted yet. */
  beginWait(): void {
    this.#awaiting++
  }

  endWait(): void {
    this.#awaiting--
  }

  /** How many of them came to an account that many others were waiting for. */
  get ofHotAccounts(): number {
    return this.#ofHotAccounts
  }

  /** This node takes no more commands. */
  get isClosing(): boolean {
    return this.#isClosing
  }

  close(): void {
    this.#isClosing = true
  }

  get(commandId: CommandId): PendingCommand | undefined {
    return this.#cells.get(commandId)?.pending
  }

  add(command: PendingCommand): void {
    if (command.isOfHotAccount) this.#ofHotAccounts++
    if (command.deadline < this.#lastDeadline) this.#impatient.add(command)
    else this.#lastDeadline = command.deadline
    if (this.#cells.size === 0) this.#some.openUnsafe()
    this.#cells.set(command.command.commandId, { pending: command })
  }

  /** A caller waits for a command that was sent before. */
  join(command: PendingCommand, reply: Reply, deadline: number): void {
    this.#joined++
    const counted: Reply = (exit) => {
      this.#joined--
      reply(exit)
    }
    command.join(counted, deadline)
    if (deadline < command.deadline) this.#hurried.add(command)
  }

  /** Replies to those that joined a command whose own deadline comes later, and have waited until theirs. */
  expireHurried(until: number): void {
    for (const command of this.#hurried) if (command.deadline > until) this.expireWaiters(command, until)
  }

  /**
   * Replies to the callers of a command that have waited until their deadlines. A reply that throws, a bug of this program, is told to the log
   * alone: the command goes on, and its other callers wait for its outcome.
   */
  expireWaiters(command: PendingCommand, until: number): void {
    const told = Result.try(() => command.expireWaiters(until, indeterminate(command)))
    if (Result.isFailure(told)) this.#onDefect(told.failure)
  }

  *commands(): IterableIterator<PendingCommand> {
    for (const { pending } of this.#cells.values()) if (pending !== undefined) yield pending
  }

  /** Those whose deadline is not after `until`. */
  *expired(until: number): IterableIterator<PendingCommand> {
    for (const command of this.#impatient) if (command.deadline <= until) yield command
    for (const command of this.commands()) {
      if (this.#impatient.size > 0 && this.#impatient.has(command)) continue
      if (command.deadline > until) return
      yield command
    }
  }

  /**
   * Replies to a command, unless it is done. What throws behind its answer, a bug of this program, is told to the log alone: who answers it
   * has others to answer.
   */
  complete(command: PendingCommand, exit: CommandExit): void {
    if (command.phase === "done") return
    if (command.isOfHotAccount) this.#ofHotAccounts--
    if (this.#impatient.size > 0) this.#impatient.delete(command)
    if (this.#hurried.size > 0) this.#hurried.delete(command)
    this.outcomes.note(exit)
    this.#remove(command.command.commandId)
    const finished = Result.try(() => command.finish(exit))
    if (Result.isFailure(finished)) this.#onDefect(finished.failure)
  }

  /** Takes a step with a command. If it throws, a bug of this program, this command ends with that, and nothing beside it. */
  attempt(command: PendingCommand, step: (command: PendingCommand) => void): void {
    const taken = Result.try(() => step(command))
    if (Result.isFailure(taken)) this.end(command, taken.failure)
  }

  /** Ends a command with a bug of this program that it met. */
  end(command: PendingCommand, defect: unknown): void {
    this.#onDefect(defect)
    this.complete(command, Exit.die(defect))
  }

  /** Ends a command of which this attempt wrote nothing, with an outcome that says so: not where the log was seen to hold it already. */
  completeUnwritten(command: PendingCommand, exit: CommandExit): void {
    this.complete(command, command.isRepeat ? indeterminate(command) : exit)
  }

  failUnwritten(command: PendingCommand, what: string, reason: string): void {
    this.completeUnwritten(command, unavailable(what, reason))
  }

  /** Walks everything in flight (at most `inFlightMax`): for a scrape of the metrics, not for a command. */
  load(now: number, commandDeadlineMs: number): Load {
    const phases = { waiting: 0, queued: 0, flying: 0 }
    const depths = new Map<AccountId, number>()
    let oldestMs = 0
    let accountMost = 0
    for (const { phase, accounts, deadline } of this.commands()) {
      if (phase === "loading") phases.waiting++
      else if (phase === "queued") phases.queued++
      else phases.flying++
      oldestMs = Math.max(oldestMs, now - (deadline - commandDeadlineMs))
      for (const account of accounts) {
        const depth = (depths.get(account) ?? 0) + 1
        depths.set(account, depth)
        accountMost = Math.max(accountMost, depth)
      }
    }
    return { phases, oldestMs, accountMost }
  }

  #remove(commandId: CommandId): void {
    const cell = this.#cells.get(commandId)
    if (cell === undefined) return
    cell.pending = undefined
    this.#cells.delete(commandId)
  }
}
