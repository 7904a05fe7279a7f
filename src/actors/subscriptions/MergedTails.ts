/**
 * Merges the tails of all writers into one sequence of commits, each account's in order of version.
 *
 * The log has no global order: each writer numbers its own commits. But a version is only committed after the one
 * before it, by whichever writer, so any cut through all tails that is taken in one moment can be delivered in some
 * order that is right for every account. The merge takes such a cut, delivers all of it, and takes the next. Within a
 * cut it delivers the oldest front of a tail that `AccountOrder` calls ready. Where that rests on what is read ahead alone, it
 * first looks through the keys of everything that may have been recorded before.
 *
 * What is read ahead is bounded in total, not a writer: tails share `subscribeKeysMax` keys, though each has at least
 * one commit. Writers that live are few; tails of finished writers, of which there may be any number, are only opened
 * when the merge comes to the time at which their writer began.
 */
import { Effect } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import {
  type Commit,
  type CommitRow,
  EventStore,
  type FinishedWriter,
  StoreUnavailable,
  type WriterId
} from "../../infra/eventstore/EventStore.ts"
import { readRows } from "../relay/TailReader.ts"
import { AccountOrder } from "./AccountOrder.ts"
import { concurrentReads, type LookedThrough, makeLookBeyond, noteLooked } from "./LookBeyond.ts"
import type { SubscriptionCursor } from "./SubscriptionCursor.ts"

/** The keys of one read, about: a turn of the event loop decodes them. */
const keysARead = 4_000

/** Finished writers of one listing, and how many of them may wait for their time. */
const listedMax = 1_000
const laterMax = 20_000

/** What one step of a subscription prints of cursors, in bytes before they are made text: each event carries one. */
const printedMax = 6_000_000

/** A writer that began so long after a commit may still have a commit before it: clocks differ, and commits wait. */
const beganMarginMs = 60_000

interface Tail extends LookedThrough {
  /** The number of a finished writer. */
  readonly ordinal: number | undefined
}

/** What the log had at one moment, and what of it is left. */
interface Cut {
  readonly open: ReadonlySet<WriterId>
  /** Finished writers up to this number are in the cut. */
  readonly finishedTo: number
  /** The finished writers up to this number were listed. */
  listedTo: number
  /** Listed, in the order in which they began, and not opened. */
  later: Array<FinishedWriter>
  /** Tails of which nothing is read ahead though there is more. */
  readonly dry: Set<Tail>
  /** All other tails that are not at their end, the one with the oldest front first. */
  readonly fronts: Array<Tail>
}

/** A commit whose turn it is, and the tail that it comes from. */
interface Taken {
  readonly row: CommitRow
  readonly tail: Tail
}

export const makeMergedTails = (
  store: EventStore["Service"],
  limits: Pick<
    ReadSideLimits,
    "subscribeCommitsMax" | "subscribeEventsMax" | "subscribeKeysMax" | "subscribeAccountsMax"
  >,
  cursor: SubscriptionCursor,
  /**
   * A later commit of a tail has no event that was recorded longer than this before one of an earlier commit, in milliseconds: a
   * command waits no longer than its deadline for its lane, and the clocks of two nodes differ by twice the skew bound.
   */
  disorderMs: number,
  /** What the log has at the moment of each cut, which may have been listed for others too. */
  listCut: Effect.Effect<ListedCut, StoreUnavailable> = makeListCut(store)
) => {
  const order = new AccountOrder({ deliveredMax: limits.subscribeAccountsMax, isFromStart: cursor.isStart })
  const beyond = makeLookBeyond(store, limits, order, disorderMs)
  const ahead = makeReadAhead(store, limits, order)
  const takeCut = makeTakeCut(store, listCut, cursor)
  const openLater = makeOpenLater(store, cursor)
  let cut: Cut | undefined

  const takeRows = makeTakeRows(limits, cursor, order, ahead, beyond, openLater)

  return {
    /** The next commits that are ready, none at the end of the log. After a failure it cannot go on: resume elsewhere. */
    next: Effect.gen(function* () {
      if (cut === undefined) {
        cut = yield* takeCut
        beyond.beginUnsafe()
      }
      const now: Cut = cut
      const taken = yield* takeRows(now)
      const atEnd = isAtEnd(now)
      if (atEnd) cut = undefined
      return {
        taken,
        /** To be called once for each of the commits, in order, when its events are at hand. */
        deliveredUnsafe: ({ row, tail }: Taken): void => {
          if (tail.ordinal !== undefined && row.seq >= tail.lastSeq) cursor.finish(row.writerId, tail.ordinal)
          else cursor.advance(row.writerId, row.seq)
        },
        /** To be called after the last of them. */
        endUnsafe: (): void => {
          if (atEnd) cursor.settle(now.finishedTo, now.open)
        },
        isAtEnd: atEnd
      }
    })
  }
}

