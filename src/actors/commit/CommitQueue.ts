/** Decided commands enter in the order of their decision; batches for the lanes leave. Synchronous, no effects. */
import { Deferred, Exit } from "effect"
import type { AccountActor } from "../accounts/AccountActor.ts"
import { type BatchLimits, bytesOf, CommitBatch, predecessorOf } from "../accounts/Flight.ts"
import { type PendingCommand, rollBack } from "../accounts/Lifecycle.ts"

/** A follower costs two more round trips: it must carry this part of a full batch at least. */
const followerPart = 1 / 4

/**
 * The queue in front of the lanes. Two rules keep the log right whatever the lanes do: a command is never split, and
 * an account is never in two flights at once, so a later version cannot commit before an earlier one, and nothing
 * becomes durable that depends on an outcome still open elsewhere.
 *
 * The exception to the second is a follower: where all that waits depends on one flight (a hot account does that), its
 * rows are written while those of its leader are, and made durable when the leader is known to be (`mayCommit`). At
 * anything else that befalls the leader the follower is as if it had never been taken (`disband`).
 */
export class CommitQueue {
  #tickets: Array<PendingCommand> = []
  /**
   * How many of them, from the first, are known to be blocked: until something lands or leaves, a lane that looks
   * again need not look at those. A hot account blocks thousands.
   */
  #blocked = 0
  /** Counts the times at which that began anew; the accounts of what is blocked are marked with it. */
  #look = 1
  /** The look at which nothing could follow, and how many were queued then. */
  #vainLook = 0
  #vainSize = 0

  get size(): number {
    return this.#tickets.length
  }

  push(ticket: PendingCommand): void {
    ticket.phase = "queued"
    this.#tickets.push(ticket)
  }

  /** Takes the oldest tickets that may fly now, whole, up to the limits (at least one, however large). */
  take(limits: BatchLimits): CommitBatch | undefined {
    return this.#takeFree(limits) ?? this.#takeFollower(limits)
  }

