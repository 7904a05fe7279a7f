/** Queued tickets enter; lanes send them in batches, one INSERT each, until every outcome is definite. */
import { Deferred, Duration, Effect, Latch } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import {
  type Commit,
  type CommitOutcome,
  EventStore,
  type WriterId
} from "../../infra/eventstore/EventStore.ts"
import { continued } from "../../infra/telemetry/Tracing.ts"
import type { AccountActor } from "../accounts/AccountActor.ts"
import type { CommitBatch } from "../accounts/Flight.ts"
import { about, type PendingCommand } from "../accounts/Lifecycle.ts"
import { Snapshotter } from "../accounts/Snapshotter.ts"
import { CommitFeed } from "./CommitFeed.ts"
import type { CommitQueue } from "./CommitQueue.ts"
import { makeCommitMeters } from "./CommitStats.ts"
import { noStats, type PipelineStats } from "./PipelineStats.ts"
import { makeSplitBrainAlarm } from "./SplitBrainAlarm.ts"
import type { WriterRegistry } from "./WriterRegistry.ts"

const retryFirstMs = 5
const retryMostMs = 1_000

/** What the pipeline hands back when a ticket cannot simply be committed. */
export interface PipelineEvents {
  /** Its rows are durable, or it is refused on a state that is: answer it. */
  readonly onDurable: (ticket: PendingCommand) => void
  /** The lane met a defect while the ticket was in flight: its outcome is unknown. */
  readonly onLost: (ticket: PendingCommand) => void
  /** Its command id was accepted before: answer the first outcome. */
  readonly onRepeat: (ticket: PendingCommand) => void
  /** To be decided again, in this order, once those accounts that another writer wrote to are reloaded. */
  readonly onEvicted: (tickets: ReadonlyArray<PendingCommand>, stale: ReadonlySet<AccountActor>) => void
}

interface Lane {
  readonly index: number
  writerId: WriterId
  seq: number
  /** The pause before the next try, in milliseconds; grows while the store does not commit. */
  retryMs: number
}

export interface CommitPipeline {
  readonly stats: PipelineStats
  /** Says that the queue has something new. */
  readonly wake: () => void
}

