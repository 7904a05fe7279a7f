/**
 * Group commit: decided commands become durable, many at once.
 *
 * A command is decided in memory within microseconds; a commit takes a round trip to the store and a sync to disk,
 * some milliseconds. So commands are decided ahead of the log, on speculative heads, and queued (CommitQueue.ts). A few
 * lanes take turns at the queue: each takes the oldest commands that may be committed now as one *batch*, sends their
 * events as one INSERT, and waits for the outcome. Whatever is decided meanwhile waits for the next free lane, so
 * batches are as large as the store is slow: no timer decides how long to gather. Callers are answered after the
 * commit, not before.
 *
 * Lanes work at the same time on disjoint accounts. The events of one account are never in two batches at once, or a
 * later version could commit before an earlier one. Hot accounts would lose by that rule, so there is one exception:
 * a batch may be *chained behind another* (BatchChain.ts).
 *
 * A lane is a *writer*: it numbers its commits 1, 2, 3 …, and the number lands with the rows. So sending a commit twice
 * lands it once, and another process can end a writer for good by taking its next number (a *fence*). The outcomes of
 * an attempt, and what follows from each:
 *
 * - **Committed.** The actors' committed heads move on, the relay is told, the callers are answered.
 * - **NotWritten.** Nothing is in the log. If that is certain for all attempts, the batch goes back to the queue, where a
 *   deadline may still take commands out; the lane pauses and goes on.
 * - **Unknown.** Only the store knows. The identical commit is sent again until the outcome is definite; callers whose
 *   deadline ends meanwhile are told `Indeterminate`.
 * - **Conflict.** Some keys are taken, and nothing of the batch was written. Either another writer wrote to an account
 *   of this node (then the actor is *stale*: it is reloaded, and what was decided on it is decided again), or a command
 *   id is in the log already (a *duplicate*: its first outcome is looked up). The guilty commands and everything decided
 *   on them are evicted, and whatever shares an account with one of those that are decided again and stands behind it;
 *   the others are sent again at once.
 * - **Fenced.** The lane goes on as a new writer, and everything that is decided is decided again: `recordedAt`s of before
 *   must not be written by a new writer, because that past may have been answered as closed.
 * - A **defect** is a bug of this program. The lane goes on as a new writer; the outcome of its batch is lost.
 *
 * What becomes of commands is handed to the one consumer (CommandExecutor.ts) as a `BatchResult`, in the same synchronous step in
 * which queue and actors changed: no command may be decided on a head that was rolled back and is not yet reloaded.
 */
import { Context, Data, Duration, Effect, Latch, Layer, Result, Schedule, type Scope } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig, type LedgerLimits } from "../../infra/config/LedgerConfig.ts"
import {
  type Commit,
  type CommitOutcome,
  EventStore,
  type StoreUnavailable,
  type WriterId
} from "../../infra/eventstore/EventStore.ts"
import { continued } from "../../infra/telemetry/Tracing.ts"
import { type AccountActor, about, type CommitBatch, type PendingCommand } from "../accounts/Lifecycle.ts"
import { Snapshotter } from "../accounts/Snapshotter.ts"
import { awaitVerdict } from "./BatchChain.ts"
import { CommitFeed } from "./CommitFeed.ts"
import { CommitQueue } from "./CommitQueue.ts"
import {
  type CommitStats,
  makeCommitStats,
  makeSplitBrainAlarm,
  type PipelineStats,
  type SplitBrainAlarm
} from "./CommitStats.ts"
import { WriterRegistry } from "./WriterRegistry.ts"

const retryFirstMs = 5
const retryMostMs = 1_000
/** The pause between attempts to fence a writer whose last batch is lost, in milliseconds. */
const fenceRetryMs = 200

/** What became of a batch, or of some commands of it. */
export type BatchResult = Data.TaggedEnum<{
  /** Their events are durable, or they are rejected on a state that is. */
  Committed: { readonly commands: ReadonlyArray<PendingCommand> }
  /**
   * To be decided again in this order, once the `stale` actors, whose accounts another writer wrote to, are reloaded;
   * the command ids of the `duplicates` are in the log already.
   */
  Evicted: {
    readonly commands: ReadonlyArray<PendingCommand>
    readonly stale: ReadonlySet<AccountActor>
    readonly duplicates: ReadonlyArray<PendingCommand>
  }
  /**
   * The lane met a defect while they were being sent: their outcomes, and the heads of the `stale` actors, are not known. The `others`, which
   * were not sent, are decided again in this order.
   */
  Lost: {
    readonly commands: ReadonlyArray<PendingCommand>
    readonly stale: ReadonlySet<AccountActor>
    readonly others: ReadonlyArray<PendingCommand>
  }
}>
export const BatchResult = Data.taggedEnum<BatchResult>()

