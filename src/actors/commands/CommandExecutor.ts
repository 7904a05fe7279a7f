/**
 * The way of one command on the node that decides it, in order:
 *
 * 1. `submit`: a repeat is answered or joined, an overloaded node refuses, anything else is in flight from here on.
 * 2. `execute`: its accounts are acquired. The command may have to wait for one, and is resumed here.
 * 3. It is decided on them in one synchronous step, and queued for the commit.
 * 4. `handle`: the commit's result comes back. A command is answered, or executed again.
 *
 * A command comes back to 2 from an account that was cold or locked, from the log that was asked for its id, from the line of its batch,
 * from a turn that was over, and where its decision is undone: by a conflict or a fence at the commit, or by a defect.
 */
import { Context, Effect, Exit, FiberSet, Layer, Option, Result } from "effect"
import { accountsOf, type Command } from "../../domain/Command.ts"
import { destinationInState } from "../../domain/DecideHolds.ts"
import { InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import { hashCommand } from "../../domain/HashChain.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { turnMs } from "../../infra/config/Elapsed.ts"
import { LedgerConfig, type LedgerLimits } from "../../infra/config/LedgerConfig.ts"
import { AccountRegistry } from "../accounts/AccountRegistry.ts"
import { AcquireAccounts, type Acquired } from "../accounts/AcquireAccounts.ts"
import type { KeptOrder, Placed } from "../accounts/KeptOrder.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import {
  type AccountActor,
  type CommandExit,
  type Continuation,
  type FoundExit,
  PendingCommand,
  type Reply,
  receiptOf,
  tryAll
} from "../accounts/Lifecycle.ts"
import { Placement, type Placing } from "../accounts/Placement.ts"
import { type BatchResult, CommitPipeline } from "../commit/CommitPipeline.ts"
import { CommitQueue } from "../commit/CommitQueue.ts"
import { WriterRegistry } from "../commit/WriterRegistry.ts"
import { AdmissionControl, isOfHotAccount, wholeNode } from "./AdmissionControl.ts"
import { Deduplication, reused } from "./Deduplication.ts"
import { InFlightCommands, indeterminate, saysNothingWasDone, unavailable } from "./InFlightCommands.ts"

/** Defects that one command may cause before it fails with them. */
const defectsMax = 2

/** Nothing was done: the account left this node while the command of another node waited for it. */
export class AccountMoved extends Unavailable {}

const accountMoved = Exit.fail(new AccountMoved({ what: "this account", reason: "it moved to another node" }))

/** Who sent a command. Each has both fields, so that all objects have one shape. */
export interface Sender {
  /** Of a batch. */
  readonly order: KeptOrder | undefined
  /**
   * Of another node, which sends the command to the next owner if the account leaves: how many shards had come to this node when the
   * command did.
   */
  readonly forwardedAfter: number | undefined
}

/** A caller of this node that gave it one command. */
export const host: Sender = { order: undefined, forwardedAfter: undefined }

/** A batch or another node: it waits for some answers before it sends more. */
export const isSelfLimiting = ({ order, forwardedAfter }: Sender): boolean =>
  order !== undefined || forwardedAfter !== undefined

/** A caller whose command is submitted anew, since another one that had its id was refused. */
interface Contender {
  readonly command: Command
  readonly hash: string | undefined
  readonly reply: Reply
  readonly sender: Sender
  readonly deadline: number
}

export class CommandExecutor extends Context.Service<
  CommandExecutor,
  {
    /**
     * Takes a command in, or replies at once why not. `reply` is called exactly once, by `deadline` (`LedgerClock.elapsedUnsafe`;
     * `commandDeadlineMs` from now where it is absent). Answers what is in flight under its id by then: the command itself, the same
     * one that was sent before, or another; undefined where it is none of these and was replied to at once.
     */
    readonly submit: (
      command: Command,
      reply: Reply,
      sender: Sender,
      deadline?: number
    ) => PendingCommand | undefined
    /** Takes commands out of the queue for good, and tells their callers why; what was decided on them is decided again. */
    readonly withdraw: (unsent: ReadonlySet<PendingCommand>, reason: string) => void
  }
