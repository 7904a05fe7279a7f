/** One subscription's way through the log: by itself up to its end, and from there on along what is read for all. */
import { Effect, Result } from "effect"
import type { Event } from "../../domain/Event.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import type { Commit, EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeMergedTails, readCommitsOf } from "./MergedTails.ts"
import type { LogChanges, SharedBatch, SharedCommit, SharedPlace, SharedTail } from "./SharedTail.ts"
import { SubscriptionCursor } from "./SubscriptionCursor.ts"

/**
 * One committed event. At least once: after a resumption some come again, and (`account`, `version`) tells which.
 * On one account, versions come in order, without a gap where all accounts are asked for from the beginning.
 */
export interface CommittedEvent {
  readonly account: AccountId
  readonly version: Version
  /** Undefined where this program cannot read it; the others go on. */
  readonly event: Event | undefined
  readonly commandId: CommandId
  readonly recordedAt: Instant
  readonly effectiveAt: Instant
  readonly hash: string
  /** Opaque; resumes after this event, or a little before it. */
  readonly cursor: string
}

/** What a subscription read of the log at once. */
export interface LogStep {
  /** Those that are asked for; none where there was nothing new, or only events of other accounts. */
  readonly events: ReadonlyArray<CommittedEvent>
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
}

export class LogFollower {
  readonly #log: FollowedLog
  readonly #prefix: string
  /** Where it is, but for what it took from the list for all. */
  #cursor: SubscriptionCursor
  /** What it keeps to read by itself. */
  #tails: ReturnType<typeof makeMergedTails> | undefined
  /** Where its last cut stands among those of the reader for all. */
  #joint: SharedPlace | undefined
  /** Where it goes on in the list for all; undefined while it reads by itself. */
  #place: SharedPlace | undefined
  /** The place in the log after the last batch that it took; undefined while its own cursor is ahead of that. */
  #resume: string | undefined

  constructor(log: FollowedLog, from: SubscriptionCursor, prefix: string) {
    this.#log = log
    this.#cursor = from
    this.#prefix = prefix
  }

  /** The next events; none where it had to wait for them. A follower that failed cannot go on: its cursor is resumed by a new one. */
  readonly step: Effect.Effect<LogStep, StoreUnavailable> = Effect.suspend(() =>
    this.#place === undefined ? this.#readAlone : this.#readShared(this.#place)
  )

  readonly #takingCut = <A, E>(take: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      const ended = this.#log.shared.list.beginCut()
      return Effect.tap(take, () =>
        Effect.sync(() => {
          this.#joint = ended()
        })
      )
    })

  readonly #readAlone = Effect.gen({ self: this }, function* () {
    const { store, feed, limits, disorderMs, shared } = this.#log
    // Made before the tails are read: a commit during that wakes the wait after it.
    const changed = feed.changedUnsafe()
    this.#tails ??= makeMergedTails(store, limits, this.#cursor, disorderMs, this.#takingCut)
    const { taken, isAtEnd, deliveredUnsafe, endUnsafe } = yield* this.#tails.next
    const rows = taken.map(({ row }) => row)
    const commits = yield* readCommitsOf(store, rows, this.#prefix)
    yield* Effect.yieldNow
    const events: Array<CommittedEvent> = []
    for (const one of taken) {
      deliveredUnsafe(one)
      const commit = commits.get(`${one.row.writerId} ${one.row.seq}`)
      if (commit !== undefined) events.push(...eventsOf(commit, this.#cursor))
    }
    endUnsafe()
    const step = { events, cursor: this.#cursor.print(), isAtEnd }
    if (!isAtEnd) return step
    this.#place = this.#joint
    if (this.#place !== undefined) this.#tails = undefined
    else {
      // Also where each cut has something new, as in a log that never rests.
      yield* shared.start
      if (events.length === 0) yield* Effect.timeoutOption(changed, limits.subscribePollMs)
    }
    return step
  })

  #readShared(at: SharedPlace): Effect.Effect<LogStep> {
    const { list } = this.#log.shared
    const changed = list.changed()
    const batch = list.read(at)
    if (batch === undefined) return Effect.as(changed, this.#stepTo([], true))
    if (batch === "gone") {
      this.#leaveShared()
      return Effect.succeed(this.#stepTo([], false))
    }
    const next = { ...at, index: at.index + 1 }
    this.#place = next
    return Effect.succeed(this.#stepTo(this.#takeBatch(at, batch), list.read(next) === undefined))
  }

  #takeBatch({ cut }: SharedPlace, batch: SharedBatch): ReadonlyArray<CommittedEvent> {
    if (batch.cut <= cut) return []
    const isNext = batch.cut === cut + 1
    const fresh = isNext ? batch.commits.filter((one) => this.#isNew(one)) : batch.commits
    if (!isNext) this.#resume = batch.after
    else for (const { commit } of fresh) this.#cursor.advance(commit.writerId, commit.seq)
    return fresh.flatMap((one) => eventsOfShared(one, this.#prefix))
  }

  #stepTo(events: ReadonlyArray<CommittedEvent>, isAtEnd: boolean): LogStep {
    return { events, cursor: this.#resume ?? this.#cursor.print(), isAtEnd }
  }

  /** The next cut of the shared reader holds once more what was delivered beyond its last one. */
  #isNew({ commit: { writerId, seq }, ordinal }: SharedCommit): boolean {
    return (
      seq > this.#cursor.positionOf(writerId) && (ordinal === undefined || !this.#cursor.isFinished(ordinal))
    )
  }

  #leaveShared(): void {
    // Printed by another cursor, so it can be read.
    if (this.#resume !== undefined) this.#cursor = Result.getOrThrow(SubscriptionCursor.parse(this.#resume))
    this.#place = undefined
    this.#resume = undefined
    this.#joint = undefined
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

/** The same from what was read for all. */
const eventsOfShared = (
  { commit, before, after }: SharedCommit,
  prefix: string
): ReadonlyArray<CommittedEvent> => {
  const rows = commit.events.filter(({ accountId }) => accountId.startsWith(prefix))
  return rows.map((row, index) => toCommitted(row, index === rows.length - 1 ? after : before))
}

const toCommitted = (row: StoredEvent, cursor: string): CommittedEvent => ({
  account: row.accountId,
  version: row.version,
  event: Result.getOrUndefined(decodeStored(row)),
  commandId: row.commandId,
  recordedAt: row.recordedAt,
  effectiveAt: row.effectiveAt ?? row.recordedAt,
  hash: row.hash,
  cursor
})
