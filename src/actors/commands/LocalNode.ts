/** What this node does as the owner of accounts, for its own callers and for the other nodes that ask it. */
import { Array as Arr, Context, Effect, Exit, Layer, Option, Result, Schedule } from "effect"
import { mayTouchAny, overtakenOf } from "../../domain/BatchOrder.ts"
import { accountsOf, type Command, firstAccountOf } from "../../domain/Command.ts"
import { Indeterminate, type Unavailable } from "../../domain/Errors.ts"
import { hashCommand } from "../../domain/HashChain.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { FormerTenure } from "../../infra/cluster/ShardTenures.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { turnMs } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { AccountRegistry } from "../accounts/AccountRegistry.ts"
import { KeptOrder } from "../accounts/KeptOrder.ts"
import { LeaseClient } from "../accounts/LeaseClient.ts"
import { LeaseServer } from "../accounts/LeaseServer.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { CommandExit, PendingCommand, Reply } from "../accounts/Lifecycle.ts"
import {
  type Answer,
  type LeaseGrant,
  type LeaseRefused,
  NotMine,
  Placement,
  type ToldHead
} from "../accounts/Placement.ts"
import { AdmissionControl } from "./AdmissionControl.ts"
import { withheld } from "./BatchUnderWay.ts"
import { AccountMoved, CommandExecutor, type Sender } from "./CommandExecutor.ts"
import { Deadlines } from "./Deadlines.ts"
import { Deduplication } from "./Deduplication.ts"
import { InFlightCommands, unavailable } from "./InFlightCommands.ts"
import { makeWhyLate } from "./WhyLate.ts"

/** How often a batch looks whether there is room for more of it, in milliseconds. */
const roomLookMs = 5

/** Commands of one batch that may stand in line before the last of them is waited for, by the accounts that they have. */
const inLineMax = 200

/** Accounts of a batch that are asked for at once, as many as are read at once: to ask for a hundred thousand takes seconds. */
const loadsAtOnce = 1_000
/** Into so many shares of time at most the wait for the accounts of a batch is cut, one for each part that is read at once. */
const loadSharesMax = 5

/** How often a shard that leaves looks whether nothing of it is in use any more, in milliseconds. */
const leaveLookMs = 5

export class LocalNode extends Context.Service<
  LocalNode,
  {
    /** False also while the node closes: another is to be asked. */
    readonly owns: (account: AccountId) => boolean
    /**
     * Submits commands in order, each of which is decided after those before it, and after those of an earlier call with the same order;
     * their replies are still to be waited for.
     */
    readonly submitAll: (commands: ReadonlyArray<Command>, sender: Sender) => Effect.Effect<Replies>
    /** One command of another node, in the same way; `Moved` where its first account is not of this node. */
    readonly decide: (command: Command, reply: (answer: Answer) => void) => void
    /**
     * Commands of another node; those whose first account is not of this node are `Moved`. `isAgain`: they were sent before, and some have no
     * answer. One that was refused then may be accepted now, so where one behind it has an account in common and has taken effect it is not
     * decided, and `Unknown`.
     */
    readonly dispatch: (
      commands: ReadonlyArray<Command>,
      isAgain: boolean
    ) => Effect.Effect<ReadonlyArray<Answer>>
    /** The committed head of an account of this node, from its actor, and this node's instant. */
    readonly headOf: (account: AccountId) => Effect.Effect<ToldHead, NotMine | Unavailable>
    /** The same, for another node: not while this one closes. */
    readonly head: (account: AccountId) => Effect.Effect<ToldHead, NotMine | Unavailable>
    /**
     * Leases an account to another node, in its turn. `reply` is called once; calling what this returns withdraws the
     * request. No fiber, since most of what nodes ask of each other comes this way.
     */
    readonly requestLease: (
      account: AccountId,
      lease: string,
      reply: (granted: Exit.Exit<LeaseGrant, LeaseRefused>) => void
    ) => (() => void) | undefined
    readonly release: LeaseServer["Service"]["release"]
    /**
     * A shard is this node's from now on. Unless its former owners left it clean, its accounts are loaded
     * only when nothing of theirs can still be written to it (OwnershipBarrier.ts).
     */
    readonly enter: (shard: number, former: FormerTenure) => void
    /**
     * Shards are not this node's any more: waits, bounded, for what is in flight on them, and evicts them. Answers
     * whether nothing of this node, or of one that it leased an account to, can still be written to them.
     */
    readonly leave: (shards: ReadonlySet<number>) => Effect.Effect<boolean>
    /**
     * `held`: accounts of other nodes that this one decides on just now, or waits for; `expired`: accounts that
     * were leased to others and not returned in time, since the start.
     */
    readonly leases: () => { readonly held: number; readonly expired: number }
    /** Takes no further command, and waits until every admitted one is answered. */
    readonly close: Effect.Effect<void>
  }
