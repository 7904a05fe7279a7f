/** Decided commands enter in the order of their decision; batches for the lanes leave. Synchronous, no effects. */
import type { AccountActor } from "./AccountActor.ts"
import type { Ticket } from "./Ticket.ts"

/** What one lane sends in one statement. */
export interface Flight {
  tickets: ReadonlyArray<Ticket>
}

export interface BatchLimits {
  readonly rowsMax: number
  readonly bytesMax: number
}

/** Fixed columns of a row, about, on top of its texts. */
const rowBytes = 250

/**
 * The queue in front of the lanes. Two rules keep the log right whatever the lanes do: a command is never split,
 * and an account is never in two flights at once, so a later version cannot commit before an earlier one, and
 * nothing is in flight that depends on an outcome still open elsewhere.
 */
export class CommitQueue {
  #tickets: ReadonlyArray<Ticket> = []
  #arrivals: Array<Ticket> = []

  get size(): number {
    return this.#tickets.length + this.#arrivals.length
  }

  push(ticket: Ticket): void {
    ticket.phase = "queued"
    this.#arrivals.push(ticket)
  }

  /** Takes the oldest tickets that may fly now, whole, up to the limits (at least one, however large). */
  take(limits: BatchLimits): Flight | undefined {
    const queue = this.#all()
    const flight: Flight = { tickets: [] }
    const taken: Array<Ticket> = []
    const left: Array<Ticket> = []
    const blocked = new Set<AccountActor>()
    let rows = 0
    let bytes = 0
    let next = 0
    for (; next < queue.length; next++) {
      const ticket = queue[next] as Ticket // next < length
      if (ticket.touched.some((actor) => blocked.has(actor) || isElsewhere(actor, flight))) {
        for (const actor of ticket.touched) blocked.add(actor)
        left.push(ticket)
        continue
      }
      bytes += bytesOf(ticket)
      rows += ticket.legs.length
      if (taken.length > 0 && (rows > limits.rowsMax || bytes > limits.bytesMax)) break
      for (const actor of ticket.touched) actor.flight = flight
      ticket.phase = "flying"
      taken.push(ticket)
    }
    if (taken.length === 0) return undefined
    this.#tickets = left.concat(queue.slice(next))
    flight.tickets = taken
    return flight
  }

  /** Puts a flight that certainly wrote nothing back to the front. */
  putBack(flight: Flight): void {
    for (const ticket of flight.tickets) ticket.phase = "queued"
    clearFlight(flight.tickets)
    this.#tickets = flight.tickets.concat(this.#all())
    flight.tickets = []
  }

  /**
   * Takes out of the flight (if one is given) and of the queue every ticket that `isGuilty`, and every later one
   * that was decided on a state which those had changed; rolls the actors' speculation back to before the first
   * of them. What is left could have been decided without them. Answers them in the order of their decision.
   */
  evict(isGuilty: (ticket: Ticket) => boolean, flight?: Flight): ReadonlyArray<Ticket> {
    const tainted = new Set<AccountActor>()
    const evicted: Array<Ticket> = []
    const keep = (tickets: ReadonlyArray<Ticket>): ReadonlyArray<Ticket> =>
      tickets.filter((ticket) => {
        if (!isGuilty(ticket) && !ticket.touched.some((actor) => tainted.has(actor))) return true
        evicted.push(ticket)
        // A refused ticket changed nothing, so nothing depends on it.
        for (const { actor } of ticket.legs) tainted.add(actor)
        return false
      })
    if (flight !== undefined) {
      clearFlight(flight.tickets)
      flight.tickets = keep(flight.tickets)
      for (const ticket of flight.tickets) for (const actor of ticket.touched) actor.flight = flight
    }
    this.#tickets = keep(this.#all())
    rollBack(evicted)
    return evicted
  }

  #all(): ReadonlyArray<Ticket> {
    if (this.#arrivals.length > 0) {
      this.#tickets = this.#tickets.concat(this.#arrivals)
      this.#arrivals = []
    }
    return this.#tickets
  }
}

/** The flight is over: its actors may fly again. */
export const clearFlight = (tickets: ReadonlyArray<Ticket>): void => {
  for (const ticket of tickets) for (const actor of ticket.touched) actor.flight = undefined
}

const rollBack = (evicted: ReadonlyArray<Ticket>): void => {
  const rolledBack = new Set<AccountActor>()
  for (const ticket of evicted) {
    for (const { actor, before } of ticket.legs) {
      if (!rolledBack.has(actor)) actor.speculative = before
      rolledBack.add(actor)
    }
    for (const actor of ticket.touched) actor.uncommitted--
    ticket.phase = "waiting"
    ticket.touched = []
    ticket.legs = []
    ticket.refusal = undefined
  }
}

const isElsewhere = (actor: AccountActor, flight: Flight): boolean =>
  actor.flight !== undefined && actor.flight !== flight

const bytesOf = (ticket: Ticket): number => {
  let bytes = 0
  for (const { row } of ticket.legs) bytes += rowBytes + row.payload.length + (row.context?.length ?? 0)
  return bytes
}
