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
  #tickets: Array<Ticket> = []
  /**
   * How many of them, from the first, are known to be blocked: until something lands or leaves, a lane that looks
   * again need not look at those. A hot account blocks thousands.
   */
  #blocked = 0
  /** Counts the times at which that began anew; the accounts of what is blocked are marked with it. */
  #look = 1

  get size(): number {
    return this.#tickets.length
  }

  push(ticket: Ticket): void {
    ticket.phase = "queued"
    this.#tickets.push(ticket)
  }

  /** Takes the oldest tickets that may fly now, whole, up to the limits (at least one, however large). */
  take(limits: BatchLimits): Flight | undefined {
    const queue = this.#tickets
    const flight: Flight = { tickets: [] }
    const taken: Array<Ticket> = []
    let rows = 0
    let bytes = 0
    let next = this.#blocked
    for (; next < queue.length; next++) {
      const ticket = queue[next] as Ticket // next < length
      if (isBlocked(ticket, this.#look, flight)) {
        for (const actor of ticket.touched) actor.blockedAt = this.#look
        queue[this.#blocked++] = ticket
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
    queue.splice(this.#blocked, taken.length)
    flight.tickets = taken
    return flight
  }

  /** The flight is over: its actors may fly again. */
  land(tickets: ReadonlyArray<Ticket>): void {
    for (const ticket of tickets) for (const actor of ticket.touched) actor.flight = undefined
    this.#lookAgain()
  }

  /** Puts a flight that certainly wrote nothing back to the front. */
  putBack(flight: Flight): void {
    for (const ticket of flight.tickets) ticket.phase = "queued"
    this.land(flight.tickets)
    this.#tickets = flight.tickets.concat(this.#tickets)
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
    const keep = (tickets: ReadonlyArray<Ticket>): Array<Ticket> =>
      tickets.filter((ticket) => {
        if (!isGuilty(ticket) && !ticket.touched.some((actor) => tainted.has(actor))) return true
        evicted.push(ticket)
        // A refused ticket changed nothing, so nothing depends on it.
        for (const { actor } of ticket.legs) tainted.add(actor)
        return false
      })
    if (flight !== undefined) {
      this.land(flight.tickets)
      flight.tickets = keep(flight.tickets)
      for (const ticket of flight.tickets) for (const actor of ticket.touched) actor.flight = flight
    }
    this.#tickets = keep(this.#tickets)
    this.#lookAgain()
    rollBack(evicted)
    return evicted
  }

  #lookAgain(): void {
    this.#blocked = 0
    this.#look++
  }
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

/** An account of it is in another flight, or waits for one with an older ticket. */
const isBlocked = (ticket: Ticket, look: number, flight: Flight): boolean => {
  for (const { blockedAt, flight: other } of ticket.touched) {
    if (blockedAt === look || (other !== undefined && other !== flight)) return true
  }
  return false
}

const bytesOf = (ticket: Ticket): number => {
  let bytes = 0
  for (const { row } of ticket.legs) bytes += rowBytes + row.payload.length + (row.context?.length ?? 0)
  return bytes
}
