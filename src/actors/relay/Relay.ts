/**
 * Publishes committed events to the bus, each writer's commits in order of `seq`. The log is the outbox: this node's
 * own commits come from the commit feed (or from the store, where the feed dropped them), and a singleton publishes
 * the tails that dead nodes left behind. Nothing is lost by a crash: what is not acknowledged is published again.
 */
import { Context, Effect, Layer, Schedule, Schema } from "effect"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type WriterId, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { makePublisher, type Publisher } from "./Publisher.ts"
import { makeSingleton, Singletons } from "./Singletons.ts"
import { reasonOf, supervise } from "./Supervisor.ts"

export interface RelayStatus {
  /** Events acknowledged by the bus since the start. */
  readonly events: number
  /** Of these, how many came from the store, because the feed had dropped them or their node died. */
  readonly eventsFromStore: number
  /** This node publishes the tails of dead nodes; its own commits every node publishes itself. */
  readonly isOwned: boolean
  /** Commits of all writers that were not published when the tails were last looked at, every `orphansMs`; about. */
  readonly unpublished: number
  /** The last error of a fiber of the relay that has not made progress since. */
  readonly lastError: string | undefined
  readonly restarts: number
}

export class Relay extends Context.Service<
  Relay,
  {
    readonly statusUnsafe: () => RelayStatus
    /** How far each writer's tail is published, as far as this process knows. */
    readonly publishedUnsafe: (writer: WriterId) => number
  }
>()("chronicle/actors/Relay") {
  static readonly layer = Layer.effect(
    Relay,
    Effect.suspend(() => makeRelay)
  )
}

/** Writers that are found to be finished by one statement. */
const finishedAtOnce = 500

/** Publishes the tails of dead nodes; its status is the number of unpublished commits. */
export const orphansSingleton = makeSingleton("orphans", Schema.FiniteFromString)

/** The fibers of the relay, each with the error it died of until it makes progress again. */
const makeFibers = () => {
  const errors = new Map<string, string>()
  let restarts = 0
  return {
    progressed: (fiber: string): void => {
      errors.delete(fiber)
    },
    onDeath: (fiber: string) => (cause: Parameters<typeof reasonOf>[0]) =>
      Effect.suspend(() => {
        const reason = reasonOf(cause)
        const isNews = ![...errors.values()].includes(reason)
        errors.set(fiber, reason)
        restarts++
        return isNews ? Effect.logWarning(`relay: ${reason}`) : Effect.void
      }),
    statusUnsafe: () => ({ lastError: errors.values().next().value, restarts })
  }
}

/** Publishes this node's own commits as the feed brings them. */
const makeFeedRelay = Effect.fnUntraced(function* (publisher: Publisher) {
  const feed = yield* CommitFeed
  const { publishEventsMax } = yield* ReadSideConfig
  const { cursorOf, publish, publishTail, turn } = publisher
  /** Taken out of the feed by a run that failed; read from the store before the feed is looked at again. */
  const owed = new Map<WriterId, number>()

  const owe = (commits: ReadonlyArray<Commit>, dropped: ReadonlyMap<WriterId, number>): void => {
    const note = (writer: WriterId, seq: number) => owed.set(writer, Math.max(seq, owed.get(writer) ?? 0))
    for (const { writerId, seq } of commits) note(writerId, seq)
    for (const [writerId, seq] of dropped) note(writerId, seq)
  }

  const publishOwed = Effect.gen(function* () {
    for (const [writerId, seq] of owed) {
      yield* publishTail(writerId, seq)
      owed.delete(writerId)
    }
  }).pipe(turn.withPermit)

  /** Whole commits in slices of about `publishEventsMax`; a hole before one is filled from the store. */
  const publishInOrder = Effect.fnUntraced(function* (commits: ReadonlyArray<Commit>) {
    let slice: Array<Commit> = []
    let events = 0
    for (const commit of commits) {
      const { writerId, seq } = commit
      const reached = slice.findLast((one) => one.writerId === writerId)?.seq ?? cursorOf(writerId)
      if (seq <= reached) continue
      const isFull = events > 0 && events + commit.events.length > publishEventsMax
      if (isFull || seq !== reached + 1) {
        yield* publish(slice)
        slice = []
        events = 0
      }
      if (seq > reached + 1) yield* publishTail(writerId, seq - 1)
      // The tail is read in pieces, the last of which may have gone beyond this commit.
      if (seq <= cursorOf(writerId)) continue
      slice.push(commit)
      events += commit.events.length
    }
    if (slice.length > 0) yield* publish(slice)
  })

  const publishFeed = Effect.gen(function* () {
    const { commits, dropped } = yield* feed.takeAll
    yield* Effect.gen(function* () {
      yield* publishInOrder(commits)
      for (const [writerId, seq] of dropped) yield* publishTail(writerId, seq)
    }).pipe(
      Effect.tapCause(() => Effect.sync(() => owe(commits, dropped))),
      turn.withPermit
    )
  })

  return {
    publishOwed,
    publishFeed,
    publishRest: Effect.andThen(
      publishOwed,
      Effect.suspend(() => (feed.hasSomeUnsafe() ? publishFeed : Effect.void))
    )
  }
})