>()("chronicle/actors/CommandExecutor") {
  /** Starts the commit lanes. */
  static readonly layer = Layer.effect(
    CommandExecutor,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const context = yield* Effect.context<Parts>()
  const run = yield* FiberSet.makeRuntime<never>()
  const executor = new Executor(context, yield* LedgerConfig, yield* Placement, run)
  yield* executor.pipeline.start((result) => executor.handle(result))
  return CommandExecutor.of({
    submit: (command, reply, sender, deadline) => executor.submit(command, reply, sender, deadline),
    withdraw: (unsent, reason) => executor.withdraw(unsent, reason)
  })
})

type Parts =
  | AccountRegistry
  | AcquireAccounts
  | AdmissionControl
  | CommitPipeline
  | CommitQueue
  | Deduplication
  | InFlightCommands
  | LedgerClock
  | WriterRegistry

/** The actors of a command in the order of its accounts, as far as they were found in memory. */
type Known = ReadonlyArray<AccountActor | undefined> | undefined

class Executor {
  readonly pipeline: CommitPipeline["Service"]
  readonly #limits: LedgerLimits
  readonly #placement: Placing
  readonly #clock: LedgerClock["Service"]
  readonly #registry: AccountRegistry["Service"]
  readonly #accounts: AcquireAccounts["Service"]
  readonly #admission: AdmissionControl["Service"]
  readonly #deduplication: Deduplication["Service"]
  readonly #inFlight: InFlightCommands
  readonly #queue: CommitQueue
  readonly #writers: WriterRegistry["Service"]
  readonly #continue: Continuation = (command, exit) =>
    this.#inFlight.attempt(command, () => this.#resume(command, exit))
  /** How many commands it took in. */
  #places = 0
  /**
   * Commands to resume: their wait for another command ended, their decision was undone, or the last turn had no time left for them. And
   * those to submit anew.
   */
  #due: Array<PendingCommand | Contender> = []
  /** The one of them that is resumed just now. */
  #next: PendingCommand | Contender | undefined = undefined
  /** Commands were resumed in this turn of the event loop, which go on until then. */
  #turnEndsAt = Number.NEGATIVE_INFINITY
  #isInTurn = false
  readonly #run: (effect: Effect.Effect<void>) => void

  constructor(
    context: Context.Context<Parts>,
    limits: LedgerLimits,
    placement: Placing,
    run: (effect: Effect.Effect<void>) => void
  ) {
    this.#run = run
    this.#limits = limits
    this.#placement = placement
    this.pipeline = Context.get(context, CommitPipeline)
    this.#clock = Context.get(context, LedgerClock)
    this.#registry = Context.get(context, AccountRegistry)
    this.#accounts = Context.get(context, AcquireAccounts)
    this.#admission = Context.get(context, AdmissionControl)
    this.#deduplication = Context.get(context, Deduplication)
    this.#inFlight = Context.get(context, InFlightCommands.Service)
    this.#queue = Context.get(context, CommitQueue.Service)
    this.#writers = Context.get(context, WriterRegistry)
  }