>()("chronicle/actors/LocalNode") {
  static readonly layer = Layer.effect(
    LocalNode,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const placement = yield* Placement
  const cluster = yield* ClusterConfig
  const registry = yield* AccountRegistry
  const leaseServer = yield* LeaseServer
  const leaseClient = yield* LeaseClient
  const inFlight = yield* InFlightCommands.Service
  const deadlines = yield* Deadlines
  const executor = yield* CommandExecutor
  const headOf = yield* makeHeadOf
  const submitAll = yield* makeSubmitAll(headOf)

  const owns = (account: AccountId): boolean => placement.owns(account) && !inFlight.isClosing

  return LocalNode.of({
    owns,
    submitAll,
    dispatch: yield* makeDispatch(owns, submitAll),
    headOf,
    head: (account) => Effect.suspend(() => (owns(account) ? headOf(account) : notMine)),
    decide: (command, reply) => {
      if (owns(firstAccountOf(command)))
        executor.submit(command, (exit) => reply(answerTo(command, exit)), {
          order: undefined,
          forwardedAfter: registry.arrivals()
        })
      else reply({ _tag: "Moved" })
    },
    // Also while this node settles what it has admitted: that may wait for what a command of the node that asks holds. Not once all is
    // settled: each shard that is to be left would wait for leases granted meanwhile.
    requestLease: yield* makeRequestLease(
      (account) => placement.owns(account) && !(inFlight.isClosing && inFlight.isIdle)
    ),
    release: leaseServer.release,
    enter: (shard, { isClean, strangers }) => {
      // Its holder may have been certain of it for the time of a lease after its lock had gone (HeldLocks.ts), and leased an account then.
      if (!isClean) registry.bar({ on: shard, leaseMs: 2 * cluster.leaseMs, strangers })
      registry.invalidate(shard)
      leaseClient.invalidateShard(shard)
    },
    leave: (shards) =>
      Effect.suspend(() => {
        // Once: a shard that is not owned is held anew by no command.
        for (const command of inFlight.commands())
          if (isHolding(command, shards)) inFlight.attempt(command, () => command.releaseLocks())
        return Effect.repeat(
          Effect.sync(() => registry.evictNotOwned((shard) => shards.has(shard))),
          { until: (inUse) => inUse === 0, schedule: Schedule.spaced(leaveLookMs) }
        )
      }).pipe(
        Effect.timeoutOption(cluster.drainMs),
        Effect.map((drained) => Option.isSome(drained) && ![...shards].some(registry.isBarred))
      ),
    leases: () => ({ held: leaseClient.size(), expired: leaseServer.expired() }),
    close: Effect.suspend(() => {
      inFlight.close()
      return deadlines.drain
    })
  })
})

/** Leases accounts that `owns` says are this node's to tell. */
const makeRequestLease = Effect.fnUntraced(function* (owns: (account: AccountId) => boolean) {
  const cluster = yield* ClusterConfig
  const leaseServer = yield* LeaseServer
  const admission = yield* AdmissionControl
  const requestLease: LocalNode["Service"]["requestLease"] = (account, lease, reply) => {
    if (!owns(account)) {
      reply(notMineExit)
      return undefined
    }
    return leaseServer.requestLease(account, lease, (granted) => {
      if (granted === "noMemory")
        return reply(admission.overloaded("memory for accounts", cluster.leaseMs).exit)
      if (Exit.isFailure(granted) || owns(account)) return reply(granted)
      // While the request waited, the account has gone: its head is no longer this node's to tell.
      leaseServer.release(account, lease, { _tag: "Unchanged" })
      reply(notMineExit)
    })
  }
  return requestLease
})

