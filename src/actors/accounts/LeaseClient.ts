/** Tickets that need accounts of other nodes enter; each gets them, held against all others, and they are given back. */
import { Clock, Effect, Exit, FiberSet, Random } from "effect"
import type { Overloaded, Unavailable } from "../../domain/Errors.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { AccountActor } from "./AccountActor.ts"
import type { AccountLock, PendingCommand } from "./Lifecycle.ts"
import { type GivenBack, type Loan, type NotLent, NotMine, Placement } from "./Placement.ts"

/** An account of another node on which this one decides for a while. */
interface Guest {
  readonly actor: AccountActor
  readonly lease: string
  /** Those that were decided on it, or will be when they have the rest of their accounts. */
  readonly users: Set<PendingCommand>
  /** Those that wait: for it to come, or for the next time. */
  waiting: Array<PendingCommand>
  /** Undefined until it is here. */
  lent: Head | undefined
  /** Nobody else joins from here on, so that its owner gets it back. */
  closesAtMs: number
  /** By then its owner may have taken it back; nothing may be decided on it any more. */
  endsAtMs: number
  joined: number
  isOpening: boolean
  /** Another writer wrote to it, or an outcome is not known. */
  isBroken: boolean
}

export interface LeaseClientEvents {
  /** The ticket may go on: the account is here, or must be looked for again. */
  readonly onReady: (ticket: PendingCommand) => void
  readonly onRefused: (ticket: PendingCommand, refusal: Unavailable | Overloaded) => void
}

export interface LeaseClient {
  /** A hold on the account; undefined when the ticket must wait, and `onReady` will tell. */
  readonly join: (account: AccountId, ticket: PendingCommand) => AccountLock | undefined
  /** What is thought of this borrowed account is wrong. False where it is none. */
  readonly breakOff: (actor: AccountActor) => boolean
  /** Accounts asked for or held. */
  readonly size: () => number
}

/** Asks and gives back in the scope. */
export const makeLeaseClient = Effect.fnUntraced(function* (events: LeaseClientEvents) {
  const placement = yield* Placement
  const limits = yield* ClusterConfig
  const { commandDeadlineMs } = yield* LedgerConfig
  const wall = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never>()
  const life = (yield* Random.nextIntBetween(0, 36 ** 7)).toString(36)
  const guests = new Map<AccountId, Guest>()
  let leases = 0

  /** Lets tickets try again, each of which may come back into a waiting room. */
  const resume = (tickets: ReadonlyArray<PendingCommand>): void => {
    for (const ticket of tickets) if (ticket.phase !== "settled") events.onReady(ticket)
  }

  /** The answer may be here before this returns. */
  const ask = (account: AccountId, waiting: Array<PendingCommand>): void => {
    const now = wall.currentTimeMillisUnsafe()
    const guest: Guest = {
      actor: new AccountActor(account, now),
      lease: `${life}.${++leases}`,
      users: new Set(),
      waiting,
      lent: undefined,
      closesAtMs: 0,
      endsAtMs: 0,
      joined: 0,
      isOpening: false,
      isBroken: false
    }
    guests.set(account, guest)
    const asked = placement.borrow(account, guest.lease).pipe(
      Effect.timeoutOrElse({ duration: commandDeadlineMs, orElse: () => Effect.fail(new NotMine()) }),
      Effect.exit,
      Effect.flatMap((exit) =>
        Exit.isSuccess(exit) ? Effect.sync(() => begin(guest, exit.value, now)) : notLent(guest, exit)
      )
    )
    run(asked)
  }

  const begin = (guest: Guest, loan: Loan, askedAt: number): void => {
    const { actor, waiting } = guest
    guest.lent = loan.head
    guest.endsAtMs = askedAt + loan.waitedMs + loan.leaseMs
    guest.closesAtMs = Math.min(wall.currentTimeMillisUnsafe() + limits.shareMs, guest.endsAtMs)
    actor.load(loan.head)
    guest.waiting = []
    // The first to leave must not give it back while the others are still to come.
    guest.isOpening = true
    resume(waiting)
    guest.isOpening = false
    look(guest)
  }

  const notLent = Effect.fnUntraced(function* (
    { actor, lease, waiting }: Guest,
    exit: Exit.Exit<unknown, NotLent>
  ) {
    guests.delete(actor.id)
    // It may have been lent in vain.
    run(placement.giveBack(actor.id, lease, { _tag: "Unchanged" }))
    const failure = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
    if (failure?._tag === "Some" && failure.value._tag !== "NotMine") {
      for (const ticket of waiting) events.onRefused(ticket, failure.value)
      return
    }
    yield* Effect.sleep(limits.retryMs)
    resume(waiting)
  })

  /** Gives the account back when nobody uses it any more. */
  const look = (guest: Guest): void => {
    const { actor, lent } = guest
    if (lent === undefined || guest.isOpening || guest.users.size > 0 || guests.get(actor.id) !== guest)
      return
    guests.delete(actor.id)
    actor.phase = "gone"
    run(placement.giveBack(actor.id, guest.lease, givenBack(guest, lent)))
    const waiting = guest.waiting.filter((ticket) => ticket.phase !== "settled")
    if (waiting.length > 0) ask(actor.id, waiting)
  }

  const holdOn = (guest: Guest, ticket: PendingCommand): AccountLock => ({
    actor: guest.actor,
    until: "settled",
    isGood: (nowMs) => !guest.isBroken && nowMs < guest.endsAtMs,
    release: () => {
      guest.users.delete(ticket)
      look(guest)
    }
  })

  return {
    join: (account, ticket) => {
      const guest = guests.get(account)
      if (guest === undefined) {
        ask(account, [ticket])
        return undefined
      }
      const now = wall.currentTimeMillisUnsafe()
      const isOpen = !guest.isBroken && now < guest.closesAtMs && guest.joined < limits.shareMax
      if (guest.lent === undefined || !isOpen) {
        guest.waiting.push(ticket)
        return undefined
      }
      guest.joined++
      guest.users.add(ticket)
      return holdOn(guest, ticket)
    },
    breakOff: (actor) => {
      const guest = guests.get(actor.id)
      if (guest?.actor !== actor) return actor.phase === "gone"
      guest.isBroken = true
      actor.phase = "loading"
      return true
    },
    size: () => guests.size
  } satisfies LeaseClient
})

const givenBack = ({ actor, isBroken }: Guest, lent: Head): GivenBack => {
  // With something still in flight (this node is closing) only the log knows.
  if (isBroken || actor.uncommitted > 0) return { _tag: "Reload" }
  return actor.committed === lent ? { _tag: "Unchanged" } : { _tag: "Moved", head: actor.committed }
}