  submit(
    command: Command,
    reply: Reply,
    sender: Sender,
    until?: number,
    knownHash?: string
  ): PendingCommand | undefined {
    const now = this.#clock.elapsedUnsafe()
    const deadline = until ?? now + this.#limits.commandDeadlineMs
    let hash = knownHash
    // Only when it is needed: in an overload most commands are refused, and it is most of what a refusal would cost.
    const hashOf = () => {
      hash ??= hashCommand(command)
      return hash
    }
    const found = this.#deduplication.find(command, hashOf)
    const { order, forwardedAfter } = sender
    switch (found._tag) {
      case "InFlight":
        if (forwardedAfter !== undefined) found.pending.markForwarded(forwardedAfter)
        if (order !== undefined) found.pending.shareOrder(order)
        // What comes behind it in its batch must not overtake it, whether this caller waits for it or not.
        if (this.#isCrowded) this.#replyAtOnce(indeterminate(found.pending), reply)
        else {
          this.#inFlight.outcomes.joined++
          this.#inFlight.join(found.pending, reply, deadline)
        }
        return found.pending
      case "Contested":
        if (this.#isCrowded) return this.#replyAtOnce(this.#admission.overloaded(wholeNode).exit, reply)
        this.#inFlight.join(
          found.pending,
          (exit) => this.#afterOther({ command, hash, reply, sender, deadline }, exit),
          deadline
        )
        return found.pending
      case "Remembered":
        return this.#replyAtOnce(found.exit, reply)
      case "Unknown":
    }
    // The other node is to ask the next owner.
    if (this.#inFlight.isClosing && forwardedAfter !== undefined)
      return this.#replyAtOnce(accountMoved, reply)
    const trouble = this.#inFlight.isClosing ? "it is closing" : this.#writers.refusal()
    if (trouble !== undefined) return this.#replyAtOnce(unavailable("this node", trouble), reply)
    const accounts = accountsOf(command)
    const actors = accounts.map(this.#registry.peek)
    const full = this.#admission.check(accounts, actors, isSelfLimiting(sender), now)
    if (full !== undefined) return this.#replyAtOnce(full, reply)
    const pending = new PendingCommand(command, hashOf(), deadline, accounts, this.#continue)
    if (isOfHotAccount(actors)) pending.markOfHotAccount()
    if (forwardedAfter !== undefined) pending.markForwarded(forwardedAfter)
    pending.takePlace(++this.#places, order)
    pending.replyTo(reply)
    this.#inFlight.add(pending)
    this.#begin(pending, now, actors)
    return pending
  }

  #begin(pending: PendingCommand, now: number, actors: Known): void {
    this.#inFlight.attempt(pending, () => {
      if (!this.#deduplication.mustCheckLogFirst(now)) return this.#execute(pending, now, actors)
      // Those behind it in its batch are looked up meanwhile, with it: one after another they would take a query each.
      pending.order?.add(pending)
      this.#deduplication.lookUp(pending)
    })
  }

  /** As many callers wait for commands that were sent before as commands may be in flight: the bound of those says nothing of these. */
  get #isCrowded(): boolean {
    return this.#inFlight.joined >= this.#limits.inFlightMax
  }

  /**
   * The command that had its id was answered. Where that one was refused, the id is free, or it is this very command that
   * was accepted under it before. While that is open, so is the outcome of this one. Thousands may have waited for the one id.
   */
  #afterOther(contender: Contender, other: CommandExit): void {
    if (other._tag === "Success") this.#replyAtOnce(reused(contender.command.commandId), contender.reply)
    else if (leavesOutcomeOpen(other)) this.#replyAtOnce(other, contender.reply)
    else {
      this.#inFlight.beginTurn()
      this.#dueNextTurn(contender)
    }
  }

  /** Answers a command that does not become one of those in flight. */
  #replyAtOnce(exit: CommandExit, reply: Reply): undefined {
    this.#inFlight.outcomes.note(exit)
    reply(exit)
  }

