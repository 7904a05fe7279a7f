/**
 * The outbox: packs commits into messages for the bus and keeps, for each writer, how far its tail is published. The
 * cursors are saved to the event store from time to time, so that after a crash only a little is published again.
 */
import { Effect, Semaphore } from "effect"
import { Bus } from "../../infra/bus/Bus.ts"
import { type BusMessage, pack } from "../../infra/bus/BusMessage.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type WriterId } from "../../infra/eventstore/EventStore.ts"
import { continued } from "../../infra/telemetry/Tracing.ts"
import { readCommits } from "./TailReader.ts"

/** How far each writer's tail is published. */
const makePublishedCursors = (store: EventStore["Service"]) => {
  /** The last commit of each writer that the bus acknowledged. */
  const published = new Map<WriterId, number>()
  /** Those of them that the store does not know yet. */
  const unsaved = new Map<WriterId, number>()
  /** Writers as of the last call of `forgetUnsafe`. */
  let listed: ReadonlySet<WriterId> = new Set()
  const cursorOf = (writer: WriterId) => published.get(writer) ?? 0

  return {
    cursorOf,
    moveTo: (writer: WriterId, seq: number): void => {
      if (seq <= cursorOf(writer)) return
      published.set(writer, seq)
      unsaved.set(writer, seq)
    },
    /** Takes over the cursors that other nodes, or an earlier process of this one, saved. */
    readCursors: Effect.map(store.relayCursors, (cursors) => {
      for (const [writer, seq] of cursors) published.set(writer, Math.max(seq, cursorOf(writer)))
    }),
    /** Drops the cursors of writers that were listed the last time, and are not any more. */
    forgetUnsafe: (now: ReadonlySet<WriterId>): void => {
      for (const writer of listed) if (!now.has(writer)) published.delete(writer)
      listed = now
    },
    saveCursors: Effect.suspend(() => {
      if (unsaved.size === 0) return Effect.void
      const cursors = new Map(unsaved)
      return Effect.map(store.moveRelayCursors(cursors), () => {
        for (const [writer, seq] of cursors) if (unsaved.get(writer) === seq) unsaved.delete(writer)
      })
    })
  }
}

export const makePublisher = Effect.gen(function* () {
  const bus = yield* Bus
  const { partitions } = yield* LedgerConfig
  const { messageBytesMax, publishEventsMax } = yield* ReadSideConfig
  const cursors = makePublishedCursors(yield* EventStore)
  const { cursorOf, moveTo, readCursors } = cursors
  /** One fiber publishes at a time: otherwise a tail read from the store could overtake the feed. */
  const turn = yield* Semaphore.make(1)
  const counts = { events: 0, eventsFromStore: 0 }

  /** Publishes whole commits; their cursors move once everything is acknowledged. */
  const publish = Effect.fnUntraced(function* (commits: ReadonlyArray<Commit>) {
    const messages: Array<BusMessage> = []
    for (const commit of commits) messages.push(...pack(commit, { partitions, bytesMax: messageBytesMax }))
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
      counts.events += events.length
    }
  })

  /** Publishes a writer's tail from the store, to its end or to `upTo`. */
  const publishTail = Effect.fnUntraced(function* (writerId: WriterId, upTo: number) {
    // An earlier relay of this node, whose thread died, may have published nearly all of it.
    if (cursorOf(writerId) === 0 && upTo > 1) yield* readCursors
    while (cursorOf(writerId) < upTo) {
      const after = cursorOf(writerId)
      const { commits, last } = yield* readCommits({ writerId, after, eventsMax: publishEventsMax })
      if (last === undefined) return
      if (commits.length > 0) yield* publish(commits)
      for (const commit of commits) counts.eventsFromStore += commit.events.length
      moveTo(writerId, last)
    }
  })

  return { ...cursors, counts, turn, publish, publishTail }
})

export type Publisher = Effect.Success<typeof makePublisher>
