/** Tickets enter; each takes its turn as soon as all its actors are at hand, and leaves for the commit queue. */
import { Clock, Effect, Exit, Result } from "effect"
import { Unavailable } from "../../domain/Errors.ts"
import type { BrokenLog, Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { type AccountActor, decideOn } from "../accounts/AccountActor.ts"
import { makeAccountRegistry } from "../accounts/AccountRegistry.ts"
import { makeAcquireAccounts } from "../accounts/AcquireAccounts.ts"
import { makeLeaseClient } from "../accounts/LeaseClient.ts"
import { makeLeaseServer } from "../accounts/LeaseServer.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { CommandExit, PendingCommand } from "../accounts/Lifecycle.ts"
import { Placement } from "../accounts/Placement.ts"
import type { CommitQueue } from "../commit/CommitQueue.ts"
import { type InFlightCommands, indeterminate, unavailable } from "./InFlightCommands.ts"

/** Defects that one command may cause before it fails with them. */
const defectsMax = 2

/** Nothing was done: the account left while the command waited. */
export const movedAway = new Unavailable({ what: "this account", reason: "it moved to another node" })

export interface CommandExecutorOptions {
  readonly queue: CommitQueue
  readonly underWay: InFlightCommands
  /** Why commands must be refused now, or `undefined`. */
  readonly refusal: () => string | undefined
  readonly overloaded: (what: string) => CommandExit
  /** The queue has something new, or something less, which others may have waited for. */
  readonly onQueued: () => void
}

/** A ticket's actors, as far as they were found in memory. */
type Known = ReadonlyArray<AccountActor | undefined> | undefined
type AtHand = ReadonlyArray<AccountActor> | "waits" | "elsewhere"

/** Starts the loaders in the scope. */
export const makeCommandExecutor = Effect.fnUntraced(function* (options: CommandExecutorOptions) {
  const { queue, underWay } = options
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const wall = yield* Clock.Clock
  const placement = yield* Placement

  /** Finds the actors of a ticket; decides it when all may be decided on, else leaves it where it will be told. */
  const route = (ticket: PendingCommand): void => routeAt(ticket, clock.elapsedUnsafe(), undefined)

  /** The same, for a caller that asked the clock just now, and the residents (in order of the accounts). */
  const routeAt = (ticket: PendingCommand, elapsedMs: number, known: Known): void => {
    if (ticket.phase === "settled") return
    const refusal = options.refusal()
    if (refusal !== undefined) return underWay.failUnwritten(ticket, "this node", refusal)
    if (ticket.isForwarded && !placement.owns(ticket.accounts[0] as AccountId)) {
      return underWay.complete(ticket, ticket.isRepeat ? indeterminate(ticket) : Exit.fail(movedAway))
    }
    const found = ticket.locks.length === 0 ? atHand(ticket, elapsedMs, known) : "elsewhere"
    if (found === "waits") return
    const actors = found === "elsewhere" ? enlistment.acquire(ticket, elapsedMs) : found
    if (actors === undefined) return
    const turn = Result.try(() => decideOn(ticket, actors, clock.nowUnsafe()))
    if (Result.isFailure(turn)) return crash(ticket, actors, turn.failure)
    queue.push(ticket)
    ticket.release("decided")
    ticket.noteDecided()
    options.onQueued()
  }

  /** The common case: all accounts are ours, and in memory or about to be. */
  const atHand = (ticket: PendingCommand, elapsedMs: number, known: Known): AtHand => {
    const { accounts } = ticket
    // Of its final size at once: the first push would make room for seventeen.
    const actors = new Array<AccountActor>(accounts.length)
    let loading: AccountActor | undefined
    for (const [nth, id] of accounts.entries()) {
      if (!placement.owns(id)) return "elsewhere"
      const actor = resident(id, elapsedMs, known?.[nth])
      if (actor === undefined) return noRoom(ticket)
      if (actor.phase === "lending" || actor.phase === "lent") return "elsewhere"
      if (actor.phase !== "ready") loading ??= actor
      actors[nth] = actor
    }
    if (loading === undefined) return actors
    loading.wait(ticket)
    return "waits"
  }

  /** One that is known may have made room for another account of the same ticket. */
  const resident = (id: AccountId, elapsedMs: number, known: AccountActor | undefined) => {
    if (known === undefined || known.phase === "gone") return residents.get(id, elapsedMs)
    known.usedAt = elapsedMs
    return known
  }

  const noRoom = (ticket: PendingCommand): "waits" => {
    underWay.complete(ticket, options.overloaded("memory for accounts"))
    return "waits"
  }

  /** Let it crash: the actors are rebuilt from the log, what waited on them is decided again. */
  const crash = (ticket: PendingCommand, actors: ReadonlyArray<AccountActor>, defect: unknown): void => {
    ticket.attempts++
    const stale = new Set(actors)
    const evicted = queue.evict((one) => one.participants.some((actor) => stale.has(actor)))
    for (const actor of stale) reload(actor)
    if (ticket.attempts >= defectsMax) underWay.complete(ticket, Exit.die(defect))
    inOrder([...evicted, ticket], route)
    options.onQueued()
  }

  const residents = yield* makeAccountRegistry({
    onReady: (actor) => onReady(actor),
    onBroken: (actor, broken: BrokenLog) => {
      const failure = unavailable(`account ${actor.id}`, broken.message)
      for (const ticket of actor.mailbox ?? []) underWay.complete(ticket, failure)
      for (const reader of actor.readers ?? []) reader(failure)
      for (const borrower of actor.borrowers) borrower.refuse(failure)
    },
    onUnavailable: (reason) => {
      underWay.trouble = reason
    }
  })

  /** What waits on an actor is decided, in order; then it may be lent. */
  const onReady = (actor: AccountActor): void => {
    const { mailbox, readers } = actor
    actor.mailbox = undefined
    actor.readers = undefined
    for (const ticket of mailbox ?? []) route(ticket)
    for (const reader of readers ?? []) reader(Exit.succeed(actor.committed))
    lending.look(actor)
  }

  const lending = yield* makeLeaseServer(residents, onReady)
  const borrowing = yield* makeLeaseClient({
    onReady: route,
    onRefused: (ticket, refusal) =>
      refusal._tag === "Unavailable"
        ? underWay.failUnwritten(ticket, refusal.what, refusal.reason)
        : underWay.complete(ticket, Exit.fail(refusal))
  })
  const enlistment = makeAcquireAccounts({ placement, residents, lending, borrowing, wall, noRoom })

  const reload = (actor: AccountActor): void => {
    if (!borrowing.breakOff(actor)) residents.reload(actor)
  }

  /** Lets actors that wait for their last ticket in flight be rebuilt, or lent, now that one more has landed. */
  const reloadIfLanded = (ids: ReadonlyArray<AccountId>): void => {
    for (const id of ids) {
      const actor = residents.peek(id)
      if (actor?.phase === "loading" && actor.uncommitted === 0) residents.reload(actor)
      else if (actor?.phase === "lending") lending.look(actor)
    }
  }

  /** The same after a ticket's outcome, for whatever it was decided on. */
  const noteLanded = ({ participants: touched }: PendingCommand): void => {
    for (const actor of touched) if (actor.phase !== "ready") reloadIfLanded([actor.id])
  }

  const head = (account: AccountId): Effect.Effect<Head, Unavailable> =>
    Effect.callback<Head, Unavailable>((resume) => {
      const actor = residents.get(account, clock.elapsedUnsafe())
      if (actor === undefined) return resume(unavailable("this node", "memory for accounts is full"))
      if (actor.phase === "ready" || actor.phase === "lending") return resume(Exit.succeed(actor.committed))
      actor.readers ??= new Set()
      actor.readers.add(resume)
      return Effect.sync(() => actor.readers?.delete(resume))
    }).pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () => unavailable("event store", underWay.trouble)
      })
    )

  return {
    residents,
    lending,
    borrowing,
    route,
    routeAt,
    reloadIfLanded,
    noteLanded,
    /** The committed head of an account, from its actor. */
    head,
    /** Decides evicted tickets again, in their order, after the stale actors are rebuilt. */
    again: (tickets: ReadonlyArray<PendingCommand>, stale: ReadonlySet<AccountActor>): void => {
      for (const actor of stale) reload(actor)
      inOrder(tickets, (ticket) => {
        reloadIfLanded(ticket.accounts)
        if (ticket.attempts <= limits.redecideMax) route(ticket)
        else underWay.failUnwritten(ticket, "this account", `met other writers ${ticket.attempts} times over`)
      })
      options.onQueued()
    }
  }
})

/**
 * Begins tickets again, none before those it shares an account with are decided: one that waits for an account that
 * is being read must not be overtaken on its others, or a batch would not take effect in its order.
 */
const inOrder = (tickets: ReadonlyArray<PendingCommand>, begin: (ticket: PendingCommand) => void): void => {
  const waiting = new Map<AccountId, PendingCommand>()
  for (const ticket of tickets) ticket.release()
  for (const ticket of tickets) {
    const before = new Set(ticket.accounts.flatMap((id) => waiting.get(id) ?? []))
    let open = 1 + before.size
    const go = () => {
      if (--open === 0) begin(ticket)
    }
    for (const one of before) one.whenDecided(go)
    go()
    if (ticket.phase === "waiting") for (const id of ticket.accounts) waiting.set(id, ticket)
  }
}

export type CommandExecutor = Effect.Success<ReturnType<typeof makeCommandExecutor>>
