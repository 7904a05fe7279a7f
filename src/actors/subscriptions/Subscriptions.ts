/** Streams of committed events from any place in the log, each account's in order, for hosts and peers that follow it. */
import { Context, Effect, Layer, Result, Stream } from "effect"
import { type InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import type { Event } from "../../domain/Event.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { makeMergedTails, readCommitsOf } from "./MergedTails.ts"
import { SubscriptionCursor } from "./SubscriptionCursor.ts"

export interface SubscriptionOptions {
  /**
   * `cursor` of the last event that was dealt with: the stream goes on after it. Absent: from the first event of
   * the log. `"now"`: from the events that are committed after the subscription began.
   */
  readonly after?: string | undefined
  /** Only accounts whose id begins like this. */
  readonly accountPrefix?: string | undefined
}

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

export class Subscriptions extends Context.Service<
  Subscriptions,
  {
    /**
     * Never ends by itself; reads no more than its consumer takes. Fails with `Unavailable` when the log cannot be
     * read: subscribe again with the last cursor.
     */
    readonly subscribe: (
      asked?: SubscriptionOptions
    ) => Stream.Stream<CommittedEvent, InvalidCommand | Unavailable>
    /** The same, step by step: for those that keep how far they have read, also where nothing of it was theirs. */
    readonly follow: (asked?: SubscriptionOptions) => Stream.Stream<LogStep, InvalidCommand | Unavailable>
    /** Cursors before the first event of the log, and at its present end, as `"now"` takes it. */
    readonly beginning: string
    readonly end: Effect.Effect<string, Unavailable>
  }
>()("chronicle/actors/Subscriptions") {
  static readonly layer = Layer.effect(
    Subscriptions,
    Effect.gen(function* () {
      const store = yield* EventStore
      const feed = yield* CommitFeed
      const limits = yield* ReadSideConfig
      const { commandDeadlineMs, clockSkewMaxMs } = yield* LedgerConfig
      const disorderMs = commandDeadlineMs + 2 * clockSkewMaxMs

      const follow: Subscriptions["Service"]["follow"] = ({ after, accountPrefix = "" } = {}) =>
        Stream.unwrap(
          Effect.gen(function* () {
            const cursor = yield* cursorAt(store, after)
            const tails = makeMergedTails(store, limits, cursor, disorderMs)
            const step: Effect.Effect<LogStep, Unavailable> = Effect.gen(function* () {
              // Made before the tails are read: a commit during that wakes the wait after it.
              const changed = feed.changedUnsafe()
              const { taken, isAtEnd, deliveredUnsafe, endUnsafe } = yield* tails.next
              const rows = taken.map(({ row }) => row)
              const commits = yield* readCommitsOf(store, rows, accountPrefix)
              yield* Effect.yieldNow
              const events: Array<CommittedEvent> = []
              for (const one of taken) {
                deliveredUnsafe(one)
                const commit = commits.get(`${one.row.writerId} ${one.row.seq}`)
                if (commit !== undefined) events.push(...eventsOf(commit, cursor))
              }
              endUnsafe()
              if (isAtEnd && events.length === 0) yield* Effect.timeoutOption(changed, limits.subscribePollMs)
              return { events, cursor: cursor.print(), isAtEnd }
            }).pipe(Effect.mapError(unavailable))
            return Stream.fromEffectRepeat(step)
          })
        )

      return {
        follow,
        subscribe: (asked) => Stream.flatMap(follow(asked), ({ events }) => Stream.fromIterable(events)),
        beginning: new SubscriptionCursor().print(),
        end: Effect.map(cursorAt(store, "now"), (cursor) => cursor.print()).pipe(
          Effect.catchTag("InvalidCommand", Effect.die)
        )
      }
    })
  )
}

const cursorAt = Effect.fnUntraced(function* (store: EventStore["Service"], after: string | undefined) {
  if (after === undefined) return new SubscriptionCursor()
  if (after !== "now") return yield* Effect.fromResult(SubscriptionCursor.parse(after))
  const writers = yield* Effect.mapError(store.listWriters, unavailable)
  const finishedTo = yield* Effect.mapError(store.lastFinished, unavailable)
  return new SubscriptionCursor(
    finishedTo,
    [],
    writers.map((row) => [row.writerId, row.lastSeq] as const)
  )
})

/** The events of a commit that the cursor has just passed. */
const eventsOf = (commit: Commit, cursor: SubscriptionCursor): ReadonlyArray<CommittedEvent> => {
  const end = cursor.print()
  // Before its last event, the cursor stands before the commit: it is delivered again as a whole.
  const before = commit.events.length > 1 ? cursor.printBefore(commit) : end
  return commit.events.map((row, index) =>
    toCommitted(row, index === commit.events.length - 1 ? end : before)
  )
}

const unavailable = (error: StoreUnavailable): Unavailable =>
  new Unavailable({ what: error.store, reason: error.reason })

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