const makeRelay = Effect.gen(function* () {
  const singletons = yield* Singletons
  const store = yield* EventStore
  const limits = yield* ReadSideConfig
  const publisher = yield* makePublisher
  const { counts, turn, cursorOf, publishTail, readCursors, saveCursors } = publisher
  const feedRelay = yield* makeFeedRelay(publisher)
  const fibers = makeFibers()
  const orphans = { isOwned: false, unpublished: 0 }

  const isSilent = (row: WriterRow, newest: number) =>
    row.fenced || newest - row.heartbeatAt > limits.writerSilentMs

  /** The first look publishes every unpublished tail, because its node may have died with the owner before us. */
  const publishOrphans = Effect.fnUntraced(function* (isFirst: boolean) {
    yield* readCursors
    const rows = yield* store.listWriters
    const newest = rows.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
    for (const row of rows) {
      if (row.lastSeq > cursorOf(row.writerId) && (isFirst || isSilent(row, newest))) {
        yield* turn.withPermit(publishTail(row.writerId, row.lastSeq))
      }
    }
    orphans.unpublished = rows.reduce(
      (sum, row) => sum + Math.max(0, row.lastSeq - cursorOf(row.writerId)),
      0
    )
    singletons.publishUnsafe(orphansSingleton, orphans.unpublished)
    yield* finishWriters(rows)
  })

  /** Writers that lacked the note of their fence, and were fenced once more for it. */
  const refenced = new Set<WriterId>()

  /** What is fenced and published needs no listing any more: the number of writers that once were only grows. */
  const finishWriters = Effect.fnUntraced(function* (rows: ReadonlyArray<WriterRow>) {
    yield* saveCursors
    const options = { silentMs: limits.writerKeptMs, limit: finishedAtOnce }
    yield* Effect.repeat(store.finishWriters(options), { until: (finished) => finished < finishedAtOnce })
    const newest = rows.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
    // A node that died between a fence and the note of it left a writer that is never found to be finished.
    const overdue = rows.filter(
      (row) => row.fenced && newest - row.heartbeatAt > 2 * limits.writerKeptMs && !refenced.has(row.writerId)
    )
    const left = overdue.length === 0 ? [] : yield* store.listWriters
    for (const { writerId } of overdue.filter((one) => left.some((row) => row.writerId === one.writerId))) {
      yield* store.fenceWriter(writerId)
      refenced.add(writerId)
    }
    publisher.forgetUnsafe(new Set(rows.map((row) => row.writerId)))
  })

  /** Repeats a step, `pauseMs` between two, and begins again with a pause after each death. */
  const supervised = <E, R>(fiber: string, step: Effect.Effect<void, E, R>, pauseMs: number) =>
    supervise(
      (alive) =>
        step.pipe(
          Effect.andThen(
            Effect.sync(() => {
              fibers.progressed(fiber)
              alive()
            })
          ),
          Effect.repeat(Schedule.spaced(pauseMs))
        ),
      fibers.onDeath(fiber)
    )

  // At its end a node publishes its last commits itself: others would wait until its writers are silent for long.
  yield* Effect.addFinalizer(() =>
    feedRelay.publishRest.pipe(
      Effect.timeoutOption(limits.handoverMs),
      Effect.ignoreCause,
      Effect.andThen(saveCursors.pipe(Effect.timeoutOption(limits.relayCursorMs), Effect.ignore))
    )
  )
  const feedProgressed = Effect.sync(() => fibers.progressed("feed"))
  yield* supervise(
    (alive) =>
      feedRelay.publishOwed.pipe(
        Effect.andThen(feedProgressed),
        Effect.andThen(
          Effect.forever(
            Effect.andThen(feedRelay.publishFeed, Effect.andThen(feedProgressed, Effect.sync(alive)))
          )
        )
      ),
    fibers.onDeath("feed")
  ).pipe(Effect.forkScoped)
  yield* supervised("cursors", saveCursors, limits.relayCursorMs).pipe(Effect.forkScoped)

  const own = (isOwned: boolean) =>
    Effect.sync(() => {
      Object.assign(orphans, { isOwned, unpublished: 0 })
      fibers.progressed("orphans")
    })
  const lookForOrphans = Effect.suspend(() => {
    let isFirst = true
    const look = Effect.suspend(() => publishOrphans(isFirst)).pipe(
      Effect.andThen(
        Effect.sync(() => {
          isFirst = false
        })
      )
    )
    return supervised("orphans", look, limits.orphansMs)
  })
  yield* singletons.run(
    orphansSingleton.name,
    Effect.andThen(
      Effect.acquireRelease(own(true), () => own(false)),
      lookForOrphans
    )
  )

  return {
    statusUnsafe: () => ({
      ...orphans,
      ...counts,
      ...fibers.statusUnsafe(),
      unpublished: orphans.isOwned ? orphans.unpublished : (singletons.statusUnsafe(orphansSingleton) ?? 0)
    }),
    publishedUnsafe: cursorOf
  } satisfies Relay["Service"]
})