const noActors: ReadonlySet<AccountActor> = new Set()

interface Lane {
  readonly index: number
  writerId: WriterId
  seq: number
  /** The pause before the next attempt, in milliseconds; grows while the store does not commit. */
  retryMs: number
}

export class CommitPipeline extends Context.Service<
  CommitPipeline,
  {
    readonly stats: PipelineStats
    /** Called after commands were added to or removed from the commit queue, to wake an idle lane. */
    readonly wake: () => void
    /** Starts the lanes in the scope; they hand every result to the one consumer. */
    readonly start: (
      consume: (result: BatchResult) => void
    ) => Effect.Effect<void, StoreUnavailable, Scope.Scope>
  }
>()("chronicle/actors/CommitPipeline") {
  static readonly layer = Layer.effect(
    CommitPipeline,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const context = yield* Effect.context<
    EventStore | WriterRegistry | CommitQueue | CommitFeed | Snapshotter
  >()
  const limits = yield* LedgerConfig
  const writers = yield* WriterRegistry
  const stats = yield* makeCommitStats
  const alarm = yield* makeSplitBrainAlarm
  const latch = Latch.makeUnsafe(false)
  return CommitPipeline.of({
    stats: stats.counts,
    wake: () => latch.openUnsafe(),
    start: Effect.fnUntraced(function* (consume) {
      const lanes = new CommitLanes({ context, limits, stats, alarm, latch, consume })
      for (let index = 0; index < limits.lanes; index++) {
        const writerId = yield* writers.registerFirst(index)
        yield* Effect.forkScoped(lanes.run({ index, writerId, seq: 1, retryMs: retryFirstMs }))
      }
    })
  })
})

/** What all lanes of a node share, and the loop of each of them. */
class CommitLanes {
  readonly #store: EventStore["Service"]
  readonly #writers: WriterRegistry["Service"]
  readonly #queue: CommitQueue
  readonly #feed: CommitFeed["Service"]
  readonly #snapshotter: Snapshotter["Service"]
  readonly #limits: LedgerLimits
  readonly #stats: CommitStats
  readonly #alarm: SplitBrainAlarm
  readonly #latch: Latch.Latch
  readonly #consume: (result: BatchResult) => void
  /** Counts the lanes that went on as new writers. They must not write what was decided in an earlier epoch. */
  #epoch = 0

  constructor(parts: {
    readonly context: Context.Context<EventStore | WriterRegistry | CommitQueue | CommitFeed | Snapshotter>
    readonly limits: LedgerLimits
    readonly stats: CommitStats
    readonly alarm: SplitBrainAlarm
    readonly latch: Latch.Latch
    readonly consume: (result: BatchResult) => void
  }) {
    this.#store = Context.get(parts.context, EventStore)
    this.#writers = Context.get(parts.context, WriterRegistry)
    this.#queue = Context.get(parts.context, CommitQueue.Service)
    this.#feed = Context.get(parts.context, CommitFeed)
    this.#snapshotter = Context.get(parts.context, Snapshotter)
    this.#limits = parts.limits
    this.#stats = parts.stats
    this.#alarm = parts.alarm
    this.#latch = parts.latch
    this.#consume = parts.consume
  }

