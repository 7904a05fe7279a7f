/** Tickets enter when they are admitted, and leave when they are settled: here, and nowhere else. */
import { Exit } from "effect"
import { Indeterminate, Unavailable } from "../domain/Errors.ts"
import type { AccountId, CommandId, Instant } from "../domain/Ids.ts"
import { Outcomes } from "./Meters.ts"
import type { Settlement, Ticket } from "./Ticket.ts"

export const unavailable = (what: string, reason: string) => Exit.fail(new Unavailable({ what, reason }))

export const indeterminate = (ticket: Ticket) =>
  Exit.fail(new Indeterminate({ commandId: ticket.command.commandId }))

/** All commands of this node that are accepted and not answered, in the order of their arrival. */
export class UnderWay {
  readonly #tickets = new Map<CommandId, Ticket>()
  readonly outcomes = new Outcomes()
  /** What a store said last when it did not answer; told to those whose patience ends. */
  trouble = "no answer"

  get size(): number {
    return this.#tickets.size
  }

  get(commandId: CommandId): Ticket | undefined {
    return this.#tickets.get(commandId)
  }

  add(ticket: Ticket): void {
    this.#tickets.set(ticket.command.commandId, ticket)
  }

  tickets(): IterableIterator<Ticket> {
    return this.#tickets.values()
  }

  finish(ticket: Ticket, settlement: Settlement): void {
    if (ticket.phase === "settled") return
    ticket.phase = "settled"
    this.outcomes.note(settlement)
    this.#tickets.delete(ticket.command.commandId)
    ticket.letGo()
    ticket.noteDecided()
    ticket.answer(settlement)
  }

  /** Ends a ticket of which this dispatch wrote nothing. */
  giveUp(ticket: Ticket, what: string, reason: string): void {
    this.finish(ticket, ticket.isRepeat ? indeterminate(ticket) : unavailable(what, reason))
  }

  /** The earliest instant at which something of the account (or of any) is decided and not settled. */
  openSince(account?: AccountId): Instant | undefined {
    let earliest: Instant | undefined
    for (const { accounts, legs, recordedAt } of this.#tickets.values()) {
      if (legs.length === 0 || (account !== undefined && !accounts.includes(account))) continue
      earliest = Math.min(earliest ?? recordedAt, recordedAt)
    }
    return earliest
  }
}
