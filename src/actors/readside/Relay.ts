/** Commits enter, from the feed or the store's tails; they are published in order of `seq`, writer by writer. */
import { Context, Effect, Layer, Semaphore } from "effect"
import { Bus } from "../../infra/Bus.ts"
import { type BusMessage, pack } from "../../infra/BusMessage.ts"
import { type Commit, EventStore, type WriterId, type WriterRow } from "../../infra/EventStore.ts"
import { LedgerConfig } from "../../infra/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/ReadSideConfig.ts"
import { continued } from "../../infra/Tracing.ts"
import { CommitFeed } from "../CommitFeed.ts"
import { reasonOf, supervise } from "./Supervisor.ts"
import { readCommits } from "./TailReader.ts"

export interface RelayStatus {
  /** Events acknowledged by the bus since the start. */
  readonly events: number
  /** Of these, how many came from the store, because the feed had dropped them or their node died. */
  readonly eventsFromStore: number
  /** Commits of all writers that were not published yet when last looked, every `orphansMs`; about, beside other nodes. */
  readonly unpublished: number
  /** The last error, while nothing was published since. */
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

const makeRelay = Effect.gen(function* () {
  const store = yield* EventStore
  const bus = yield* Bus
  const feed = yield* CommitFeed
  const { partitions } = yield* LedgerConfig
  const limits = yield* ReadSideConfig
  const status: { -readonly [Key in keyof RelayStatus]: RelayStatus[Key] } = {
    events: 0,
    eventsFromStore: 0,
    unpublished: 0,
    lastError: undefined,
    restarts: 0
  }
  /** What is acknowledged; the store's cursors follow at intervals, so a restart may publish a little again. */
  const published = new Map<WriterId, number>()
  const unsaved = new Map<WriterId, number>()
  /** Feed and tails are published by one fiber at a time, or they would overtake each other. */
  const turn = yield* Semaphore.make(1)
  const cursorOf = (writer: WriterId) => published.get(writer) ?? 0

  const moveTo = (writer: WriterId, seq: number): void => {
    if (seq <= cursorOf(writer)) return
    published.set(writer, seq)
    unsaved.set(writer, seq)
  }

  /** Sends messages of whole commits; their cursors move once everything is acknowledged. */
  const publish = Effect.fnUntraced(function* (commits: ReadonlyArray<Commit>) {
    const messages: Array<BusMessage> = []
    for (const commit of commits) {
      messages.push(...pack(commit, { partitions, bytesMax: limits.messageBytesMax }))
    }
    yield* bus.publish(messages).pipe(
      continued({
        name: "relay",
        kind: "producer",
        rows: () => commits.flatMap((commit) => commit.events),
        attributes: { "chronicle.messages": messages.length }
      })
    )
    for (const { writerId, seq, events } of commits) {
      moveTo(writerId, seq)
      status.events += events.length
    }
    status.lastError = undefined
  })

  /** Publishes a writer's tail from the store, to its end or to `upTo`. */
  const publishTail = Effect.fnUntraced(function* (writerId: WriterId, upTo: number) {
    while (cursorOf(writerId) < upTo) {
      const after = cursorOf(writerId)
      const { commits, last } = yield* readCommits({ writerId, after, eventsMax: limits.publishEventsMax })
      if (last === undefined) return
      if (commits.length > 0) yield* publish(commits)
      for (const commit of commits) status.eventsFromStore += commit.events.length
      moveTo(writerId, last)
    }
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
      alive()
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
  }).pipe(turn.withPermit)

  const isSilent = (row: WriterRow, newest: number) =>
    row.fenced || newest - row.heartbeatAt > limits.writerSilentMs

  /** Tails that nobody else will publish; at the start those of all writers, of which some may be alive. */
  const publishOrphans = Effect.fnUntraced(function* (isStart: boolean) {
    const cursors = yield* store.relayCursors
    for (const [writer, seq] of cursors) published.set(writer, Math.max(seq, cursorOf(writer)))
    const rows = yield* store.listWriters
    const newest = rows.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
    for (const row of rows) {
      if (row.lastSeq > cursorOf(row.writerId) && (isStart || isSilent(row, newest))) {
        yield* turn.withPermit(publishTail(row.writerId, row.lastSeq))
      }
    }
    status.unpublished = rows.reduce((sum, row) => sum + Math.max(0, row.lastSeq - cursorOf(row.writerId)), 0)
    // The store and, if there was something to do, the bus answered: whatever was wrong is over.
    if (!isStart && status.unpublished === 0) status.lastError = undefined
  })

  const saveCursors = Effect.suspend(() => {
    if (unsaved.size === 0) return Effect.void
    const cursors = new Map(unsaved)
    return Effect.map(store.moveRelayCursors(cursors), () => {
      for (const [writer, seq] of cursors) if (unsaved.get(writer) === seq) unsaved.delete(writer)
    })
  })

  const onDeath = (cause: Parameters<typeof reasonOf>[0]) =>
    Effect.suspend(() => {
      const reason = reasonOf(cause)
      const isNews = status.lastError !== reason
      status.lastError = reason
      status.restarts++
      return isNews ? Effect.logWarning(`relay: ${reason}`) : Effect.void
    })

  let isStart = true
  yield* supervise(
    (alive) =>
      Effect.gen(function* () {
        if (isStart) yield* publishOrphans(true)
        isStart = false
        yield* payOwed
        yield* relayFeed(alive).pipe(Effect.forever)
      }),
    onDeath
  ).pipe(Effect.forkScoped)
  yield* supervise(
    (alive) => publishOrphans(false).pipe(Effect.map(alive), Effect.delay(limits.orphansMs), Effect.forever),
    onDeath
  ).pipe(Effect.forkScoped)
  yield* supervise(
    (alive) => saveCursors.pipe(Effect.map(alive), Effect.delay(limits.relayCursorMs), Effect.forever),
    onDeath
  ).pipe(Effect.forkScoped)
  yield* Effect.addFinalizer(() =>
    saveCursors.pipe(Effect.timeoutOption(limits.relayCursorMs), Effect.ignore)
  )

  return { statusUnsafe: () => ({ ...status }), publishedUnsafe: cursorOf }
})
