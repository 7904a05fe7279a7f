/** A place in the log enters; the committed events after it leave as a stream, in order on every account. */
import { Context, Effect, Layer, Result, Stream } from "effect"
import { type InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import type { Event } from "../../domain/Event.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { type LogCursor, parseCursor, printCursor } from "./LogCursor.ts"
import { makeTails } from "./MergedTails.ts"

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
  }
>()("chronicle/actors/Subscriptions") {
  static readonly layer = Layer.effect(
    Subscriptions,
    Effect.gen(function* () {
      const store = yield* EventStore
      const feed = yield* CommitFeed
      const limits = yield* ReadSideConfig

      const begin = Effect.fnUntraced(function* (after: string | undefined) {
        if (after === undefined) return new Map() as LogCursor // nothing is read yet
        if (after !== "now") return yield* Effect.fromResult(parseCursor(after))
        const writers = yield* Effect.mapError(store.listWriters, unavailable)
        return new Map(writers.map((row) => [row.writerId, row.lastSeq])) as LogCursor // their ends as of now
      })

      const subscribe = ({ after, accountPrefix = "" }: SubscriptionOptions = {}) =>
        Stream.unwrap(
          Effect.gen(function* () {
            const tails = makeTails(store, limits, yield* begin(after))
            /** The next commits; waits for some to come, woken by this node's own, and looking for others'. */
            const next: Effect.Effect<ReadonlyArray<CommittedEvent>, Unavailable> = Effect.gen(function* () {
              // Taken before the look: what is committed during it wakes the wait after it.
              const changed = feed.changedUnsafe()
              const commits = yield* Effect.mapError(tails.next, unavailable)
              if (commits.length > 0) return commits.flatMap((commit) => toEvents(commit, accountPrefix))
              yield* Effect.timeoutOption(changed, limits.subscribePollMs)
              return []
            })
            const toEvents = (
              { commit, cursor }: { readonly commit: Commit; readonly cursor: LogCursor },
              prefix: string
            ) => {
              const wanted = commit.events.filter((row) => row.accountId.startsWith(prefix))
              if (wanted.length === 0) return []
              // Before the last event of a commit the cursor stands before the commit: it is resumed whole.
              const [before, end] = [printCursor(withBefore(cursor, commit)), printCursor(cursor)]
              return wanted.map((row, index) => toCommitted(row, index === wanted.length - 1 ? end : before))
            }
            return Stream.fromEffectRepeat(next).pipe(Stream.flatMap(Stream.fromIterable))
          })
        )
      return { subscribe }
    })
  )
}

const withBefore = (cursor: LogCursor, { writerId, seq }: Commit): LogCursor =>
  new Map(cursor).set(writerId, seq - 1)

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
