/** A ticket whose accounts are not all at hand enters; it takes hold of one after another in the one order of all nodes. */
import type { Clock } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { AccountActor } from "./AccountActor.ts"
import type { AccountRegistry } from "./AccountRegistry.ts"
import type { LeaseClient } from "./LeaseClient.ts"
import type { LeaseServer } from "./LeaseServer.ts"
import type { AccountLock, PendingCommand } from "./Lifecycle.ts"
import type { Placing } from "./Placement.ts"

export interface EnlistmentParts {
  readonly placement: Placing
  readonly residents: AccountRegistry
  readonly lending: LeaseServer
  readonly borrowing: LeaseClient
  readonly wall: Clock.Clock
  /** Ends a ticket for which there is no memory. */
  readonly noRoom: (ticket: PendingCommand) => void
}

export interface AcquireAccounts {
  /** The ticket's actors, all to be decided on now; undefined when it waits (and is routed again) or has ended. */
  readonly acquire: (ticket: PendingCommand, elapsedMs: number) => ReadonlyArray<AccountActor> | undefined
}

/**
 * Why nobody waits for ever: whoever waits for an account holds only accounts with smaller ids. So along any chain
 * of waits the ids grow, and it cannot close. An account of ours is held by a reservation, which keeps it from
 * being lent and from nothing else; one of another node by borrowing it. Both are first come, first served.
 */
export const makeAcquireAccounts = (parts: EnlistmentParts): AcquireAccounts => {
  const { placement, residents, lending, borrowing, wall } = parts

  const reserve = (actor: AccountActor): AccountLock => {
    actor.pins++
    return {
      actor,
      until: "decided",
      isGood: () => actor.phase !== "gone" && placement.owns(actor.id),
      release: () => {
        actor.pins--
        lending.look(actor)
      }
    }
  }

  /** Undefined when the ticket waits for this account, or has ended. */
  const hold = (ticket: PendingCommand, id: AccountId, elapsedMs: number): AccountLock | undefined => {
    if (!placement.owns(id)) return borrowing.join(id, ticket)
    const actor = residents.get(id, elapsedMs)
    if (actor === undefined) {
      parts.noRoom(ticket)
      return undefined
    }
    if (actor.phase === "ready") return reserve(actor)
    actor.wait(ticket)
    return undefined
  }

  const enlist = (ticket: PendingCommand, elapsedMs: number): ReadonlyArray<AccountActor> | undefined => {
    const nowMs = wall.currentTimeMillisUnsafe()
    if (ticket.locks.some((one) => !one.isGood(nowMs))) ticket.release()
    while (ticket.locks.length < ticket.order.length) {
      const id = ticket.order[ticket.locks.length] as AccountId // the index is below the length
      const next = hold(ticket, id, elapsedMs)
      if (next === undefined) return undefined
      ticket.locks = [...ticket.locks, next]
    }
    const actors = new Map<AccountId, AccountActor>()
    for (const { actor } of ticket.locks) {
      // An account of ours that was wrong meanwhile is being read again; it stays held.
      if (actor.phase === "loading" && residents.peek(actor.id) === actor) {
        actor.wait(ticket)
        return undefined
      }
      actors.set(actor.id, actor)
    }
    return ticket.accounts.map((id) => actors.get(id) as AccountActor) // every account is held
  }
  return { acquire: enlist }
}