/** What chooses the next commits of a cut. */
const makeTakeRows = (
  limits: Pick<ReadSideLimits, "subscribeEventsMax">,
  cursor: SubscriptionCursor,
  order: AccountOrder,
  ahead: ReturnType<typeof makeReadAhead>,
  beyond: ReturnType<typeof makeLookBeyond>,
  openLater: ReturnType<typeof makeOpenLater>
) => {
  /** Until every open tail that is not at its end has a front, and no tail is left that should be open. */
  const fillFronts = Effect.fnUntraced(function* (now: Cut) {
    while (now.dry.size > 0 || isLaterDue(now)) {
      yield* ahead.fill(now)
      yield* openLater(now, now.fronts.length === 0)
    }
  })

  const readyOf = (now: Cut): Tail | undefined =>
    now.fronts.find(({ ahead: [front] }) => front !== undefined && order.isReady(front))

  /** A tail whose front is ready, which is certain: what that rests on is looked at first. */
  const findReady = Effect.fnUntraced(function* (now: Cut) {
    for (let ready = readyOf(now); ; ) {
      const front = ready?.ahead[0]
      if (front === undefined || order.isCertain(front)) return ready
      yield* beyond.before(now, front)
      const found = readyOf(now)
      if (found === ready) return ready
      ready = found
    }
  })

  /** Ready commits up to about `subscribeEventsMax` events. */
  return Effect.fnUntraced(function* (now: Cut) {
    const taken: Array<Taken> = []
    // Each commit is delivered with two cursors.
    const commitsMax = Math.max(1, printedMax / (2 * cursor.printedBytes))
    yield* ahead.topUp(now)
    for (let events = 0; events < limits.subscribeEventsMax && taken.length < commitsMax; ) {
      yield* fillFronts(now)
      let ready = yield* findReady(now)
      if (ready === undefined && now.later.length > 0) {
        yield* openLater(now, true)
        continue
      }
      // The commit that was made first is always ready; in a broken log there may be none, which must not stop it.
      ready ??= now.fronts[0]
      const row = ready === undefined ? undefined : takeFront(now, ready)
      if (ready === undefined || row === undefined) break
      ahead.takeUnsafe(row)
      taken.push({ row, tail: ready })
      events += row.rows
    }
    return taken
  })
}

const isAtEnd = ({ fronts, dry, later, listedTo, finishedTo }: Cut): boolean =>
  fronts.length + dry.size + later.length === 0 && listedTo >= finishedTo

/** Takes a tail's front, and puts the tail where its next commit belongs. */
const takeFront = (now: Cut, tail: Tail): CommitRow | undefined => {
  const row = tail.ahead.shift()
  if (row === undefined) return undefined
  now.fronts.splice(now.fronts.indexOf(tail), 1)
  if (tail.ahead.length > 0) insertFront(now, tail)
  else if (tail.readTo < tail.lastSeq) now.dry.add(tail)
  return row
}

/** How often the writers are listed anew while further ones are finished. */
const cutTriesMax = 20

export interface ListedCut {
  readonly rows: Effect.Success<EventStore["Service"]["listWriters"]>
  readonly finishedTo: number
}

/**
 * The writers that are not finished and the number of the last one that is, as of one moment. They are two statements: a writer that
 * committed once more and was finished between them would be in neither, so they are asked again where the number has changed. That
 * takes long only for a node that stood still in between.
 */
