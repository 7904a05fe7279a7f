/** Streams of committed events from any place in the log, each account's in order, for hosts and peers that follow it. */
import { Context, Effect, Layer, type Scope, Stream } from "effect"
import { type InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { type CommittedEvent, type FollowedLog, LogFollower, type LogStep } from "./LogFollower.ts"
import { endOfLog, makeSharedTail } from "./SharedTail.ts"
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
 * Begins to watch an account until the scope ends. Each run of the inner effect answers one that completes at the next event after
 * that run, of which there is one at a time; where no reader reads the log for all, after `pollMs` milliseconds.
 */
export type WatchAccount = (
  account: AccountId,
  pollMs: number
) => Effect.Effect<Effect.Effect<Effect.Effect<void>>, never, Scope.Scope>

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
    /** Tells a reader of an account's history when to read on. */
    readonly watchAccount: WatchAccount
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
      const shared = yield* makeSharedTail(store, feed, limits, disorderMs)
      const log: FollowedLog = { store, feed, limits, disorderMs, shared }

      const follow: Subscriptions["Service"]["follow"] = ({ after, accountPrefix = "" } = {}) =>
        Stream.unwrap(
          Effect.gen(function* () {
            const cursor = yield* cursorAt(store, after)
            yield* shared.join
            const follower = new LogFollower(log, cursor, accountPrefix)
            return Stream.fromEffectRepeat(Effect.mapError(follower.step, unavailable))
          })
        )

      return {
        follow,
        subscribe: (asked) => Stream.flatMap(follow(asked), ({ events }) => Stream.fromIterable(events)),
        beginning: new SubscriptionCursor().print(),
        end: endOfLog(store).pipe(
          Effect.map((cursor) => cursor.print()),
          Effect.mapError(unavailable)
        ),
        watchAccount: (account, pollMs) =>
          Effect.gen(function* () {
            yield* shared.join
            const { latch, stop } = shared.list.watch(account)
            yield* Effect.addFinalizer(() => Effect.sync(stop))
            return Effect.gen(function* () {
              yield* shared.start
              // While the reader for all does not run, the account is read again every `pollMs`.
              if (!shared.list.isReading) return Effect.sleep(pollMs)
              latch.closeUnsafe()
              return latch.await
            })
          })
      }
    })
  )
}

const cursorAt = Effect.fnUntraced(function* (store: EventStore["Service"], after: string | undefined) {
  if (after === undefined) return new SubscriptionCursor()
  if (after !== "now") return yield* Effect.fromResult(SubscriptionCursor.parse(after))
  return yield* Effect.mapError(endOfLog(store), unavailable)
})

const unavailable = (error: StoreUnavailable): Unavailable =>
  new Unavailable({ what: error.store, reason: error.reason })
