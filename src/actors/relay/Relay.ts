/**
 * Publishes committed events to the bus, each writer's commits in order of `seq`. The log is the outbox: this node's
 * own commits come from the commit feed (or from the store, where the feed dropped them), and a singleton publishes
 * the tails that dead nodes left behind. Nothing is lost by a crash: what is not acknowledged is published again.
 */
import { Context, Effect, Exit, Layer, Schedule, Schema } from "effect"
import { Bus } from "../../infra/bus/Bus.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type WriterId, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { makePublisher, makeSlice, type Publisher } from "./Publisher.ts"
import { makeSingleton, Singletons } from "./Singletons.ts"
import { reasonOf, supervise, toldOf } from "./Supervisor.ts"

export interface RelayStatus {
  /** Events acknowledged by the bus since the start. */
  readonly events: number
  /** Of these, how many came from the store, because the feed had dropped them or their node died. */
  readonly eventsFromStore: number
  /** This node publishes the tails of dead nodes; its own commits every node publishes itself. */
  readonly isOwned: boolean
  /** The relay can reach the bus. */
  readonly isBusConnected: boolean
  /** Commits of all writers that were not published when the tails were last looked at, every `orphansMs`; about. */
  readonly unpublished: number
  /** The last error of a fiber of the relay that has not made progress since. */
  readonly lastError: string | undefined
  readonly restarts: number
}

export class Relay extends Context.Service<Relay, { readonly statusUnsafe: () => RelayStatus }>()(
  "chronicle/actors/Relay"
) {
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
        const reason = toldOf(cause)
        const isNews = ![...errors.values()].includes(reason)
        errors.set(fiber, reason)
        restarts++
        return isNews ? Effect.logWarning(`relay: ${reasonOf(cause)}`) : Effect.void
      }),
    statusUnsafe: () => ({ lastError: errors.values().next().value, restarts })
  }
}

/** Publishes this node's own commits as the feed brings them. */
const makeFeedRelay = Effect.fnUntraced(function* (publisher: Publisher) {
  const feed = yield* CommitFeed
  const { publishEventsMax } = yield* ReadSideConfig
  const { cursorOf, publish, publishTails, turn } = publisher
  /** Taken out of the feed by a run that failed; read from the store before the feed is looked at again. */
  const owed = new Map<WriterId, number>()

  /** The rest is no part of its turn, for which the tails of dead nodes wait, and these may have had some of it before its turn came. */
  const publishSlice = (commits: ReadonlyArray<Commit>) =>
    Effect.flatten(
      turn.withPermit(
        Effect.suspend(() => publish(commits.filter(({ writerId, seq }) => seq > cursorOf(writerId))))
      )
    )

  const owe = (commits: ReadonlyArray<Commit>, dropped: ReadonlyMap<WriterId, number>): void => {
    const note = (writer: WriterId, seq: number) => owed.set(writer, Math.max(seq, owed.get(writer) ?? 0))
    for (const { writerId, seq } of commits) note(writerId, seq)
    for (const [writerId, seq] of dropped) note(writerId, seq)
  }

  const publishOwed = Effect.gen(function* () {
    yield* publishTails(owed)
    owed.clear()
  })

  /** Whole commits in slices of about `publishEventsMax`, smaller ones of a backlog; a hole before one is filled from the store. */
  const publishInOrder = Effect.fnUntraced(function* (commits: ReadonlyArray<Commit>) {
    let slice = makeSlice(publishEventsMax)
    for (const commit of commits) {
      const { writerId, seq } = commit
      const reached = slice.commits.findLast((one) => one.writerId === writerId)?.seq ?? cursorOf(writerId)
      if (seq <= reached) continue
      if (slice.isFullFor(commit) || seq !== reached + 1) {
        yield* publishSlice(slice.commits)
        slice = makeSlice(publishEventsMax)
      }
      if (seq > reached + 1) yield* publishTails(new Map([[writerId, seq - 1]]))
      // The tail is read in pieces, the last of which may have gone beyond this commit.
      if (seq <= cursorOf(writerId)) continue
      slice.add(commit)
    }
    if (slice.commits.length > 0) yield* publishSlice(slice.commits)
  })

  /** What was taken and not published is owed, also after an interruption: then it is published at the end. */
  const publishFeed = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(feed.takeAll), ({ commits, dropped }) =>
      Effect.flatMap(publishInOrder(commits), () => publishTails(dropped)).pipe(
        restore,
        Effect.onExit((exit) =>
          Exit.isFailure(exit) ? Effect.sync(() => owe(commits, dropped)) : Effect.void
        )
      )
    )
  )

  return {
    publishOwed,
    publishFeed,
    publishRest: Effect.andThen(
      publishOwed,
      Effect.suspend(() => (feed.hasSomeUnsafe() ? publishFeed : Effect.void))
    )
  }
})