export const makeListCut = (store: Pick<EventStore["Service"], "listWriters" | "lastFinished">) => {
  let known: number | undefined
  return Effect.gen(function* () {
    for (let tries = 0; tries < cutTriesMax; tries++) {
      const rows = yield* store.listWriters
      const finishedTo = yield* store.lastFinished
      if (finishedTo === known) return { rows, finishedTo }
      known = finishedTo
    }
    const reason = `writers were finished between ${cutTriesMax} listings and the question for the last of them`
    return yield* new StoreUnavailable({ store: "event store", reason })
  })
}

const makeTakeCut = (
  store: EventStore["Service"],
  listCut: Effect.Effect<ListedCut, StoreUnavailable>,
  cursor: SubscriptionCursor
) => {
  let isFirst = true
  return Effect.gen(function* () {
    const { rows, finishedTo } = yield* listCut
    cursor.boundBy(finishedTo, rows)
    if (isFirst) {
      const open = new Set(rows.map((row) => row.writerId))
      const others = cursor.named.filter((writer) => !open.has(writer))
      const registered = others.length === 0 ? [] : yield* store.registeredWriters(others)
      cursor.keep(new Set([...open, ...registered]))
      isFirst = false
    }
    const dry = rows.flatMap((row) => tailOf(row, cursor.positionOf(row.writerId)) ?? [])
    return {
      open: new Set(rows.map((row) => row.writerId)),
      finishedTo,
      listedTo: cursor.finishedTo,
      later: [],
      dry: new Set(dry),
      fronts: []
    } satisfies Cut
  })
}

const makeOpenLater = (store: EventStore["Service"], cursor: SubscriptionCursor) => {
  const listLater = Effect.fnUntraced(function* (now: Cut) {
    while (now.listedTo < now.finishedTo && now.later.length < laterMax) {
      const above = now.listedTo
      const page = yield* store.finishedWriters({ above, upTo: now.finishedTo, limit: listedMax })
      now.listedTo = page.length < listedMax ? now.finishedTo : (page.at(-1)?.ordinal ?? now.finishedTo)
      for (const writer of page) {
        if (now.open.has(writer.writerId) || cursor.isFinished(writer.ordinal)) continue
        if (cursor.positionOf(writer.writerId) >= writer.lastSeq)
          cursor.finish(writer.writerId, writer.ordinal)
        else now.later.push(writer)
      }
      now.later.sort((a, b) => a.startedAt - b.startedAt)
      yield* Effect.yieldNow
    }
  })

  /** Opens the tails of finished writers that had begun by the time the merge is at; at least one when it must. */
  return Effect.fnUntraced(function* (now: Cut, mustOpen: boolean) {
    if (now.later.length < laterMax / 2) yield* listLater(now)
    const time = mustOpen ? Number.NEGATIVE_INFINITY : frontTime(now)
    let due = mustOpen ? 1 : 0
    while (due < now.later.length && (now.later[due]?.startedAt ?? 0) <= time + beganMarginMs) due++
    for (const writer of now.later.splice(0, due)) {
      const tail = tailOf(writer, cursor.positionOf(writer.writerId), writer.ordinal)
      if (tail !== undefined) now.dry.add(tail)
    }
  })
}

const tailOf = (
  { writerId, lastSeq }: { readonly writerId: WriterId; readonly lastSeq: number },
  position: number,
  ordinal?: number
): Tail | undefined =>
  position >= lastSeq
    ? undefined
    : { writerId, lastSeq, ordinal, ahead: [], readTo: position, lookedTo: position, lookedTime: 0 }

const timeOf = ({ ahead: [front] }: Tail): Instant => front?.recordedAt ?? 0

/** When the oldest front was recorded. */
const frontTime = ({ fronts: [oldest] }: Cut): Instant =>
  oldest === undefined ? Number.NEGATIVE_INFINITY : timeOf(oldest)

