/** One subscription's way through the log: by itself up to its end, and from there on along what is read for all. */
import { Array as Arr, Effect, Result } from "effect"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import type { Commit, EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { Take } from "./ItemSource.ts"
import type { LoneReader, LoneReaders } from "./LoneReaders.ts"
import { type ListedCut, makeListCut, makeMergedTails, readCommitsOf } from "./MergedTails.ts"
import { type CommittedEvent, type SharedEvent, toCommitted } from "./SharedEvent.ts"
import type { SharedFind, SharedPlace, SharedPoint, SharedSeat } from "./SharedList.ts"
import type { LogChanges, SharedTail } from "./SharedTail.ts"
import { SubscriptionCursor } from "./SubscriptionCursor.ts"

/** What a subscription read of the log at once. */
export interface LogStep {
  /** Those that are asked for; none where there was nothing new, or only events of other accounts. */
  readonly events: ReadonlyArray<CommittedEvent>
  /** Where in `events` the commit of one of them begins: all of it that is asked for is in one step. */
  readonly startOf: (index: number) => number
  /** Everything before it was read, events of other accounts included. */
  readonly cursor: string
  /** It had everything that was in the log. */
  readonly isAtEnd: boolean
}

export interface FollowedLog {
  readonly store: EventStore["Service"]
  readonly feed: LogChanges
  readonly limits: ReadSideLimits
  /** As of `makeMergedTails`. */
  readonly disorderMs: number
  readonly shared: SharedTail
  readonly alone: LoneReaders
}

export class LogFollower implements LoneReader {
  readonly #log: FollowedLog
  readonly #prefix: string
  readonly #isWokenByAll: boolean
  /** Where it is, but for what it took from the list for all. */
  #cursor: SubscriptionCursor
  /** What it keeps to read by itself, while it has a turn. */
  #tails: ReturnType<typeof makeMergedTails> | undefined
  /** Its next step takes a cut. */
  #isAtCut = true
  /** The cut that it waited for and has not taken. */
  #listed: ListedCut | undefined
  /** It has come to the end of a cut since it began to read by itself. */
  #hadAll = false
  /** Where its cut is one of the reader for all, until it takes its seat. */
  #joint: SharedPlace | undefined
  /** Where it follows the list for all; undefined while it reads by itself. */
  #seat: SharedSeat | undefined
  /** The cut up to which it read by itself. */
  #cut = 0
  /** The place in the log after the last batch that it took; undefined while its own cursor is ahead of that. */
  #resume: string | undefined

  /** `isWokenByAll`: a step ends with each change of the log, though nothing of it is asked for. */
  constructor(log: FollowedLog, from: SubscriptionCursor, prefix: string, isWokenByAll: boolean) {
    this.#log = log
    this.#cursor = from
    this.#prefix = prefix
    this.#isWokenByAll = isWokenByAll
    log.alone.join(this)
  }

  /** The next events; none where it had to wait for them. A follower that failed cannot go on: its cursor is resumed by a new one. */
  readonly step: Effect.Effect<LogStep, StoreUnavailable> = Effect.suspend(() =>
    this.#seat === undefined ? this.#readAlone : this.#readShared(this.#seat)
  )

  /** Gives `take` what is read for all, in the turn that tells of it, until it takes no more or the next step has something else to do. */
  readonly handOn = (take: Take<CommittedEvent>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const seat = this.#seat
      if (seat === undefined) return Effect.void
      return seat.handOn(() => {
        const { events } = this.#takeFrom(seat)
        return !Arr.isReadonlyArrayNonEmpty(events) || take(events)
      })
    })

  /** To be called when it is over. */
  readonly leave = (): void => {
    this.#letGo()
    this.#seat?.leave()
    this.#seat = undefined
    this.#log.alone.leave(this)
  }

  readonly forget = (): void => {
    this.#letGo()
    this.#tails = undefined
    this.#isAtCut = true
  }

  #letGo(): void {
    if (this.#joint !== undefined) this.#log.shared.list.letGo(this.#joint)
    this.#joint = undefined
  }

  /** Once it had everything, its next cut is one that the reader for all takes: there it takes its seat. It needs no turn to wait for that. */
  readonly #awaitCut = Effect.suspend(() =>
    Effect.map(this.#log.shared.list.nextCut, (found) => {
      this.#letGo()
      this.#joint = found?.place
      this.#listed = found?.listed
    })
  )

  readonly #listCut: Effect.Effect<ListedCut, StoreUnavailable> = Effect.suspend(() => {
    const listed = this.#listed
    this.#listed = undefined
    return listed === undefined ? makeListCut(this.#log.store) : Effect.succeed(listed)
  })

  readonly #readAlone = Effect.gen({ self: this }, function* () {
    const { feed, limits, shared, alone } = this.#log
    // Made before the tails are read: a commit during that wakes the wait after it.
    const changed = feed.changedUnsafe()
    if (this.#hadAll && this.#isAtCut) yield* this.#awaitCut
    const step = yield* alone.inTurn(this, this.#readStep)
    if (!step.isAtEnd) return step
    if (this.#seat === undefined) {
      // Also where each cut has something new, as in a log that never rests.
      yield* shared.start
      if (step.events.length === 0 && !shared.list.isReading)
        yield* Effect.timeoutOption(changed, limits.subscribePollMs)
    }
    return step
  })

  #makeTails() {
    const { alone, disorderMs, limits, store } = this.#log
    const own = {
      ...limits,
      get subscribeEventsMax() {
        return alone.eventsMax
      }
    }
    return makeMergedTails(store, own, this.#cursor, disorderMs, this.#listCut)
  }

  readonly #readStep = Effect.gen({ self: this }, function* () {
    const { store } = this.#log
    this.#tails ??= this.#makeTails()
    const { taken, isAtEnd, deliveredUnsafe, endUnsafe } = yield* this.#tails.next
    const rows = taken.map(({ row }) => row)
    const commits = yield* readCommitsOf(store, rows, this.#prefix)
    yield* Effect.yieldNow
    const events: Array<CommittedEvent> = []
    const starts: Array<number> = []
    for (const one of taken) {
      deliveredUnsafe(one)
      const commit = commits.get(`${one.row.writerId} ${one.row.seq}`)
      if (commit === undefined) continue
      starts.push(events.length)
      events.push(...eventsOf(commit, this.#cursor))
    }
    endUnsafe()
    const startOf = (index: number) => starts.findLast((start) => start <= index) ?? 0
    const read = rows.reduce((sum, row) => sum + row.rows, 0)
    const step = { events, startOf, cursor: this.#cursor.print(), isAtEnd, read }
    this.#isAtCut = isAtEnd
    if (isAtEnd) {
      this.#hadAll = true
      this.#takeSeat()
    }
    return step
  })

  #takeSeat(): void {
    const joint = this.#joint
    if (joint === undefined) return
    this.#joint = undefined
    this.#seat = this.#log.shared.list.takeSeat(joint, this.#prefix)
    if (this.#seat === undefined) return
    this.#cut = joint.cut
    this.#tails = undefined
    this.#log.alone.leave(this)
  }

  #readShared(seat: SharedSeat): Effect.Effect<LogStep> {
    const changed = this.#isWokenByAll ? this.#log.shared.list.changedAt(seat) : seat.changed
    const take = Effect.sync(() => this.#takeFrom(seat))
    return seat.hasSome || seat.lostAt !== undefined ? take : Effect.andThen(changed, take)
  }

  #takeFrom(seat: SharedSeat): LogStep {
    const { list } = this.#log.shared
    if (seat.lostAt !== undefined) {
      this.#moveTo(seat.lostAt)
      this.#leaveSeat()
      return this.#stepTo([], false)
    }
    const events = seat.take(this.#log.limits.subscribeEventsMax).flatMap((find) => this.#eventsOf(find))
    // Nothing up to the end of the list is left for it.
    if (!seat.hasSome) this.#moveTo(list.end)
    return this.#stepTo(events, !seat.hasSome)
  }

  #eventsOf({ batch, events }: SharedFind): ReadonlyArray<SharedEvent> {
    if (batch.cut <= this.#cut) return []
    this.#resume = batch.after
    return events
  }

  /** Everything before the place was taken. */
  #moveTo({ cut, cursor }: SharedPoint): void {
    if (cut > this.#cut) this.#resume = cursor
  }

  #stepTo(shared: ReadonlyArray<SharedEvent>, isAtEnd: boolean): LogStep {
    const startOf = (index: number) => shared.findIndex(({ of }) => of === shared[index]?.of)
    const cursor = this.#resume ?? this.#cursor.print()
    return { events: committedOf(shared), startOf, cursor, isAtEnd }
  }

  #leaveSeat(): void {
    // Printed by another cursor, so it can be read.
    if (this.#resume !== undefined) this.#cursor = Result.getOrThrow(SubscriptionCursor.parse(this.#resume))
    this.leave()
    this.#log.alone.join(this)
    this.#resume = undefined
    this.#hadAll = false
    this.#isAtCut = true
  }
}

/** The events of a commit that the cursor has just passed. */
const eventsOf = (commit: Commit, cursor: SubscriptionCursor): ReadonlyArray<CommittedEvent> => {
  const end = cursor.print()
  // Before its last event, the cursor stands before the commit: it is delivered again as a whole.
  const before = commit.events.length > 1 ? cursor.printBefore(commit) : end
  return commit.events.map((row, index) =>
    toCommitted(row, index === commit.events.length - 1 ? end : before)
  )
}

/** The same of what was read for all: before its last event, a commit is delivered again as a whole. */
const committedOf = (events: ReadonlyArray<SharedEvent>): ReadonlyArray<CommittedEvent> =>
  events.map((event, index) => event.committed(event.of !== events[index + 1]?.of))