const openCommit = "a commit of the account is on its way, and whether it has landed is not known yet"

/**
 * Reads the committed head of an account of this node from its actor, once that is loaded and no commit of the account is on its
 * way: such a commit may have landed, and a reader of the log may know of it already.
 */
const makeHeadOf = Effect.gen(function* () {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const placement = yield* Placement
  const registry = yield* AccountRegistry
  const whyLate = yield* makeWhyLate

  /**
   * In the very step in which the head is the last one: what is decided next is recorded at this instant or later, so that holds which
   * have expired by then expired for that too. The clock of another node may be ahead, and would have a hold expire that is captured next.
   */
  const told = (head: Head): ToldHead => ({ head, at: Math.max(clock.nowUnsafe(), head.recordedAt) })

  const read = (account: AccountId): Effect.Effect<ToldHead, Unavailable> =>
    Effect.callback<ToldHead, Unavailable>((resume) => {
      const actor = registry.get(account, clock.elapsedUnsafe())
      if (actor === undefined) return resume(unavailable("this node", "memory for accounts is full"))
      if (actor.isTellable) return resume(Exit.succeed(told(actor.committed)))
      const forget = actor.addReader((head) => resume(Exit.map(head, told)))
      return Effect.sync(forget)
    }).pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () =>
          registry.peek(account)?.batch === undefined
            ? whyLate.ofHead(account)
            : unavailable("event store", openCommit)
      })
    )
  /** While this node waited, or was frozen, the account may have gone: what its actor holds is no answer then. */
  return (account: AccountId): Effect.Effect<ToldHead, NotMine | Unavailable> =>
    Effect.filterOrFail(
      read(account),
      () => placement.owns(account),
      () => new NotMine()
    )
})

/** How to wait, bounded, until the accounts of commands are in memory, so that a batch is decided in its order. */
const makeLoadAll = Effect.fnUntraced(function* (
  headOf: (account: AccountId) => Effect.Effect<ToldHead, NotMine | Unavailable>
) {
  const placement = yield* Placement
  const registry = yield* AccountRegistry
  const clock = yield* LedgerClock
  const { queryDeadlineMs } = yield* LedgerConfig
  return (commands: ReadonlyArray<Command>): Effect.Effect<void> => {
    const cold = new Set<AccountId>()
    for (const command of commands) {
      for (const id of accountsOf(command)) {
        if (registry.peek(id)?.isDecidable !== true && placement.owns(id)) cold.add(id)
      }
    }
    const until = clock.elapsedUnsafe() + queryDeadlineMs
    const parts = Arr.chunksOf(cold, loadsAtOnce)
    // One account that cannot be read leaves those of later parts some of the time; and of a store that is away no more is asked than that.
    const shareMs = queryDeadlineMs / Math.min(parts.length, loadSharesMax)
    const load = (part: ReadonlyArray<AccountId>) =>
      Effect.suspend(() => {
        const leftMs = until - clock.elapsedUnsafe()
        if (leftMs <= 0) return Effect.void
        const all = Effect.forEach(part, (id) => Effect.ignore(headOf(id)), {
          concurrency: "unbounded",
          discard: true
        })
        return Effect.timeoutOption(all, Math.min(shareMs, leftMs))
      })
    // One part after another: with a bound of its own, effect interrupts all that are under way within each other, for which the stack has no room.
    return Effect.forEach(parts, load, { discard: true })
  }
})

/** A command of a batch that is not decided: of its own, or the same one that another caller had sent before. */
interface Undecided {
  readonly pending: PendingCommand
  /** When the batch submitted it. */
  readonly sinceMs: number
}

