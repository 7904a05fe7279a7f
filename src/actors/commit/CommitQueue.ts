/**
 * Decided commands in the order of their decision, and the choice of those that are committed next. Synchronous; knows
 * nothing of callers, stores or lanes.
 *
 * Two rules keep the log right whatever the lanes do: a command is never split, and an account is never in two batches
 * at once, so that a later version cannot commit before an earlier one, and nothing commits that depends on an outcome
 * still open elsewhere. BatchChain.ts has the one exception to the second rule.
 */
import { Context, Layer, Result } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import {
  type AccountActor,
  CommitBatch,
  evictAll,
  type PendingCommand,
  tellReadersOf
} from "../accounts/Lifecycle.ts"
import { chainedRowsMin, predecessorFor } from "./BatchChain.ts"

interface BatchLimits {
  readonly rowsMax: number
  readonly bytesMax: number
}

export class CommitQueue {
  static readonly Service = Context.Service<CommitQueue>("chronicle/actors/CommitQueue")
  static readonly layer = Layer.sync(CommitQueue.Service, () => new CommitQueue())

  #queued: Array<PendingCommand> = []
  #bytes = 0
  /** Batches that lanes took and that are neither committed nor back in the queue. */
  readonly #taken = new Set<CommitBatch>()
  /**
   * How many of the queued, from the first, are known to be blocked: until a batch commits or a command leaves, a lane
   * that scans again need not look at those. A hot account blocks thousands.
   */
  #blocked = 0
  /** Counts the times at which that began anew; the accounts of what is blocked are marked with it. */
  #scan = 1
  /** The scan at which nothing could be chained, and how many were queued then. */
  #failedScan = 0
  #failedSize = 0

  get size(): number {
    return this.#queued.length
  }

  /** What the events of all that is decided take, about, until they are in the log or are decided again. */
  get bytes(): number {
    return this.#bytes
  }

  push(command: PendingCommand): void {
    this.#queued.push(command)
    this.#bytes += command.bytes
  }