  /** An account is in memory now, or the log was asked for the id: the command goes on, or ends with what was found. */
  #resume(command: PendingCommand, found: FoundExit | undefined): void {
    if (found !== undefined) {
      const exit = this.#exitOf(found)
      if (Option.exists(Exit.findErrorOption(exit), saysNothingWasDone))
        this.#inFlight.completeUnwritten(command, exit)
      else this.#inFlight.complete(command, exit)
    } else if (command.rejection === undefined) this.#execute(command, this.#clock.elapsedUnsafe(), undefined)
    // Its id was looked up once more, and the log does not have it.
    else this.#inFlight.complete(command, Exit.fail(command.rejection))
  }

  #exitOf(found: FoundExit): CommandExit {
    if (found === "PeerBusy") return this.#admission.peerBusy().exit
    return found === "LookupsFull" ? this.#admission.lookupsFull().exit : found
  }

  /** Decides and queues the command if all its accounts are at hand; else it waits, and is resumed. */
  #execute(command: PendingCommand, elapsedMs: number, known: Known): void {
    if (command.phase === "done") return
    const refusal = this.#writers.refusal()
    if (refusal !== undefined) return this.#inFlight.failUnwritten(command, "this node", refusal)
    // Before ownership is looked at: a process that stops in between must not decide at an instant when it owns nothing.
    const now = this.#clock.nowUnsafe()
    if (this.#isForAnotherOwner(command)) return this.#inFlight.completeUnwritten(command, accountMoved)
    if (command.accounts.length > this.#limits.residentsMax) {
      command.refuse(tooManyAccounts(command.accounts.length, this.#limits.residentsMax))
      return this.#deduplication.lookUp(command)
    }
    const before = command.order?.before(command)
    if (before !== undefined) return this.#waitFor(before, command)
    // There was room when it came; thousands may have waited for the same account, or for the log.
    if (this.#admission.isHeavy())
      return this.#inFlight.completeUnwritten(command, this.#admission.overloaded(wholeNode).exit)
    const actors = this.#localActors(command, elapsedMs, known) ?? this.#accounts.acquire(command, elapsedMs)
    if (actors === "waiting") return
    if (actors === "noMemory") {
      return this.#inFlight.completeUnwritten(command, this.#admission.overloaded("memory for accounts").exit)
    }
    if (command.command._tag === "CaptureHold" && this.#addDestination(command, actors)) {
      return this.#execute(command, elapsedMs, undefined)
    }
    if (this.#hasToWaitForTurn(command, elapsedMs, known)) return this.#putOff(command, actors)
    const decided = Result.try(() => command.decide(actors, now, this.#limits.batchBytesMax))
    if (Result.isFailure(decided)) return this.#crash(command, actors, decided.failure)
    this.#queue.push(command)
    command.releaseLocks("decided")
    command.noteDecided()
    this.pipeline.wake()
  }

  /**
   * One of its batch that stands before it has to be decided first. It holds no locks meanwhile: so no command that may wait for a lock
   * waits for it, and none waits for ever.
   */
  #waitFor(before: Placed, command: PendingCommand): void {
    command.releaseLocks()
    before.whenDecided(() => this.#goOn([command]))
  }

  /** Thousands may have waited for an account, and are resumed at once. */
  #hasToWaitForTurn(command: PendingCommand, elapsedMs: number, known: Known): boolean {
    if (command === this.#next) return false
    // One that comes now is decided after those on its accounts that wait for their turn, where this node owns these.
    if (known !== undefined) return this.#due.length > 0 && known.some((actor) => actor?.isPinned === true)
    if (this.#isInTurn) return elapsedMs >= this.#turnEndsAt
    this.#isInTurn = true
    this.#turnEndsAt = elapsedMs + turnMs
    this.#inNextTurn(() => {
      this.#isInTurn = false
    })
    return false
  }

  /**
   * The command has all its accounts but waits for its turn. It pins them, so that no node leases one before the commands that came earlier
   * are decided.
   */
  #putOff(command: PendingCommand, actors: ReadonlyArray<AccountActor>): void {
    if (command.locks.length === 0) this.#accounts.keep(command, actors)
    this.#dueNextTurn(command)
  }

  #dueNextTurn(one: PendingCommand | Contender): void {
    const isUnderWay = this.#due.length > 0
    this.#due.push(one)
    if (!isUnderWay) this.#inNextTurn(() => this.#decideDue())
  }

  #inNextTurn(goOn: () => void): void {
    this.#run(Effect.andThen(Effect.yieldNow, Effect.sync(goOn)))
  }

  /** One after another: each may end the wait of the next, and the stack has no room for thousands of them. */
  #goOn(commands: ReadonlyArray<PendingCommand>): void {
    const isUnderWay = this.#due.length > 0
    for (const command of commands) this.#due.push(command)
    if (!isUnderWay) this.#decideDue()
  }

  /** In short turns: thousands of large commands take seconds to decide, in which a node would lose its shards. */
  #decideDue(): void {
    const turnEndsAt = this.#clock.elapsedUnsafe() + turnMs
    for (const [nth, one] of this.#due.entries()) {
      if (nth > 0 && this.#clock.elapsedUnsafe() >= turnEndsAt) {
        this.#due = this.#due.slice(nth)
        return this.#inNextTurn(() => this.#decideDue())
      }
      this.#next = one
      // What one throws, a bug of this program, keeps no other: they would wait for ever.
      if (one instanceof PendingCommand) this.#inFlight.attempt(one, () => one.resume())
      else this.#submitAnew(one)
      this.#next = undefined
    }
    this.#due = []
  }

  #submitAnew({ command, reply, sender, deadline, hash }: Contender): void {
    this.#inFlight.endTurn()
    const submitted = Result.try(() => this.submit(command, reply, sender, deadline, hash))
    if (Result.isFailure(submitted)) Result.try(() => reply(Exit.die(submitted.failure)))
  }

  /**
   * True where the node that forwarded the command must ask the next owner. Also where this node owns the shard again: another one may have
   * refused the command meanwhile, and that must stay true.
   */
  #isForAnotherOwner({ accounts, forwardedAfter }: PendingCommand): boolean {
    if (forwardedAfter === undefined) return false
    const first = accounts[0] as AccountId // a command has one
    const shard = this.#placement.shardOf(first)
    if (this.#registry.cameAfter(shard, forwardedAfter)) return true
    if (this.#placement.owns(first)) return false
    this.#registry.noteDoubt(shard)
    return true
  }

  /**
   * Where only the hold says which account a capture pays, the command is executed again with that account: its locks are
   * taken anew, in the one order of all nodes. A hold never changes where it pays. False where there is nothing to add.
   */
  #addDestination(command: PendingCommand, actors: ReadonlyArray<AccountActor>): boolean {
    const payer = actors[0]
    if (payer === undefined || command.command._tag !== "CaptureHold") return false
    const to = destinationInState(command.command, payer.speculative.account)
    if (to === undefined || command.accounts.includes(to)) return false
    command.releaseLocks()
    command.addAccount(to)
    return true
  }

  /** The common case: all accounts are of this node, not leased, and in memory or about to be. */
  #localActors(command: PendingCommand, elapsedMs: number, known: Known): Acquired | undefined {
    if (command.locks.length > 0) return undefined
    const { accounts } = command
    // Of its final size at once: the first push would make room for seventeen.
    const actors = new Array<AccountActor>(accounts.length)
    let loading: AccountActor | undefined
    for (let nth = 0; nth < accounts.length; nth++) {
      const id = accounts[nth] as AccountId // the index is below the length
      if (!this.#placement.owns(id)) return undefined
      const actor = this.#actorOf(id, elapsedMs, known?.[nth])
      if (actor === undefined) return "noMemory"
      if (actor.phase === "leasing" || actor.phase === "leased") return undefined
      if (actor.phase !== "ready") loading ??= actor
      actors[nth] = actor
    }
    if (loading === undefined) return actors
    loading.wait(command)
    return "waiting"
  }

  /** One that is known may have been evicted to make room for another account of the same command. */
  #actorOf(id: AccountId, elapsedMs: number, known: AccountActor | undefined): AccountActor | undefined {
    if (known === undefined || known.phase === "evicted") return this.#registry.get(id, elapsedMs)
    known.touch(elapsedMs)
    return known
  }

  /** A decision threw. The actors are rebuilt from the log, and what was decided on them is decided again. */
  #crash(command: PendingCommand, actors: ReadonlyArray<AccountActor>, defect: unknown): void {
    command.noteAttempt()
    const stale = new Set(actors)
    const evicted = this.#queue.evict((one) => one.participants.some((actor) => stale.has(actor)))
    const reloaded = this.#reload(stale)
    this.#lineUp(evicted)
    if (command.attempts >= defectsMax) this.#inFlight.complete(command, Exit.die(defect))
    this.#decideAgain([...evicted, command])
    throwFirst(reloaded)
  }

  /** What became of a batch: commands are answered, or go on. */
  handle(result: BatchResult): void {
    switch (result._tag) {
      case "Committed":
        return throwFirst(this.#each(result.commands, (command) => this.#committed(command)))
      case "Evicted":
        return throwFirst(
          Result.try(() => this.#retry(result.commands, result.stale)),
          this.#each(result.duplicates, (command) => this.#duplicate(command))
        )
      case "Lost": {
        // First of all: an account that another node had leased to this one must not be returned as unchanged.
        const reloaded = this.#reload(result.stale)
        this.#lineUp(result.others)
        return throwFirst(
          reloaded,
          this.#each(result.commands, (command) => this.#inFlight.complete(command, indeterminate(command))),
          Result.try(() => this.#decideAgain(result.others))
        )
      }
    }
  }

  /**
   * Each also behind one that throws, a bug of this program: they are in no batch any more, so no other step would answer them with what is
   * known of them. Answers the first of what they threw.
   */
  #each(commands: ReadonlyArray<PendingCommand>, step: (command: PendingCommand) => void): Steps {
    let all: Steps = Result.void
    for (const command of commands) {
      const done = Result.try(() => step(command))
      if (Result.isSuccess(done)) continue
      this.#inFlight.complete(command, Exit.die(done.failure))
      if (Result.isSuccess(all)) all = done
    }
    return all
  }

  #committed(command: PendingCommand): void {
    const { participants, rejection } = command
    if (rejection === undefined) {
      const receipt = receiptOf(command)
      this.#deduplication.remember(command, receipt)
      this.#inFlight.complete(command, Exit.succeed(receipt))
    } else if (command.phase !== "done") {
      command.recheck()
      this.#deduplication.lookUp(command)
    }
    for (const actor of participants) if (actor.phase !== "ready") this.#registry.noteSettled(actor)
  }

  /** Its id is in the log: its first outcome is read from there. */
  #duplicate(command: PendingCommand): void {
    command.markRepeat()
    command.releaseLocks()
    this.#deduplication.noteRepeat(this.#clock.elapsedUnsafe())
    this.#deduplication.lookUp(command)
    this.#noteSettled(command)
  }

  withdraw(unsent: ReadonlySet<PendingCommand>, reason: string): void {
    const isUnsent = (command: PendingCommand) => unsent.has(command)
    const evicted = this.#queue.evict(isUnsent, undefined, isUnsent)
    this.#lineUp(evicted.filter((command) => !isUnsent(command)))
    for (const command of evicted.filter(isUnsent))
      this.#inFlight.failUnwritten(command, "event store", reason)
    this.#decideAgain(evicted)
  }

  /** Executes evicted commands again, in their order, after the stale actors are reloaded. */
  #retry(commands: ReadonlyArray<PendingCommand>, stale: ReadonlySet<AccountActor>): void {
    const reloaded = this.#reload(stale)
    this.#decideAgain(commands)
    throwFirst(reloaded)
  }

  #reload(actors: Iterable<AccountActor>): Steps {
    return tryAll(actors, (actor) => this.#accounts.reload(actor))
  }

  /**
   * Commands that lost their decision stand in line, in which they are until they are decided again. To be called before any other command is
   * answered: its caller may go on at once, with what stands behind them in their batch.
   */
  #lineUp(commands: ReadonlyArray<PendingCommand>): void {
    this.#attemptEach(commands, (command) => {
      if (command.isOpen) command.order?.add(command)
    })
  }

  #attemptEach(commands: ReadonlyArray<PendingCommand>, step: (command: PendingCommand) => void): void {
    for (const command of commands) this.#inFlight.attempt(command, step)
  }

  /**
   * Each stands in line before anything goes on: a command that waits for an account which is loaded or leased anew must not be overtaken
   * on its others by those behind it in its batch, whether they lost their decision too, or come only now.
   */
  #decideAgain(commands: ReadonlyArray<PendingCommand>): void {
    this.#lineUp(commands)
    this.#attemptEach(commands, (command) => command.releaseLocks())
    // An account is leased at once where another node waits for it: what that one holds may be waited for here.
    this.#attemptEach(commands, (command) => this.#noteSettled(command))
    const isOver = ({ attempts }: PendingCommand) => attempts > this.#limits.redecideMax
    for (const command of commands.filter(isOver)) {
      const reason = `met other writers ${command.attempts} times over`
      this.#inFlight.failUnwritten(command, "this account", reason)
    }
    this.#goOn(commands)
    this.pipeline.wake()
  }

  #noteSettled({ accounts }: PendingCommand): void {
    for (const id of accounts) {
      const actor = this.#registry.peek(id)
      if (actor !== undefined) this.#registry.noteSettled(actor)
    }
  }
}

/** What came of steps that are all taken, whatever one of them throws. */
type Steps = Result.Result<void, unknown>

/** Throws the first of what they threw. */
const throwFirst = (...all: ReadonlyArray<Steps>): void => {
  for (const steps of all) Result.getOrThrow(steps)
}

/** There would never be room for all of them at once, however long its caller waits. */
const tooManyAccounts = (accounts: number, residentsMax: number): InvalidCommand =>
  new InvalidCommand({
    faults: [
      {
        path: [],
        message: `must name ${residentsMax} accounts at most, as many as a node holds in memory (CHRONICLE_RESIDENTS_MAX), not ${accounts}`
      }
    ]
  })

/** What became of it is not known, or it was not looked at. */
const leavesOutcomeOpen = (exit: CommandExit): boolean =>
  Result.match(Exit.findError(exit), {
    onSuccess: (error) => saysNothingWasDone(error) || error._tag === "Indeterminate",
    onFailure: () => true
  })