/** What a batch waits for, until one of its commands had no outcome in all its time: one after another they would take as long each. */
class Patience {
  readonly #deadlineMs: number
  readonly #elapsedMs: () => number
  #isOver = false

  constructor(deadlineMs: number, elapsedMs: () => number) {
    this.#deadlineMs = deadlineMs
    this.#elapsedMs = elapsedMs
  }

  get isOver(): boolean {
    return this.#isOver
  }

  waitFor({ pending, sinceMs }: Undecided): Effect.Effect<void> {
    if (this.#isOver || !pending.isOpen) return Effect.void
    return Effect.map(decided(pending), () => {
      if (pending.phase === "done") this.noteWait(sinceMs)
    })
  }

  /** The wait for a command is over. How long that was goes by when the batch submitted it: another caller may have sent it long before. */
  noteWait(sinceMs: number): void {
    this.#isOver ||= this.#elapsedMs() - sinceMs >= this.#deadlineMs
  }
}

const makeSubmitAll = Effect.fnUntraced(function* (
  headOf: (account: AccountId) => Effect.Effect<ToldHead, NotMine | Unavailable>
) {
  const { commandDeadlineMs } = yield* LedgerConfig
  const executor = yield* CommandExecutor
  const clock = yield* LedgerClock
  const loadAll = yield* makeLoadAll(headOf)
  const paced = yield* makePacing
  const { waitsForId, submitKnown } = yield* makeStuck

  return Effect.fnUntraced(function* (commands: ReadonlyArray<Command>, sender: Sender) {
    const replies = new Replies(commands.length, clock.elapsedUnsafe)
    /**
     * Of each account the last submitted command that is still loading; not those in a KeptOrder line, for which later ones wait in the
     * executor.
     */
    const undecided = new Map<AccountId, Undecided>()
    let isLoaded = false
    /** How many accounts those have that stand in line since one was waited for. */
    let inLine = 0
    const patience = new Patience(commandDeadlineMs, clock.elapsedUnsafe)
    const pauseBefore = paced(sender)
    for (let nth = 0; nth < commands.length; nth++) {
      const command = commands[nth] as Command // the index is below the length
      // Mostly all accounts are in memory, and each command is decided as it is submitted.
      if (undecided.size > 0)
        for (const before of undecidedBefore(command, undecided)) yield* patience.waitFor(before)
      if (patience.isOver && (hasToWait(command, undecided) || waitsForId(command))) {
        const sinceMs = clock.elapsedUnsafe()
        const pending = submitKnown(command, replies.replyTo(nth), sender)
        if (pending?.phase === "loading")
          for (const id of pending.accounts) undecided.set(id, { pending, sinceMs })
        continue
      }
      for (let pause = pauseBefore(command); pause !== undefined; pause = pauseBefore(command)) yield* pause
      const sinceMs = clock.elapsedUnsafe()
      const pending = executor.submit(command, replies.replyTo(nth), sender)
      if (pending !== undefined && isContested(command, pending)) {
        // It may be decided yet, once the other is refused: what follows it must not overtake it on its accounts.
        yield* replies.answered(nth)
        patience.noteWait(sinceMs)
        continue
      }
      if (pending?.phase !== "loading") {
        if (undecided.size > 0)
          for (const id of pending?.accounts ?? accountsOf(command)) undecided.delete(id)
        continue
      }
      if (!pending.isInLine) {
        const one = { pending, sinceMs }
        if (mayTouchAny(command)) yield* patience.waitFor(one)
        for (const id of pending.accounts) undecided.set(id, one)
      } else {
        inLine += pending.accounts.length
        // They are not decided, so it is not known what memory they will take.
        if (inLine >= inLineMax) {
          yield* patience.waitFor({ pending, sinceMs })
          inLine = 0
        }
      }
      // Only now, as no look at the accounts is needed where all are in memory; all at once, since one by one would take long.
      if (!isLoaded) yield* loadAll(commands.slice(nth + 1))
      isLoaded = true
    }
    // What its caller submits next must not overtake them.
    for (const { pending } of undecided.values()) yield* decided(pending)
    return replies
  })
})

/** What a batch does with commands that would have to wait, where one before them was not decided in all its time. */
const makeStuck = Effect.gen(function* () {
  const executor = yield* CommandExecutor
  const inFlight = yield* InFlightCommands.Service
  const { isSettled } = yield* Deduplication
  return {
    /** What is in flight under its id is another command, which may be answered much later. */
    waitsForId: (command: Command): boolean => {
      const pending = inFlight.get(command.commandId)
      return pending !== undefined && isContested(command, pending)
    },
    /** What took effect before, or is under way by itself, is told. Nothing is decided that could come behind what is not. */
    submitKnown: (command: Command, reply: Reply, sender: Sender): PendingCommand | undefined => {
      if (isSettled(command)) return executor.submit(command, reply, sender)
      inFlight.outcomes.note(withheld.exit)
      reply(withheld.exit)
      return undefined
    }
  }
})

/**
 * How a batch is submitted: what it has to wait for before its next command, if anything; to be asked again after each wait. A thousand
 * large journals take seconds to decide. In so long a turn a node can confirm no lock, and others would take its shards; so each turn is
 * short. And where what is decided takes half the memory that it may, the batch waits until some of that is committed. It waits for so
 * long in all that its sender, which asks again after a while where it is another node, is told of it in time.
 */
const makePacing = Effect.gen(function* () {
  const admission = yield* AdmissionControl
  const { isKnown } = yield* Deduplication
  const clock = yield* LedgerClock
  const { commandDeadlineMs } = yield* LedgerConfig
  const { askMs } = yield* ClusterConfig
  return (sender: Sender) => {
    const begun = clock.elapsedUnsafe()
    const patienceEndsAt = begun + (sender.forwardedAfter === undefined ? commandDeadlineMs : askMs / 2)
    let turnEndsAt = begun + turnMs
    return (command: Command): Effect.Effect<void> | undefined => {
      const now = clock.elapsedUnsafe()
      // One that is known takes no room.
      const waitsForRoom = admission.isHalfFull() && now < patienceEndsAt && !isKnown(command.commandId)
      if (!waitsForRoom && now < turnEndsAt) return undefined
      return Effect.map(waitsForRoom ? Effect.sleep(roomLookMs) : Effect.yieldNow, () => {
        turnEndsAt = clock.elapsedUnsafe() + turnMs
      })
    }
  }
})

/** Decides commands of other nodes; `owns` says which are this node's to decide. */
const makeDispatch = Effect.fnUntraced(function* (
  owns: (account: AccountId) => boolean,
  submitAll: LocalNode["Service"]["submitAll"]
) {
  const registry = yield* AccountRegistry
  const overtakenIn = yield* makeOvertakenIn
  return Effect.fnUntraced(function* (commands: ReadonlyArray<Command>, isAgain: boolean) {
    const isOurs = commands.map((command) => owns(firstAccountOf(command)))
    const forwardedAfter = registry.arrivals()
    const overtaken = isAgain ? yield* overtakenIn(commands) : none
    const isDecided = (index: number) => isOurs[index] === true && !overtaken.has(index)
    const submitted = yield* submitAll(
      commands.filter((_, index) => isDecided(index)),
      { order: new KeptOrder(), forwardedAfter }
    )
    const exits = yield* submitted.all
    let next = 0
    return commands.map((command, index): Answer => {
      const exit = isDecided(index) ? exits[next++] : undefined
      if (exit !== undefined) return answerTo(command, exit)
      return isOurs[index] === true ? { _tag: "Unknown" } : moved
    })
  })
})

/** Which commands of a batch stand before one with an account in common that was accepted, or is under way, though they were not. */
const makeOvertakenIn = Effect.gen(function* () {
  const deduplication = yield* Deduplication
  const store = yield* EventStore
  return Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const found = yield* Effect.option(store.findCommands(commands.map(({ commandId }) => commandId)))
    // Without an answer of the log none may be decided.
    if (Option.isNone(found)) return new Set(commands.keys())
    const landed = new Set(found.value.map(({ commandId }) => commandId))
    return overtakenOf(commands, (index) => {
      const command = commands[index]
      if (command === undefined) return "open"
      return landed.has(command.commandId) || deduplication.isSettled(command) ? "settled" : "open"
    })
  })
})

