/** Tickets enter when they are admitted, and leave when they are settled: here, and nowhere else. */
import { Exit } from "effect"
import { Indeterminate, Unavailable } from "../../domain/Errors.ts"
import type { AccountId, CommandId, Instant } from "../../domain/Ids.ts"
import type { Settlement, Ticket } from "../accounts/Lifecycle.ts"
import { Outcomes } from "./Meters.ts"

export const unavailable = (what: string, reason: string) => Exit.fail(new Unavailable({ what, reason }))

export const indeterminate = (ticket: Ticket) =>
  Exit.fail(new Indeterminate({ commandId: ticket.command.commandId }))

/** All commands of this node that are accepted and not answered, in the order of their arrival. */
export class UnderWay {
  /**
   * Through a cell that is emptied at the end: a Map that is tidied leaves its old table behind, linked to the next,
   * and once one such table got into the old heap, every ticket that was in any later one was kept alive and copied
   * there too.
   */
  readonly #cells = new Map<CommandId, Cell>()
  readonly outcomes = new Outcomes()
  /** What a store said last when it did not answer; told to those whose patience ends. */
  trouble = "no answer"

  get size(): number {
    return this.#cells.size
  }

  get(commandId: CommandId): Ticket | undefined {
    return this.#cells.get(commandId)?.ticket
  }

  /** How many of them came to an account that many others were waiting for. */
  crowd = 0

  add(ticket: Ticket): void {
    if (ticket.isOfCrowd) this.crowd++
    this.#cells.set(ticket.command.commandId, { ticket })
  }

  *tickets(): IterableIterator<Ticket> {
    for (const { ticket } of this.#cells.values()) if (ticket !== undefined) yield ticket
  }

  finish(ticket: Ticket, settlement: Settlement): void {
    if (ticket.phase === "settled") return
    ticket.phase = "settled"
    if (ticket.isOfCrowd) this.crowd--
    this.outcomes.note(settlement)
    this.#remove(ticket.command.commandId)
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
    for (const { accounts, legs, recordedAt } of this.tickets()) {
      if (legs.length === 0 || (account !== undefined && !accounts.includes(account))) continue
      earliest = Math.min(earliest ?? recordedAt, recordedAt)
    }
    return earliest
  }

  #remove(commandId: CommandId): void {
    const cell = this.#cells.get(commandId)
    if (cell === undefined) return
    cell.ticket = undefined
    this.#cells.delete(commandId)
  }
}

interface Cell {
  ticket: Ticket | undefined
}