  run(lane: Lane): Effect.Effect<never> {
    const { batchRowsMax: rowsMax, batchBytesMax: bytesMax } = this.#limits
    const limits = { rowsMax, bytesMax }
    const takeNext = Effect.suspend(() => {
      const batch = this.#queue.take(limits)
      if (batch === undefined) {
        this.#latch.closeUnsafe()
        // What is decided in the same tick goes into one batch, and never inside of `wake`.
        return Effect.andThen(this.#latch.await, Effect.yieldNow)
      }
      const epoch = this.#epoch
      return this.#commitBatch(lane, batch, epoch).pipe(
        Effect.catchDefect((defect) => this.#abandon(lane, batch, epoch, defect)),
        // A lane that ends in the middle would leave the successor waiting for its verdict.
        Effect.onInterrupt(() => Effect.sync(() => this.#queue.detachSuccessor(batch)))
      )
    })
    const goOn = (defect: unknown) =>
      Effect.logError("a commit lane failed between two batches, and goes on", defect).pipe(
        Effect.andThen(Effect.sleep(retryMostMs))
      )
    return Effect.forever(Effect.catchDefect(takeNext, goOn), { disableYield: true })
  }

  /** Sends a batch until nothing of it is open, or it is back in the queue. `epoch` is that of its taking. */
  readonly #commitBatch = Effect.fnUntraced(function* (
    this: CommitLanes,
    lane: Lane,
    batch: CommitBatch,
    epoch: number
  ) {
    const { counts } = this.#stats
    let mayHaveLanded = false
    while (batch.commands.length > 0) {
      const commit: Commit = { writerId: lane.writerId, seq: lane.seq, events: eventsOf(batch) }
      // Only rejections, all decided on states that are durable by now: there is nothing to send.
      if (commit.events.length === 0) return this.#complete(batch, commit)
      const verdict = awaitVerdict(batch)
      if (verdict !== undefined) counts.behind++
      const [took, outcome] = yield* Effect.timed(this.#send(commit, verdict))
      // Without its predecessor it was put back, whatever became of the attempt.
      if (verdict !== undefined && !(yield* verdict)) return
      if (outcome._tag !== "Committed") this.#takeSuccessorBack(batch, epoch)
      switch (outcome._tag) {
        case "Committed": {
          lane.seq++
          lane.retryMs = retryFirstMs
          this.#stats.noteCommit(commit.events.length, Duration.toMillis(took), verdict !== undefined)
          return this.#complete(batch, commit)
        }
        case "Conflict": {
          // With no key to blame, the row in the way is gone again: the same commit may be tried once more.
          if (outcome.versions.length + outcome.commands.length === 0) break
          mayHaveLanded = false
          const { commands } = batch
          yield* this.#alarm(this.#evictGuilty(batch, outcome), commands)
          continue
        }
        case "Fenced":
          return yield* this.#startNewEpoch(lane, batch)
        case "NotWritten": {
          yield* this.#stats.noteTrouble(outcome)
          if (!mayHaveLanded) return yield* this.#requeue(lane, batch, epoch)
          break
        }
        case "Unknown": {
          counts.unknown++
          mayHaveLanded = true
          yield* this.#stats.noteTrouble(outcome)
        }
      }
      yield* pause(lane)
    }
  })

  #send(commit: Commit, verdict?: Effect.Effect<boolean>): Effect.Effect<CommitOutcome> {
    return this.#store.commit(commit, verdict).pipe(
      continued({
        name: "commit",
        kind: "client",
        rows: () => commit.events,
        attributes: { "chronicle.writer": commit.writerId, "chronicle.seq": commit.seq }
      })
    )
  }

