/**
 * The outbox: packs commits into messages for the bus and keeps, for each writer, how far its tail is published. The
 * cursors are saved to the event store from time to time, so that after a crash only a little is published again.
 */
import { Clock, Effect, Latch, Semaphore } from "effect"
import { bytesOf } from "../../domain/StoredEvent.ts"
import { Bus } from "../../infra/bus/Bus.ts"
import { type BusMessage, eventsOf, pack } from "../../infra/bus/BusMessage.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type WriterId } from "../../infra/eventstore/EventStore.ts"
import { makeHurriedPause, ProjectedSignal } from "../../infra/readmodel/ProjectionWaiters.ts"
import { continued } from "../../infra/telemetry/Tracing.ts"
import { readCommits } from "./TailReader.ts"

/** How far each writer's tail is published. */
const makePublishedCursors = (store: EventStore["Service"]) => {
  /** The last commit of each writer that the bus acknowledged. */
  const published = new Map<WriterId, number>()
  /** Those of them that the store does not know yet. */
  const unsaved = new Map<WriterId, number>()
  const hasUnsaved = Latch.makeUnsafe(false)
  /** Writers as of the last call of `forgetUnsafe`. */
  let listed: ReadonlySet<WriterId> = new Set()
  const cursorOf = (writer: WriterId) => published.get(writer) ?? 0

  return {
    cursorOf,
    moveTo: (writer: WriterId, seq: number): void => {
      if (seq <= cursorOf(writer)) return
      published.set(writer, seq)
      unsaved.set(writer, seq)
      hasUnsaved.openUnsafe()
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
    /** Completes while there are cursors that the store does not know yet. */
    awaitUnsaved: Effect.suspend(() => {
      if (unsaved.size === 0) hasUnsaved.closeUnsafe()
      return Effect.asVoid(hasUnsaved.await)
    }),
    saveCursors: Effect.suspend(() => {
      if (unsaved.size === 0) return Effect.void
      const cursors = new Map(unsaved)
      return Effect.map(store.moveRelayCursors(cursors), () => {
        for (const [writer, seq] of cursors) if (unsaved.get(writer) === seq) unsaved.delete(writer)
      })
    })
  }
}

/** A writer's tail that is being published from the store. */
interface Tail {
  readonly writerId: WriterId
  /** The number up to which it is to be published. */
  end: number
  /** The number up to which it was read. */
  read: number
  /** What was read and is not published yet. */
  commits: ReadonlyArray<Commit>
}

/** Events that are read of a tail at once, however many tails there are. */
const pageEventsMin = 100

const isToRead = ({ commits, read, end }: Tail): boolean => commits.length === 0 && read < end

const recordedAtOf = (commit: Commit | undefined): number => commit?.events[0]?.recordedAt ?? 0

/** Commits older than this are a backlog and are paced; newer ones go at once. In milliseconds. */
const behindMs = 1_000
/** How many times as fast as it was recorded a backlog is published, at most. Then it shrinks by twice the time that passes. */
const catchUpSpeed = 3
/** Of a backlog, so many events and milliseconds of its recording are published before a rest. */
const sliceEventsMin = 250
const sliceSpanMs = 250
/** Between two commits of a slice there may be hours. */
const restMsMax = 250

/** Collects commits that are published together: about `eventsMax` events, and fewer where they took long to be recorded. */
export const makeSlice = (eventsMax: number) => {
  const commits: Array<Commit> = []
  let events = 0
  return {
    commits,
    isFullFor: (next: Commit): boolean => {
      if (events === 0) return false
      const span = recordedAtOf(next) - recordedAtOf(commits[0])
      return events + next.events.length > eventsMax || (events >= sliceEventsMin && span >= sliceSpanMs)
    },
    add: (commit: Commit): void => {
      commits.push(commit)
      events += commit.events.length
    }
  }
}

/**
 * The rest after a slice of a backlog: thousands of commands that are projected at once would take both cores from those that come
 * meanwhile. Where commands are as many as the read side can follow, what a slice costs is longer than that, and there is none;
 * nor while a query waits.
 */
const makeCatchUpPace = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const { pause } = yield* makeHurriedPause(yield* ProjectedSignal)
  const ending = Latch.makeUnsafe(false)
  return {
    /** Time elapsed, which goes on where the clock is set back. */
    elapsedMs: () => elapsedMsUnsafe(clock),
    /** From now on there is no rest: what is left has to be out soon. */
    endUnsafe: (): void => {
      ending.openUnsafe()
    },
    rest: (commits: ReadonlyArray<Commit>, startedAtMs: number) =>
      Effect.suspend(() => {
        const [first, last] = [recordedAtOf(commits[0]), recordedAtOf(commits.at(-1))]
        const isBehind = clock.currentTimeMillisUnsafe() - last > behindMs
        if (!isBehind) return Effect.void
        const tookMs = elapsedMsUnsafe(clock) - startedAtMs
        const restMs = Math.min((last - first) / catchUpSpeed, restMsMax) - tookMs
        return restMs <= 0 ? Effect.void : pause(restMs, ending.await)
      })
  }
})

/** Takes commits in order of time, a slice of them, until what comes next is in a tail that has to be read on. */
const takeMerged = (tails: ReadonlyArray<Tail>, eventsMax: number): ReadonlyArray<Commit> => {
  const slice = makeSlice(eventsMax)
  while (!tails.some(isToRead)) {
    const [first] = tails
      .filter(({ commits }) => commits.length > 0)
      .toSorted((a, b) => recordedAtOf(a.commits[0]) - recordedAtOf(b.commits[0]))
    const [commit, ...rest] = first?.commits ?? []
    if (first === undefined || commit === undefined) break
    if (slice.isFullFor(commit)) break
    slice.add(commit)
    first.commits = rest
  }
  return slice.commits
}