type Resume<A> = (effect: Effect.Effect<A>) => void

/**
 * The replies to commands that are submitted together. A fiber waits once for all of them, which costs as much as for one.
 *
 * It keeps how the fiber is resumed, and no function of its own: one that is assigned to a field V8 makes in the old heap at once, so that all
 * receipts which it refers to are copied there, too.
 */
export class Replies {
  readonly #exits: Array<CommandExit>
  #open: number
  #awaited: { readonly nth: number; readonly resume: Resume<void> } | undefined
  #resume: Resume<ReadonlyArray<CommandExit>> | undefined
  readonly #elapsedMs: () => number
  #doneAtMs = 0

  constructor(size: number, elapsedMs: () => number) {
    this.#exits = new Array(size)
    this.#open = size
    this.#elapsedMs = elapsedMs
  }

  /** When the last of them came, which may be long before they are asked for. */
  get doneAtMs(): number {
    return this.#doneAtMs
  }

  replyTo(nth: number): Reply {
    return (exit) => {
      this.#exits[nth] = exit
      this.#open--
      if (this.#awaited?.nth === nth) this.#awaited.resume(Effect.void)
      if (this.#open > 0) return
      this.#doneAtMs = this.#elapsedMs()
      this.#resume?.(Effect.succeed(this.#exits))
    }
  }

  /** Waits for one of them. */
  answered(nth: number): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.#exits[nth] === undefined) this.#awaited = { nth, resume }
      else resume(Effect.void)
    })
  }

  /** Waits for all of them; in their order. */
  readonly all: Effect.Effect<ReadonlyArray<CommandExit>> = Effect.callback((resume) => {
    if (this.#open > 0) this.#resume = resume
    else resume(Effect.succeed(this.#exits))
  })
}

/** What a command of a batch has to wait for: those before it that may share an account with it. */
const undecidedBefore = (
  command: Command,
  undecided: ReadonlyMap<AccountId, Undecided>
): Iterable<Undecided> =>
  mayTouchAny(command)
    ? new Set(undecided.values())
    : accountsOf(command).flatMap((id) => undecided.get(id) ?? [])

/** It must not be submitted before others are decided, or what follows it not before it is decided itself. */
const hasToWait = (command: Command, undecided: ReadonlyMap<AccountId, Undecided>): boolean =>
  mayTouchAny(command) || [...undecidedBefore(command, undecided)].some(({ pending }) => pending.isOpen)

/** Another command has its id, which is free again where that one is refused. */
const isContested = (command: Command, pending: PendingCommand): boolean =>
  pending.command !== command && pending.commandHash !== hashCommand(command)

/** Waits until a command is decided, or answered. */
const decided = (pending: PendingCommand): Effect.Effect<void> =>
  Effect.callback((go) => pending.whenDecided(() => go(Effect.void)))

/**
 * It holds an account of these shards while it waits for another one, however long that takes. It has to acquire its accounts anew
 * where one of them has left.
 */
const isHolding = ({ phase, locks }: PendingCommand, shards: ReadonlySet<number>): boolean =>
  phase === "loading" && locks.some(({ actor, until }) => until === "decided" && shards.has(actor.shard))

const notMineExit = Exit.fail(new NotMine())
const notMine: Effect.Effect<never, NotMine> = notMineExit

const none: ReadonlySet<number> = new Set()

const moved: Answer = { _tag: "Moved" }

const answerTo = (command: Command, exit: CommandExit): Answer => {
  if (Exit.isSuccess(exit)) return { _tag: "Done", receipt: exit.value }
  return Result.match(Exit.findError(exit), {
    onSuccess: (error): Answer =>
      error instanceof AccountMoved ? { _tag: "Moved" } : { _tag: "Failed", error },
    // A defect stays here; the caller does not know more than that.
    onFailure: () => ({ _tag: "Failed", error: new Indeterminate({ commandId: command.commandId }) })
  })
}
