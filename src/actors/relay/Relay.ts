/** Commits enter, from the feed or the store's tails; they are published in order of `seq`, writer by writer. */
import { Context, Effect, Layer } from "effect"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type WriterId, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { makePublisher } from "./Publisher.ts"
import { Singletons } from "./Singletons.ts"
import { reasonOf, supervise } from "./Supervisor.ts"

export interface RelayStatus {
  /** Events acknowledged by the bus since the start. */
  readonly events: number
  /** Of these, how many came from the store, because the feed had dropped them or their node died. */
  readonly eventsFromStore: number
  /** This node looks for what dead ones left unpublished; its own commits every node publishes itself. */
  readonly isOwned: boolean
  /** Commits of all writers that were not published when the owner of that duty last looked, every `orphansMs`; about. */
  readonly unpublished: number
  /** The last error of what this node publishes, while it has not gone on since. */
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

/** The duty to publish what nodes left that are no more. */
export const orphansDuty = "orphans"

const makeRelay = Effect.gen(function* () {
  const duties = yield* Singletons
  const store = yield* EventStore
  const feed = yield* CommitFeed
  const limits = yield* ReadSideConfig
  const { counts, turn, cursorOf, publish, publishTail, readCursors, saveCursors } = yield* makePublisher
  /** By the fiber that died of it, until it goes on. */
  const errors = new Map<string, string>()
  const status = { isOwned: false, unpublished: 0, restarts: 0 }

  const wentOn = (fiber: string, alive: () => void) =>
    Effect.sync(() => {
      errors.delete(fiber)
      alive()
    })

  const relayFeed = Effect.fnUntraced(function* (alive: () => void) {
    const { commits, dropped } = yield* feed.takeAll
    yield* Effect.gen(function* () {
      let slice: Array<Commit> = []
      let events = 0
      for (const commit of commits) {
        const { writerId, seq } = commit
        const reached = slice.findLast((one) => one.writerId === writerId)?.seq ?? cursorOf(writerId)
        if (seq <= reached) continue
        const isFull = events > 0 && events + commit.events.length > limits.publishEventsMax
        if (isFull || seq !== reached + 1) {
          yield* publish(slice)
          slice = []
          events = 0
        }
        if (seq > reached + 1) yield* publishTail(writerId, seq - 1)
        // The tail is read in pieces, which may have gone further.
        if (seq <= cursorOf(writerId)) continue
        slice.push(commit)
        events += commit.events.length
      }
      if (slice.length > 0) yield* publish(slice)
      for (const [writerId, seq] of dropped) yield* publishTail(writerId, seq)
      yield* wentOn("feed", alive)
    }).pipe(
      // What was taken out of the feed is not forgotten by a failure: it is read from the store in the next life.
      Effect.tapCause(() => Effect.sync(() => remember(commits, dropped))),
      turn.withPermit
    )
  })

  /** Up to where the store must be read before the feed is looked at again. */
  const owed = new Map<WriterId, number>()
  const remember = (commits: ReadonlyArray<Commit>, dropped: ReadonlyMap<WriterId, number>): void => {
    const owe = (writer: WriterId, seq: number) => owed.set(writer, Math.max(seq, owed.get(writer) ?? 0))
    for (const { writerId, seq } of commits) owe(writerId, seq)
    for (const [writerId, seq] of dropped) owe(writerId, seq)
  }
  const payOwed = Effect.gen(function* () {
    for (const [writerId, seq] of owed) {
      yield* publishTail(writerId, seq)
      owed.delete(writerId)
    }
    errors.delete("feed")
  }).pipe(turn.withPermit)

  const isSilent = (row: WriterRow, newest: number) =>
    row.fenced || newest - row.heartbeatAt > limits.writerSilentMs

  /** Tails that nobody else will publish; at the start those of all writers, of which some may be alive. */
  const publishOrphans = Effect.fnUntraced(function* (isStart: boolean) {
    yield* readCursors
    const rows = yield* store.listWriters
    const newest = rows.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
    for (const row of rows) {
      if (row.lastSeq > cursorOf(row.writerId) && (isStart || isSilent(row, newest))) {
        yield* turn.withPermit(publishTail(row.writerId, row.lastSeq))
      }
    }
    status.unpublished = rows.reduce((sum, row) => sum + Math.max(0, row.lastSeq - cursorOf(row.writerId)), 0)
    duties.tellUnsafe(orphansDuty, String(status.unpublished))
  })

  const onDeath = (fiber: string) => (cause: Parameters<typeof reasonOf>[0]) =>
    Effect.suspend(() => {
      const reason = reasonOf(cause)
      const isNews = ![...errors.values()].includes(reason)
      errors.set(fiber, reason)
      status.restarts++
      return isNews ? Effect.logWarning(`relay: ${reason}`) : Effect.void
    })

  // What this node committed last is not left to others, who would find it only when its writers are silent for long.
  const publishRest = Effect.suspend(() =>
    Effect.andThen(payOwed, feed.hasSomeUnsafe() ? relayFeed(() => {}) : Effect.void)
  )
  yield* Effect.addFinalizer(() =>
    publishRest.pipe(
      Effect.timeoutOption(limits.handoverMs),
      Effect.ignoreCause,
      Effect.andThen(saveCursors.pipe(Effect.timeoutOption(limits.relayCursorMs), Effect.ignore))
    )
  )
  yield* supervise(
    (alive) => Effect.andThen(payOwed, Effect.forever(relayFeed(alive))),
    onDeath("feed")
  ).pipe(Effect.forkScoped)
  yield* supervise(
    (alive) =>
      saveCursors.pipe(
        Effect.andThen(wentOn("cursors", alive)),
        Effect.delay(limits.relayCursorMs),
        Effect.forever
      ),
    onDeath("cursors")
  ).pipe(Effect.forkScoped)

  const own = (isOwned: boolean) =>
    Effect.sync(() => {
      status.isOwned = isOwned
      status.unpublished = 0
      errors.delete("orphans")
    })
  const lookForOrphans = Effect.suspend(() => {
    let isStart = true
    return supervise(
      (alive) =>
        Effect.suspend(() => publishOrphans(isStart)).pipe(
          Effect.andThen(wentOn("orphans", alive)),
          Effect.andThen(() => {
            isStart = false
            return Effect.sleep(limits.orphansMs)
          }),
          Effect.forever
        ),
      onDeath("orphans")
    )
  })
  yield* duties.run(
    orphansDuty,
    Effect.andThen(
      Effect.acquireRelease(own(true), () => own(false)),
      lookForOrphans
    )
  )

  const statusUnsafe = (): RelayStatus => ({
    ...status,
    ...counts,
    unpublished: status.isOwned ? status.unpublished : Number(duties.toldUnsafe(orphansDuty) ?? 0),
    lastError: errors.values().next().value
  })
  return { statusUnsafe, publishedUnsafe: cursorOf }
})
