/** A ticket whose accounts are not all at hand enters; it takes hold of one after another in the one order of all nodes. */
import type { Clock } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { AccountActor } from "./AccountActor.ts"
import type { Residents } from "./AccountRegistry.ts"
import type { Borrowing } from "./LeaseClient.ts"
import type { Lending } from "./LeaseServer.ts"
import type { Hold, Ticket } from "./Lifecycle.ts"
import type { Placing } from "./Placement.ts"

export interface EnlistmentParts {
  readonly placement: Placing
  readonly residents: Residents
  readonly lending: Lending
  readonly borrowing: Borrowing
  readonly wall: Clock.Clock
  /** Ends a ticket for which there is no memory. */
  readonly noRoom: (ticket: Ticket) => void
}

export interface Enlistment {
  /** The ticket's actors, all to be decided on now; undefined when it waits (and is routed again) or has ended. */
  readonly enlist: (ticket: Ticket, elapsedMs: number) => ReadonlyArray<AccountActor> | undefined
}

/**
 * Why nobody waits for ever: whoever waits for an account holds only accounts with smaller ids. So along any chain
 * of waits the ids grow, and it cannot close. An account of ours is held by a reservation, which keeps it from
 * being lent and from nothing else; one of another node by borrowing it. Both are first come, first served.
 */
export const makeEnlistment = (parts: EnlistmentParts): Enlistment => {
  const { placement, residents, lending, borrowing, wall } = parts

  const reserve = (actor: AccountActor): Hold => {
    actor.reservations++
    return {
      actor,
      until: "decided",
      isGood: () => actor.phase !== "gone" && placement.owns(actor.id),
      letGo: () => {
        actor.reservations--
        lending.look(actor)
      }
    }
  }

  /** Undefined when the ticket waits for this account, or has ended. */
  const hold = (ticket: Ticket, id: AccountId, elapsedMs: number): Hold | undefined => {
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

  const enlist = (ticket: Ticket, elapsedMs: number): ReadonlyArray<AccountActor> | undefined => {
    const nowMs = wall.currentTimeMillisUnsafe()
    if (ticket.holds.some((one) => !one.isGood(nowMs))) ticket.letGo()
    while (ticket.holds.length < ticket.order.length) {
      const id = ticket.order[ticket.holds.length] as AccountId // the index is below the length
      const next = hold(ticket, id, elapsedMs)
      if (next === undefined) return undefined
      ticket.holds = [...ticket.holds, next]
    }
    const actors = new Map<AccountId, AccountActor>()
    for (const { actor } of ticket.holds) {
      // An account of ours that was wrong meanwhile is being read again; it stays held.
      if (actor.phase === "loading" && residents.peek(actor.id) === actor) {
        actor.wait(ticket)
        return undefined
      }
      actors.set(actor.id, actor)
    }
    return ticket.accounts.map((id) => actors.get(id) as AccountActor) // every account is held
  }
  return { enlist }
}
