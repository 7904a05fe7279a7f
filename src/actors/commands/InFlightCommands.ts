/** Tickets enter when they are admitted, and leave when they are settled: here, and nowhere else. */
import { Exit } from "effect"
import { Indeterminate, Unavailable } from "../../domain/Errors.ts"
import type { AccountId, CommandId, Instant } from "../../domain/Ids.ts"
import type { CommandExit, PendingCommand } from "../accounts/Lifecycle.ts"
import { Outcomes } from "./Meters.ts"

export const unavailable = (what: string, reason: string) => Exit.fail(new Unavailable({ what, reason }))

export const indeterminate = (ticket: PendingCommand) =>
  Exit.fail(new Indeterminate({ commandId: ticket.command.commandId }))

/** All commands of this node that are accepted and not answered, in the order of their arrival. */
export class InFlightCommands {
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

  get(commandId: CommandId): PendingCommand | undefined {
    return this.#cells.get(commandId)?.ticket
  }

  /** How many of them came to an account that many others were waiting for. */
  crowd = 0

  add(ticket: PendingCommand): void {
    if (ticket.isOfHotAccount) this.crowd++
    this.#cells.set(ticket.command.commandId, { ticket })
  }

  *commands(): IterableIterator<PendingCommand> {
    for (const { ticket } of this.#cells.values()) if (ticket !== undefined) yield ticket
  }

  complete(ticket: PendingCommand, settlement: CommandExit): void {
    if (ticket.phase === "settled") return
    ticket.phase = "settled"
    if (ticket.isOfHotAccount) this.crowd--
    this.outcomes.note(settlement)
    this.#remove(ticket.command.commandId)
    ticket.release()
    ticket.noteDecided()
    ticket.reply(settlement)
  }

  /** Ends a ticket of which this dispatch wrote nothing. */
  failUnwritten(ticket: PendingCommand, what: string, reason: string): void {
    this.complete(ticket, ticket.isRepeat ? indeterminate(ticket) : unavailable(what, reason))
  }

  /** The earliest instant at which something of the account (or of any) is decided and not settled. */
  openSince(account?: AccountId): Instant | undefined {
    let earliest: Instant | undefined
    for (const { accounts, pendingEvents: legs, recordedAt } of this.commands()) {
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
  ticket: PendingCommand | undefined
}