  /** All of the batch is in the log: actors first, then the relay, then the callers (I6). */
  #complete(batch: CommitBatch, commit: Commit): void {
    const { counts } = this.#stats
    const { commands } = batch
    const committed = Result.try(() => this.#queue.commit(batch))
    for (const { pendingEvents, rejection } of commands) {
      if (rejection === undefined) counts.committed++
      for (const { after } of pendingEvents) {
        if (after.account.version % this.#limits.snapshotEvery === 0) this.#snapshotter.offerUnsafe(after)
      }
    }
    if (commit.events.length > 0) this.#feed.offerUnsafe(commit)
    this.#consume(BatchResult.Committed({ commands }))
    for (const command of commands) command.forgetEvents()
    this.#latch.openUnsafe()
    // Behind the callers: what is in the log is told, also where a bug of this program was met on the way.
    Result.getOrThrow(committed)
  }

  /** Takes the guilty commands and all that depend on them out of the batch and the queue. Answers the stale actors. */
  #evictGuilty(
    batch: CommitBatch,
    outcome: CommitOutcome & { readonly _tag: "Conflict" }
  ): ReadonlySet<AccountActor> {
    const { counts } = this.#stats
    const known = new Set<string>(outcome.commands)
    const taken = new Set<AccountId>(outcome.versions.map(({ account }) => account))
    const stale = new Set<AccountActor>()
    for (const { pendingEvents } of batch.commands) {
      for (const { actor } of pendingEvents) if (taken.has(actor.id)) stale.add(actor)
    }
    const isDuplicate = (command: PendingCommand) => known.has(command.command.commandId)
    const isStale = (command: PendingCommand) => command.participants.some((actor) => stale.has(actor))
    const inBatch = new Set(batch.commands)
    for (const command of inBatch) if (isStale(command) && !isDuplicate(command)) command.noteAttempt()
    const evicted = this.#queue.evict(
      (command) => isStale(command) || (inBatch.has(command) && isDuplicate(command)),
      batch,
      isDuplicate
    )
    const duplicates = evicted.filter(isDuplicate)
    const commands = evicted.filter((command) => !isDuplicate(command))
    counts.conflicts += stale.size
    counts.repeats += duplicates.length
    this.#consume(BatchResult.Evicted({ commands, stale, duplicates }))
    this.#latch.openUnsafe()
    return stale
  }

  /** The batch certainly wrote nothing: back to the queue, where a deadline may still take commands out. */
  readonly #requeue = Effect.fnUntraced(function* (
    this: CommitLanes,
    lane: Lane,
    batch: CommitBatch,
    epoch: number
  ) {
    if (epoch === this.#epoch) this.#queue.requeue(batch)
    else this.#decideAgain(batch)
    yield* pause(lane)
    this.#latch.openUnsafe()
  })

  /** Another process fenced the lane's writer: the lane goes on as a new one, in a new epoch. */
  readonly #startNewEpoch = Effect.fnUntraced(function* (this: CommitLanes, lane: Lane, batch: CommitBatch) {
    this.#stats.counts.fenced++
    yield* Effect.logWarning(
      "this writer was fenced while it was away; it goes on as a new one",
      lane.writerId
    )
    this.#writers.retire(lane.writerId)
    lane.writerId = yield* this.#writers.register(lane.index)
    lane.seq = 1
    // Only now: what other lanes took until here is not among what is decided again.
    this.#epoch++
    this.#decideAgain(batch)
  })

  /** A defect is a bug of this program: the lane goes on as a new writer, and only its batch is lost sight of. */
  readonly #abandon = Effect.fnUntraced(function* (
    this: CommitLanes,
    lane: Lane,
    batch: CommitBatch,
    epoch: number,
    defect: unknown
  ) {
    // A chained batch whose predecessor has not committed is not lost: nothing of it is in the log.
    if (batch.predecessor !== undefined) this.#takeSuccessorBack(batch.predecessor, epoch)
    this.#takeSuccessorBack(batch, epoch)
    yield* Effect.logError("a commit lane failed; it goes on as a new writer", defect).pipe(
      about(batch.commands)
    )
    const { writerId } = lane
    lane.writerId = yield* this.#writers.register(lane.index)
    lane.seq = 1
    this.#writers.retire(writerId)
    // What it sent last has landed or never will, so that the actors are rebuilt on the truth. Only now, for with
    // no writer of ours left the instants of what is queued would be taken for closed.
    yield* this.#store.fenceWriter(writerId).pipe(Effect.retry(Schedule.spaced(fenceRetryMs)), Effect.orDie)
    const lost = new Set(batch.commands)
    const stale = new Set(batch.commands.flatMap(({ participants }) => participants))
    // Another process may have fenced it before: then this is a new epoch like any other.
    this.#epoch++
    const evicted = this.#queue.evict(() => true, batch)
    const commands = evicted.filter((command) => lost.has(command))
    const others = evicted.filter((command) => !lost.has(command))
    this.#consume(BatchResult.Lost({ commands, stale, others }))
    this.#latch.openUnsafe()
  })

  /** Takes the successor back; it is decided again if a new epoch began since the batch was taken. */
  #takeSuccessorBack(batch: CommitBatch, epoch: number): void {
    if (this.#queue.detachSuccessor(batch) && epoch !== this.#epoch) this.#decideAgain()
  }

  /** Everything that is decided and not being sent by another lane gets a `recordedAt` of now. */
  #decideAgain(batch?: CommitBatch): void {
    const commands = this.#queue.evict(() => true, batch)
    this.#consume(BatchResult.Evicted({ commands, stale: noActors, duplicates: [] }))
  }
}

const pause = (lane: Lane): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { retryMs } = lane
    lane.retryMs = Math.min(retryMs * 2, retryMostMs)
    return Effect.sleep(retryMs)
  })

const eventsOf = (batch: CommitBatch): ReadonlyArray<StoredEvent> => {
  const events: Array<StoredEvent> = []
  for (const { pendingEvents } of batch.commands) for (const { row } of pendingEvents) events.push(row)
  return events
}