  /** The earliest `recordedAt` of the events that are decided and not committed. */
  openSince(): Instant | undefined {
    let earliest: Instant | undefined
    for (const recordedAt of this.#open()) earliest = Math.min(earliest ?? recordedAt, recordedAt)
    return earliest
  }

  /** The latest of them. */
  openUpTo(): Instant | undefined {
    let latest: Instant | undefined
    for (const recordedAt of this.#open()) latest = Math.max(latest ?? recordedAt, recordedAt)
    return latest
  }

  *#open(): IterableIterator<Instant> {
    for (const { commands } of this.#taken) yield* recordedAtsOf(commands)
    yield* recordedAtsOf(this.#queued)
  }

  /** Takes the oldest commands that may be committed now, whole, up to the limits (one at least, however large). */
  take(limits: BatchLimits): CommitBatch | undefined {
    const batch = this.#takeFree(limits) ?? this.#takeChained(limits)
    if (batch !== undefined) this.#taken.add(batch)
    return batch
  }

  #takeFree(limits: BatchLimits): CommitBatch | undefined {
    const queue = this.#queued
    const batch = new CommitBatch()
    const taken: Array<PendingCommand> = []
    let rows = 0
    let bytes = 0
    let next = this.#blocked
    for (; next < queue.length; next++) {
      const command = queue[next] as PendingCommand // next < length
      if (isBlocked(command, this.#scan, batch)) {
        for (const actor of command.participants) actor.markBlocked(this.#scan)
        queue[this.#blocked++] = command
        continue
      }
      bytes += command.bytes
      rows += command.pendingEvents.length
      if (taken.length > 0 && (rows > limits.rowsMax || bytes > limits.bytesMax)) break
      taken.push(command)
    }
    if (taken.length === 0) return undefined
    queue.splice(this.#blocked, taken.length)
    batch.take(taken)
    return batch
  }

  /** Takes what waits for one batch alone, if that is enough to be chained behind it. */
  #takeChained({ rowsMax, bytesMax }: BatchLimits): CommitBatch | undefined {
    const queue = this.#queued
    const rowsMin = chainedRowsMin(rowsMax)
    // Most commands have two rows at most. After a scan that found too few, the queue is scanned again once it has grown.
    if (queue.length * 2 < rowsMin) return undefined
    if (this.#failedScan === this.#scan && queue.length < this.#failedSize + rowsMin) return undefined
    const predecessor = predecessorFor(queue[0])
    if (predecessor === undefined) return undefined
    this.#scanAnew()
    const batch = new CommitBatch()
    const taken: Array<PendingCommand> = []
    const left: Array<PendingCommand> = []
    let rows = 0
    let bytes = 0
    let isFull = false
    let next = 0
    for (; next < queue.length; next++) {
      const command = queue[next] as PendingCommand // next < length
      if (isBlocked(command, this.#scan, batch, predecessor)) {
        for (const actor of command.participants) actor.markBlocked(this.#scan)
        left.push(command)
        continue
      }
      const commandRows = command.pendingEvents.length
      bytes += command.bytes
      isFull = taken.length > 0 && (rows + commandRows > rowsMax || bytes > bytesMax)
      if (isFull) break
      rows += commandRows
      taken.push(command)
    }
    // Without a row nothing is sent, and no lane would wait for the predecessor before it replies.
    if (rows === 0 || (rows < rowsMin && !isFull)) {
      this.#failedScan = this.#scan
      this.#failedSize = queue.length
      return undefined
    }
    this.#queued = left.concat(queue.slice(next))
    this.#scanAnew()
    batch.take(taken)
    batch.chainBehind(predecessor)
    return batch
  }

  /** The batch is durable: its accounts are free, and its successor may commit. */
  commit(batch: CommitBatch): void {
    this.#taken.delete(batch)
    this.#scanAnew()
    const { commands } = batch
    for (const command of commands) this.#bytes -= command.bytes
    batch.commit()
  }

  /** The batch certainly wrote nothing: its commands go back to the front. */
  requeue(batch: CommitBatch): void {
    Result.getOrThrow(tellReadersOf(this.#putBack(batch)))
  }

  #putBack(batch: CommitBatch): ReadonlyArray<PendingCommand> {
    this.#taken.delete(batch)
    const commands = batch.requeue()
    this.#queued = commands.concat(this.#queued)
    this.#scanAnew()
    return commands
  }

  /** The batch did not commit at once: its successor is put back, if it has one. Answers whether it had. */
  detachSuccessor(batch: CommitBatch): boolean {
    const successor = batch.detachSuccessor()
    if (successor === undefined) return false
    const commands = this.#putBack(successor)
    batch.claimActors()
    Result.getOrThrow(tellReadersOf(commands))
    return true
  }

  /**
   * Takes out of the batch (if one is given) and of the queue every command that `isGuilty`, and every later one that was
   * decided on a state which those had changed, or will be behind one of them that is decided again and may change it then;
   * rolls the heads of their actors back. What is left could have been decided without them, and comes before none that
   * stood before it. One that `isOver` is not decided again. Answers them in the order of their decision.
   */
  evict(
    isGuilty: (command: PendingCommand) => boolean,
    batch?: CommitBatch,
    isOver: (command: PendingCommand) => boolean = () => false
  ): ReadonlyArray<PendingCommand> {
    const tainted = new Set<AccountActor>()
    let isAllTainted = false
    const evicted: Array<PendingCommand> = []
    const innocent = (commands: ReadonlyArray<PendingCommand>): Array<PendingCommand> =>
      commands.filter((command) => {
        const isTainted = isAllTainted || command.participants.some((actor) => tainted.has(actor))
        if (!isTainted && !isGuilty(command)) return true
        evicted.push(command)
        if (isOver(command)) {
          // One that was rejected changed nothing, so nothing depends on it.
          for (const { actor } of command.pendingEvents) tainted.add(actor)
        } else {
          // What it was rejected for may be gone now, and its accounts are then changed before those that stand behind it.
          for (const actor of command.participants) tainted.add(actor)
          isAllTainted ||= command.rejection !== undefined && command.mayTouchAny
        }
        return false
      })
    if (batch !== undefined) {
      batch.keep(innocent(batch.commands))
      if (batch.commands.length === 0) this.#taken.delete(batch)
    }
    this.#queued = innocent(this.#queued)
    this.#scanAnew()
    for (const command of evicted) this.#bytes -= command.bytes
    evictAll(evicted)
    return evicted
  }

  #scanAnew(): void {
    this.#blocked = 0
    this.#scan++
  }
}

function* recordedAtsOf(commands: ReadonlyArray<PendingCommand>): IterableIterator<Instant> {
  for (const { pendingEvents, recordedAt } of commands) if (pendingEvents.length > 0) yield recordedAt
}

/** An account of it is in another batch (but the one to be chained behind), or an older command waits for one. */
const isBlocked = (
  command: PendingCommand,
  scan: number,
  batch: CommitBatch,
  predecessor?: CommitBatch
): boolean => {
  for (const { blockedAtScan, batch: other } of command.participants) {
    if (blockedAtScan === scan || (other !== undefined && other !== batch && other !== predecessor))
      return true
  }
  return false
}