/** Starts the lanes in the scope. */
export const makeCommitPipeline = Effect.fnUntraced(function* (
  queue: CommitQueue,
  writers: WriterRegistry,
  events: PipelineEvents
) {
  const store = yield* EventStore
  const feed = yield* CommitFeed
  const snapshotter = yield* Snapshotter
  const meters = yield* makeCommitMeters
  const limits = yield* LedgerConfig
  const alarm = yield* makeSplitBrainAlarm
  const batchLimits = { rowsMax: limits.batchRowsMax, bytesMax: limits.batchBytesMax }
  const latch = Latch.makeUnsafe(false)
  /** Counts lanes that went on as new writers after a fence: they must not write what was decided before it. */
  let renewals = 0
  const stats = noStats()

  /** Everything of the flight is in the log: actors first, then the relay, then the callers (I6). */
  const complete = (flight: CommitBatch, commit: Commit): void => {
    const { commands: tickets } = flight
    queue.land(flight)
    flight.commands = []
    for (const ticket of tickets) {
      for (const { actor, after } of ticket.pendingEvents) {
        actor.committed = after
        if (after.account.version % limits.snapshotEvery === 0) snapshotter.offerUnsafe(after)
      }
      for (const actor of ticket.participants) actor.uncommitted--
    }
    if (commit.events.length > 0) {
      stats.batches++
      stats.rows += commit.events.length
      stats.rowsMax = Math.max(stats.rowsMax, commit.events.length)
      stats.trouble = undefined
      feed.offerUnsafe(commit)
    }
    for (const ticket of tickets) {
      if (ticket.rejection === undefined) stats.committed++
      events.onDurable(ticket)
      // A Map that grew or was tidied leaves its old table behind, which keeps what it held alive through the next
      // collections of the young heap: measured, most tickets were promoted with all their rows.
      ticket.pendingEvents = []
      ticket.participants = []
    }
    latch.openUnsafe()
  }

  /**
   * Takes the guilty and all that depend on them out of the flight and the queue; the others stay. Answers the
   * accounts that another writer wrote to. Without a pause: nobody may decide on what was rolled back.
   */
  const isolate = (
    flight: CommitBatch,
    outcome: CommitOutcome & { _tag: "Conflict" }
  ): ReadonlySet<AccountActor> => {
    const repeats = new Set<string>(outcome.commands)
    const taken = new Set<AccountId>(outcome.versions.map(({ account }) => account))
    const stale = new Set<AccountActor>()
    for (const { pendingEvents: legs } of flight.commands) {
      for (const { actor } of legs) if (taken.has(actor.id)) stale.add(actor)
    }
    const isRepeat = (ticket: PendingCommand) => repeats.has(ticket.command.commandId)
    const isStale = (ticket: PendingCommand) => ticket.participants.some((actor) => stale.has(actor))
    const guilty = new Set(flight.commands.filter((ticket) => !isRepeat(ticket) && isStale(ticket)))
    const inFlight = new Set(flight.commands)
    const evicted = queue.evict(
      (ticket) => isStale(ticket) || (inFlight.has(ticket) && isRepeat(ticket)),
      flight
    )
    for (const ticket of guilty) ticket.attempts++
    stats.conflicts += stale.size
    events.onEvicted(
      evicted.filter((ticket) => !isRepeat(ticket)),
      stale
    )
    for (const ticket of evicted.filter(isRepeat)) {
      stats.repeats++
      events.onRepeat(ticket)
    }
    latch.openUnsafe()
    return stale
  }

  /** The lane's tail was ended by somebody: go on as a new writer, with everything decided again, later. */
  const renew = Effect.fnUntraced(function* (lane: Lane, flight: CommitBatch) {
    stats.fenced++
    yield* Effect.logWarning(
      "this writer was fenced while it was away; it goes on as a new one",
      lane.writerId
    )
    writers.retire(lane.writerId)
    lane.writerId = yield* writers.register(lane.index)
    lane.seq = 1
    // Only now: what was taken until here is not among what is decided again.
    renewals++
    decideAgain(flight)
  })

  /** Takes back what follows the flight; decided again, if a lane was renewed since the flight was taken. */
  const takeBack = (flight: CommitBatch, since: number): void => {
    if (queue.disband(flight) && since !== renewals) decideAgain()
  }

  /** Everything that is decided and not in the air elsewhere gets a `recordedAt` of now. */
  const decideAgain = (flight?: CommitBatch): void =>
    events.onEvicted(
      queue.evict(() => true, flight),
      new Set()
    )

  const send = (commit: Commit, mayCommit?: Effect.Effect<boolean>): Effect.Effect<CommitOutcome> =>
    store.commit(commit, mayCommit).pipe(
      continued({
        name: "commit",
        kind: "client",
        rows: () => commit.events,
        attributes: { "chronicle.writer": commit.writerId, "chronicle.seq": commit.seq }
      })
    )

  /** Sends one flight until nothing of it is open. */
  const fly = Effect.fnUntraced(function* (lane: Lane, flight: CommitBatch, since: number) {
    let mayHaveLanded = false
    while (flight.commands.length > 0) {
      const commit: Commit = { writerId: lane.writerId, seq: lane.seq, events: rowsOf(flight) }
      const mayCommit = flight.predecessor === undefined ? undefined : wordFor(flight)
      if (mayCommit !== undefined) stats.behind++
      if (commit.events.length === 0) return complete(flight, commit)
      const [took, outcome] = yield* Effect.timed(send(commit, mayCommit))
      // Whatever became of it, its leader's outcome comes first: if that did not land at once, this was put back.
      if (mayCommit !== undefined && !(yield* mayCommit)) return
      if (outcome._tag !== "Committed") takeBack(flight, since)
      switch (outcome._tag) {
        case "Committed": {
          lane.seq++
          lane.retryMs = retryFirstMs
          const millis = Duration.toMillis(took)
          // What waits for a leader says nothing of the store.
          if (mayCommit === undefined) stats.commitMs += (millis - stats.commitMs) / 16
          meters.flushedUnsafe(commit.events.length, millis)
          return complete(flight, commit)
        }
        case "Conflict": {
          // With nobody to blame, the row in the way is gone again: the same commit may try once more.
          if (outcome.versions.length + outcome.commands.length === 0) break
          mayHaveLanded = false
          const { commands: tickets } = flight
          yield* alarm(isolate(flight, outcome), tickets)
          continue
        }
        case "Fenced": {
          yield* renew(lane, flight)
          return
        }
        case "NotWritten": {
          stats.trouble = outcome.reason
          if (!mayHaveLanded) {
            // Nothing is at stake: back to the queue, where a deadline may still take tickets out. But a lane that
            // was renewed meanwhile must not write there what was decided before its fence.
            if (since === renewals) queue.putBack(flight)
            else decideAgain(flight)
            yield* pause(lane)
            latch.openUnsafe()
            return
          }
          break
        }
        case "Unknown": {
          stats.trouble = outcome.reason
          stats.unknown++
          mayHaveLanded = true
        }
      }
      yield* pause(lane)
    }
  })

  /** A defect is a bug of ours: the lane goes on as a new writer, and only what was in flight is lost sight of. */
  const abandon = Effect.fnUntraced(function* (
    lane: Lane,
    flight: CommitBatch,
    since: number,
    defect: unknown
  ) {
    const { predecessor: leader, commands: tickets } = flight
    // A follower that may not become durable yet is not lost: nothing of it is there.
    if (leader !== undefined) takeBack(leader, since)
    takeBack(flight, since)
    yield* Effect.logError("a commit lane failed; it goes on as a new writer", defect).pipe(about(tickets))
    const { writerId } = lane
    lane.writerId = yield* writers.register(lane.index)
    lane.seq = 1
    writers.retire(writerId)
    // What it sent last has landed or never will, so that the actors are rebuilt on the truth. Only now, for with
    // no writer of ours left the instants of what is queued would be taken for closed.
    yield* Effect.ignore(store.fenceWriter(writerId))
    const lost = new Set(flight.commands)
    const stale = new Set(flight.commands.flatMap((ticket) => ticket.participants))
    // Somebody may have fenced it before us: then this is a renewal like any other.
    renewals++
    const evicted = queue.evict(() => true, flight)
    for (const ticket of evicted) if (lost.has(ticket)) events.onLost(ticket)
    events.onEvicted(
      evicted.filter((ticket) => !lost.has(ticket)),
      stale
    )
    latch.openUnsafe()
  })

  const work = Effect.fnUntraced(function* (lane: Lane) {
    for (;;) {
      const flight = queue.take(batchLimits)
      const since = renewals
      if (flight === undefined) {
        latch.closeUnsafe()
        yield* latch.await
        // What is decided in the same tick flies in one batch, and never inside of `wake`.
        yield* Effect.yieldNow
      } else {
        yield* fly(lane, flight, since).pipe(
          Effect.catchDefect((defect) => abandon(lane, flight, since, defect)),
          // Ended in the middle, it would leave its follower waiting for a word.
          Effect.onInterrupt(() => Effect.sync(() => queue.disband(flight)))
        )
      }
    }
  })

  for (let index = 0; index < limits.lanes; index++) {
    const writerId = yield* writers.registerFirst(index)
    yield* Effect.forkScoped(work({ index, writerId, seq: 1, retryMs: retryFirstMs }))
  }
  return { stats, wake: () => latch.openUnsafe() } satisfies CommitPipeline
})

const pause = (lane: Lane): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { retryMs } = lane
    lane.retryMs = Math.min(retryMs * 2, retryMostMs)
    return Effect.sleep(retryMs)
  })

/** Whether a follower may become durable. Never inside of the lane that says so, which is not done with it yet. */
const wordFor = ({ mayCommit }: CommitBatch): Effect.Effect<boolean> =>
  Effect.tap(Deferred.await(mayCommit), () => Effect.yieldNow)

const rowsOf = (flight: CommitBatch): ReadonlyArray<StoredEvent> => {
  const rows: Array<StoredEvent> = []
  for (const { pendingEvents: legs } of flight.commands) for (const { row } of legs) rows.push(row)
  return rows
}