const readOn = Effect.fnUntraced(function* (tail: Tail, eventsMax: number) {
  const { writerId, read } = tail
  const { commits, last } = yield* readCommits({ writerId, after: read, eventsMax })
  if (last === undefined) tail.end = read
  else tail.read = last
  tail.commits = commits
})

/** So many of the largest messages are acknowledged at once, about: 4 MB. */
const largestAtOnce = 16

/**
 * Sends messages a portion after the other, of bounded size: the bus has some seconds to acknowledge what it is given at once, in which a
 * slow link does not take a burst of large events. After a failure, with which all are sent again, half as much is sent at once; after each
 * success a little more.
 */
const makeSend = (bus: Bus["Service"], messageBytesMax: number) => {
  const most = largestAtOnce * messageBytesMax
  let atOnce = most
  /** The first of them, at least one. */
  const portionOf = (messages: ReadonlyArray<BusMessage>): ReadonlyArray<BusMessage> => {
    let bytes = 0
    const end = messages.findIndex((message, index) => {
      for (const row of eventsOf(message)) bytes += bytesOf(row)
      return index > 0 && bytes > atOnce
    })
    return end === -1 ? messages : messages.slice(0, end)
  }
  return Effect.fnUntraced(function* (messages: ReadonlyArray<BusMessage>) {
    let left = messages
    do {
      const portion = portionOf(left)
      yield* Effect.tapError(bus.publish(portion), () =>
        Effect.sync(() => {
          atOnce = Math.max(messageBytesMax, atOnce / 2)
        })
      )
      left = left.slice(portion.length)
    } while (left.length > 0)
    atOnce = Math.min(most, atOnce + messageBytesMax)
  })
}

/** Publishes commits, and answers the rest that is due before the next ones. */
const makePublish = Effect.fnUntraced(function* (moveTo: (writer: WriterId, seq: number) => void) {
  const bus = yield* Bus
  const { partitions } = yield* LedgerConfig
  const { messageBytesMax } = yield* ReadSideConfig
  const pace = yield* makeCatchUpPace
  const send = makeSend(bus, messageBytesMax)
  const counts = { events: 0, eventsFromStore: 0 }

  /** Publishes whole commits; their cursors move once everything is acknowledged. */
  const publish = Effect.fnUntraced(function* (commits: ReadonlyArray<Commit>) {
    const startedAtMs = pace.elapsedMs()
    const messages = pack(commits, { partitions, bytesMax: messageBytesMax })
    yield* send(messages).pipe(
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
    return pace.rest(commits, startedAtMs)
  })

  return { publish, counts, endUnsafe: pace.endUnsafe }
})

export const makePublisher = Effect.gen(function* () {
  const { publishEventsMax } = yield* ReadSideConfig
  const cursors = makePublishedCursors(yield* EventStore)
  const { cursorOf, moveTo, readCursors } = cursors
  /** One fiber publishes at a time: otherwise a tail read from the store could overtake the feed. */
  const turn = yield* Semaphore.make(1)
  const { publish, counts, endUnsafe } = yield* makePublish(moveTo)

  /**
   * Publishes the tails of writers from the store, each to its end or to its number, in the order in which their commits were
   * recorded. One tail after the other would leave a gap on nearly every account, and each of these is read from the log. Each page waits
   * for its turn: others publish between two pages and while it rests, of the same writers too.
   */
  const publishTails = Effect.fnUntraced(function* (upTo: ReadonlyMap<WriterId, number>) {
    // An earlier relay of this node, whose thread died, may have published nearly all of it.
    if (upTo.entries().some(([writerId, seq]) => cursorOf(writerId) === 0 && seq > 1)) yield* readCursors
    const tails = [...upTo].map(
      ([writerId, end]): Tail => ({
        writerId,
        end,
        read: cursorOf(writerId),
        commits: []
      })
    )
    const eventsMax = Math.max(pageEventsMin, Math.floor(publishEventsMax / tails.length))
    // Who waits for the turn has it before the next page.
    while (true) {
      const rest = yield* turn.withPermit(publishPage(tails, eventsMax))
      if (rest === undefined) return
      yield* Effect.yieldNow
      yield* rest
    }
  })

  /** Answers the rest after it; undefined where there is no more. */
  const publishPage = Effect.fnUntraced(function* (tails: ReadonlyArray<Tail>, eventsMax: number) {
    for (const tail of tails) {
      const published = cursorOf(tail.writerId)
      tail.read = Math.max(tail.read, published)
      tail.commits = tail.commits.filter(({ seq }) => seq > published)
      if (isToRead(tail)) yield* readOn(tail, eventsMax)
    }
    const merged = takeMerged(tails, publishEventsMax)
    const rest = merged.length === 0 ? Effect.void : yield* publish(merged)
    for (const commit of merged) counts.eventsFromStore += commit.events.length
    // Fences have no events, and are never published; a tail may have nothing else.
    for (const { writerId, read, commits } of tails) if (commits.length === 0) moveTo(writerId, read)
    return merged.length === 0 && !tails.some(isToRead) ? undefined : rest
  })

  return { ...cursors, counts, turn, publish, publishTails, endUnsafe }
})

export type Publisher = Effect.Success<typeof makePublisher>