  #takeFree(limits: BatchLimits): CommitBatch | undefined {
    const queue = this.#tickets
    const flight = new CommitBatch()
    const taken: Array<PendingCommand> = []
    let rows = 0
    let bytes = 0
    let next = this.#blocked
    for (; next < queue.length; next++) {
      const ticket = queue[next] as PendingCommand // next < length
      if (isBlocked(ticket, this.#look, flight)) {
        for (const actor of ticket.participants) actor.blockedAtScan = this.#look
        queue[this.#blocked++] = ticket
        continue
      }
      bytes += bytesOf(ticket)
      rows += ticket.pendingEvents.length
      if (taken.length > 0 && (rows > limits.rowsMax || bytes > limits.bytesMax)) break
      for (const actor of ticket.participants) actor.batch = flight
      ticket.phase = "flying"
      taken.push(ticket)
    }
    if (taken.length === 0) return undefined
    queue.splice(this.#blocked, taken.length)
    flight.commands = taken
    return flight
  }

  /** Takes what waits for one flight alone, if that is much. */
  #takeFollower({ rowsMax, bytesMax }: BatchLimits): CommitBatch | undefined {
    const queue = this.#tickets
    const least = rowsMax * followerPart
    // Most commands have two rows at most. What was looked through in vain is not looked through again soon.
    if (
      queue.length * 2 < least ||
      (this.#vainLook === this.#look && queue.length < this.#vainSize + least)
    ) {
      return undefined
    }
    const leader = predecessorOf(queue[0])
    if (leader === undefined) return undefined
    this.#lookAgain()
    const flight = new CommitBatch()
    const taken: Array<PendingCommand> = []
    let rows = 0
    let bytes = 0
    let isFull = false
    for (const ticket of queue) {
      if (isBlocked(ticket, this.#look, flight, leader)) {
        for (const actor of ticket.participants) actor.blockedAtScan = this.#look
        continue
      }
      const legs = ticket.pendingEvents.length
      bytes += bytesOf(ticket)
      isFull = taken.length > 0 && (rows + legs > rowsMax || bytes > bytesMax)
      if (isFull) break
      rows += legs
      taken.push(ticket)
    }
    // Without a row there would be nothing to send, and nobody to wait for its leader.
    if (rows === 0 || (rows < least && !isFull)) {
      this.#vainLook = this.#look
      this.#vainSize = queue.length
      return undefined
    }
    for (const ticket of taken) {
      for (const actor of ticket.participants) actor.batch = flight
      ticket.phase = "flying"
    }
    this.#tickets = queue.filter(({ phase }) => phase === "queued")
    this.#lookAgain()
    flight.commands = taken
    flight.predecessor = leader
    leader.successor = flight
    return flight
  }

  /** The flight is over and durable: its actors may fly again, and what follows it may become durable. */
  land(flight: CommitBatch): void {
    this.#release(flight)
    const { successor: follower } = flight
    if (follower === undefined) return
    flight.successor = undefined
    follower.predecessor = undefined
    Deferred.doneUnsafe(follower.mayCommit, Exit.succeed(true))
  }

  /**
   * The flight did not land at once: what follows it, if anything does, is put back to the front, and nothing follows
   * it again. Answers whether something did.
   */
  disband(flight: CommitBatch): boolean {
    flight.isRetrying = true
    const { successor: follower } = flight
    if (follower === undefined) return false
    flight.successor = undefined
    follower.predecessor = undefined
    Deferred.doneUnsafe(follower.mayCommit, Exit.succeed(false))
    this.putBack(follower)
    for (const ticket of flight.commands) for (const actor of ticket.participants) actor.batch = flight
    return true
  }

  /** Puts a flight that certainly wrote nothing back to the front. */
  putBack(flight: CommitBatch): void {
    for (const ticket of flight.commands) ticket.phase = "queued"
    this.#release(flight)
    this.#tickets = flight.commands.concat(this.#tickets)
    flight.commands = []
  }

  /**
   * Takes out of the flight (if one is given) and of the queue every ticket that `isGuilty`, and every later one
   * that was decided on a state which those had changed; rolls the actors' speculation back to before the first
   * of them. What is left could have been decided without them. Answers them in the order of their decision.
   */
  evict(isGuilty: (ticket: PendingCommand) => boolean, flight?: CommitBatch): ReadonlyArray<PendingCommand> {
    const tainted = new Set<AccountActor>()
    const evicted: Array<PendingCommand> = []
    const keep = (tickets: ReadonlyArray<PendingCommand>): Array<PendingCommand> =>
      tickets.filter((ticket) => {
        if (!isGuilty(ticket) && !ticket.participants.some((actor) => tainted.has(actor))) return true
        evicted.push(ticket)
        // A refused ticket changed nothing, so nothing depends on it.
        for (const { actor } of ticket.pendingEvents) tainted.add(actor)
        return false
      })
    if (flight !== undefined) {
      this.#release(flight)
      flight.commands = keep(flight.commands)
      for (const ticket of flight.commands) for (const actor of ticket.participants) actor.batch = flight
    }
    this.#tickets = keep(this.#tickets)
    this.#lookAgain()
    rollBack(evicted)
    return evicted
  }

  #release(flight: CommitBatch): void {
    for (const ticket of flight.commands) {
      for (const actor of ticket.participants) if (actor.batch === flight) actor.batch = undefined
    }
    this.#lookAgain()
  }

  #lookAgain(): void {
    this.#blocked = 0
    this.#look++
  }
}

/** An account of it is in another flight (but the one that may be followed), or waits for one with an older ticket. */
const isBlocked = (
  ticket: PendingCommand,
  look: number,
  flight: CommitBatch,
  leader?: CommitBatch
): boolean => {
  for (const { blockedAtScan: blockedAt, batch: other } of ticket.participants) {
    if (blockedAt === look || (other !== undefined && other !== flight && other !== leader)) return true
  }
  return false
}