const isLaterDue = (now: Cut): boolean => {
  if (now.listedTo < now.finishedTo && now.later.length < laterMax / 2) return true
  const [next] = now.later
  return next !== undefined && (now.fronts.length === 0 || next.startedAt <= frontTime(now) + beganMarginMs)
}

const insertFront = ({ fronts }: Cut, tail: Tail): void => {
  const time = timeOf(tail)
  let [low, high] = [0, fronts.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const other = fronts[middle]
    if (other !== undefined && timeOf(other) <= time) low = middle + 1
    else high = middle
  }
  fronts.splice(low, 0, tail)
}

/** Reads tails ahead, as far as the keys that all of them share allow. */
const makeReadAhead = (
  store: EventStore["Service"],
  limits: Pick<ReadSideLimits, "subscribeCommitsMax" | "subscribeKeysMax">,
  order: AccountOrder
) => {
  let keys = 0
  /** Of the commits that were read so far, about. */
  let keysACommit = 500

  const commitsFor = (tails: number): number => {
    const share = Math.min(limits.subscribeKeysMax / Math.max(1, tails), limits.subscribeKeysMax - keys)
    return Math.max(1, Math.min(limits.subscribeCommitsMax, Math.floor(share / keysACommit)))
  }

  const read = Effect.fnUntraced(function* (now: Cut, tail: Tail) {
    const { writerId, lastSeq, readTo } = tail
    const limit = commitsFor(now.fronts.length + now.dry.size) - tail.ahead.length
    const rows = yield* store.readTail({
      writerId,
      after: readTo,
      limit: Math.max(1, Math.min(limit, Math.floor(keysARead / keysACommit)))
    })
    const wasDry = now.dry.delete(tail)
    let found = 0
    for (const row of rows) {
      // What was committed after the cut may follow upon commits of tails that were read before.
      if (row.seq > lastSeq) break
      tail.ahead.push(row)
      tail.readTo = row.seq
      order.add(row, row.seq <= tail.lookedTo)
      if (row.seq > tail.lookedTo) noteLooked(tail, row)
      found += row.keys.length
    }
    keys += found
    if (rows.length > 0) keysACommit = Math.max(1, (keysACommit * 3 + found / rows.length) / 4)
    // Where the log is broken, a tail may have nothing though its last commit has a higher number.
    if (tail.ahead.length === 0) tail.readTo = lastSeq
    else if (wasDry) insertFront(now, tail)
    yield* Effect.yieldNow
  })

  const readAll = (now: Cut, tails: ReadonlyArray<Tail>) =>
    Effect.forEach(tails, (tail) => read(now, tail), { concurrency: concurrentReads, discard: true })

  return {
    /** Reads on where nothing is left, which must be known before the next commit is chosen. */
    fill: (now: Cut) => readAll(now, [...now.dry]),
    /** Reads on where less than half is left of what may be read ahead. */
    topUp: (now: Cut) =>
      Effect.suspend(() => {
        const low = commitsFor(now.fronts.length + now.dry.size) / 2
        return readAll(
          now,
          now.fronts.filter(({ ahead, readTo, lastSeq }) => ahead.length < low && readTo < lastSeq)
        )
      }),
    /** A commit that was read ahead is about to be delivered. */
    takeUnsafe: (row: CommitRow): void => {
      keys -= row.keys.length
      order.deliver(row)
    }
  }
}

/** The commits of these rows with those of their events whose account begins like `prefix`; others are not read. */
export const readCommitsOf = (
  store: EventStore["Service"],
  rows: ReadonlyArray<CommitRow>,
  prefix: string
) => {
  const wantedOf = (row: CommitRow): CommitRow => {
    if (prefix === "") return row
    const keys = row.keys.filter(([account]) => account.startsWith(prefix))
    return { ...row, keys, rows: keys.reduce((sum, [, first, last]) => sum + last - first + 1, 0) }
  }
  const wanted = rows.map(wantedOf)
  return Effect.map(
    Effect.provideService(readRows(wanted), EventStore, store),
    (commits) =>
      new Map(commits.map((commit): [string, Commit] => [`${commit.writerId} ${commit.seq}`, commit]))
  )
}