/** Publishes the tails of dead nodes, one look at a time, and finds writers to be finished. */
const makeOrphanRelay = Effect.fnUntraced(function* (publisher: Publisher) {
  const singletons = yield* Singletons
  const store = yield* EventStore
  const limits = yield* ReadSideConfig
  const { cursorOf, publishTails, readCursors, saveCursors, forgetUnsafe } = publisher
  const status = { isOwned: false, unpublished: 0 }
  /** Writers that lacked the note of their fence, and were fenced once more for it. */
  const refenced = new Set<WriterId>()

  const isSilent = (row: WriterRow, newest: number) =>
    row.fenced || newest - row.heartbeatAt > limits.writerSilentMs

  /** What is fenced and published needs no listing any more: the number of writers that once were only grows. */
  const finishWriters = Effect.fnUntraced(function* (rows: ReadonlyArray<WriterRow>, newest: number) {
    yield* saveCursors
    const options = { silentMs: limits.writerKeptMs, limit: finishedAtOnce }
    yield* Effect.repeat(store.finishWriters(options), { until: (finished) => finished < finishedAtOnce })
    // A node that died between a fence and the note of it left a writer that is never found to be finished.
    const overdue = rows.filter(
      ({ fenced, heartbeatAt, writerId }) =>
        fenced && newest - heartbeatAt > 2 * limits.writerKeptMs && !refenced.has(writerId)
    )
    const listed = overdue.length === 0 ? [] : (yield* store.listWriters).map(({ writerId }) => writerId)
    for (const { writerId } of overdue.filter((row) => listed.includes(row.writerId))) {
      yield* store.fenceWriter(writerId)
      refenced.add(writerId)
    }
    forgetUnsafe(new Set(rows.map((row) => row.writerId)))
  })

  return {
    status,
    /** The first look publishes every unpublished tail, because its node may have died with the owner before us. */
    look: Effect.fnUntraced(function* (isFirst: boolean) {
      yield* readCursors
      const rows = yield* store.listWriters
      const newest = rows.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
      const left = rows.filter(
        (row) => row.lastSeq > cursorOf(row.writerId) && (isFirst || isSilent(row, newest))
      )
      // However long the tails are, this node's own commits wait for one page of them.
      yield* publishTails(new Map(left.map(({ writerId, lastSeq }) => [writerId, lastSeq])))
      status.unpublished = rows.reduce(
        (sum, row) => sum + Math.max(0, row.lastSeq - cursorOf(row.writerId)),
        0
      )
      singletons.publishUnsafe(orphansSingleton, status.unpublished)
      yield* finishWriters(rows, newest)
    })
  }
})

/** Repeats a step, `pauseMs` between two, and begins again with a longer pause after each death. */
const supervised = <E, R>(
  fibers: ReturnType<typeof makeFibers>,
  fiber: string,
  step: Effect.Effect<void, E, R>,
  pauseMs: number
) =>
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

const makeRelay = Effect.gen(function* () {
  const singletons = yield* Singletons
  const bus = yield* Bus
  const limits = yield* ReadSideConfig
  const publisher = yield* makePublisher
  const feedRelay = yield* makeFeedRelay(publisher)
  const orphans = yield* makeOrphanRelay(publisher)
  const fibers = makeFibers()

  // At its end a node publishes its last commits itself: others would wait until its writers are silent for long.
  yield* Effect.addFinalizer(() =>
    Effect.andThen(Effect.sync(publisher.endUnsafe), feedRelay.publishRest).pipe(
      Effect.timeoutOption(limits.handoverMs),
      Effect.ignoreCause,
      Effect.andThen(publisher.saveCursors.pipe(Effect.timeoutOption(limits.relayCursorMs), Effect.ignore))
    )
  )
  yield* supervise((alive) => {
    const progressed = Effect.sync(() => {
      fibers.progressed("feed")
      alive()
    })
    return Effect.andThen(
      Effect.tap(feedRelay.publishOwed, () => Effect.sync(() => fibers.progressed("feed"))),
      Effect.forever(Effect.andThen(feedRelay.publishFeed, progressed))
    )
  }, fibers.onDeath("feed")).pipe(Effect.forkScoped)
  const saveCursors = Effect.andThen(
    publisher.awaitUnsaved,
    Effect.delay(publisher.saveCursors, limits.relayCursorMs)
  )
  yield* supervised(fibers, "cursors", saveCursors, 0).pipe(Effect.forkScoped)

  const own = (isOwned: boolean) =>
    Effect.sync(() => {
      Object.assign(orphans.status, { isOwned, unpublished: 0 })
      fibers.progressed("orphans")
    })
  const lookForOrphans = Effect.suspend(() => {
    let isFirst = true
    const look = Effect.suspend(() => orphans.look(isFirst)).pipe(
      Effect.andThen(
        Effect.sync(() => {
          isFirst = false
        })
      )
    )
    return supervised(fibers, "orphans", look, limits.orphansMs)
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
      ...orphans.status,
      ...publisher.counts,
      ...fibers.statusUnsafe(),
      isBusConnected: bus.isConnectedUnsafe(),
      unpublished: orphans.status.isOwned
        ? orphans.status.unpublished
        : (singletons.statusUnsafe(orphansSingleton) ?? 0)
    })
  } satisfies Relay["Service"]
})
