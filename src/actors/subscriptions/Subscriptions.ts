/** Streams of committed events from any place in the log, each account's in order, for hosts and peers that follow it. */
import { Array as Arr, Context, Effect, Layer, type Scope, Stream } from "effect"
import { type InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { CommitFeed } from "../commit/CommitFeed.ts"
import { handOnNothing, streamOf, type Take } from "./ItemSource.ts"
import { type FollowedLog, LogFollower, type LogStep } from "./LogFollower.ts"
import { type LoneReader, LoneReaders } from "./LoneReaders.ts"
import type { CommittedEvent, SharedEvent } from "./SharedEvent.ts"
import type { SharedSeat } from "./SharedList.ts"
import { endOfLog, makeSharedTail, type SharedTail } from "./SharedTail.ts"
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

/** What an account gets from a moment on, in order. */
export interface AccountTail {
  /** What it got, as often as it is asked; `undefined` tells to read the log once more. */
  readonly next: Effect.Effect<ReadonlyArray<SharedEvent> | undefined>
  /** As of an `ItemSource`. */
  readonly handOn: (take: Take<SharedEvent>) => Effect.Effect<void>
}

/**
 * Begins to watch an account until the scope ends. Each run of the inner effect, before the log is read, answers what the account gets from then
 * on. The log is to be read once more after `pollMs` milliseconds where no reader reads it for all, and where what the reader had is gone.
 */
export type WatchAccount = (
  account: AccountId,
  pollMs: number
) => Effect.Effect<Effect.Effect<AccountTail>, never, Scope.Scope>

/** A reader of one account's history, as long as it lives. */
export interface PagedReader {
  /** Events that its next page may have: the fewer, the more readers of the node are behind the end of the log. */
  readonly eventsMaxUnsafe: () => number
  /** Whether it is behind; it is counted for one that is, until it says otherwise. */
  readonly setBehindUnsafe: (isBehind: boolean) => void
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
    /** Tells a reader of an account's history when to read on. */
    readonly watchAccount: WatchAccount
    /** Counts a reader of an account's history among those that are behind the end of the log, and bounded together. */
    readonly joinPaged: Effect.Effect<PagedReader, never, Scope.Scope>
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
      const log: FollowedLog = {
        store,
        feed,
        limits,
        disorderMs,
        shared,
        alone: yield* LoneReaders.make(limits)
      }

      const followerOf = Effect.fnUntraced(function* (
        { after, accountPrefix = "" }: SubscriptionOptions,
        isWokenByAll: boolean
      ) {
        const cursor = yield* cursorAt(store, after)
        yield* shared.join
        const follower = yield* Effect.acquireRelease(
          Effect.sync(() => new LogFollower(log, cursor, accountPrefix, isWokenByAll)),
          ({ leave }) => Effect.sync(leave)
        )
        return { step: Effect.mapError(follower.step, unavailable), handOn: follower.handOn }
      })

      return {
        follow: (asked = {}) =>
          Stream.unwrap(Effect.map(followerOf(asked, true), ({ step }) => Stream.fromEffectRepeat(step))),
        subscribe: (asked = {}) =>
          streamOf(
            Effect.map(followerOf(asked, false), ({ step, handOn }) => ({ next: nextEvents(step), handOn }))
          ),
        beginning: new SubscriptionCursor().print(),
        end: endOfLog(store).pipe(
          Effect.map((cursor) => cursor.print()),
          Effect.mapError(unavailable)
        ),
        watchAccount: (account, pollMs) => watch(shared, account, pollMs, limits.subscribeEventsMax),
        joinPaged: joinPaged(log.alone)
      }
    })
  )
}

/** The next events that are asked for, however many steps it takes to come to them. */
const nextEvents = <E>(step: Effect.Effect<LogStep, E>) => {
  const next: Effect.Effect<Arr.NonEmptyReadonlyArray<CommittedEvent>, E> = Effect.flatMap(
    step,
    ({ events }) => (Arr.isReadonlyArrayNonEmpty(events) ? Effect.succeed(events) : next)
  )
  return next
}

/** It keeps nothing between two pages, so it needs no turn; what it read for its consumer counts as that of all others. */
const joinPaged = (alone: LoneReaders): Subscriptions["Service"]["joinPaged"] => {
  const open = Effect.sync(() => {
    const reader: LoneReader = { forget: () => {} }
    const setBehindUnsafe = (isBehind: boolean): void => {
      if (isBehind) alone.join(reader)
      else alone.leave(reader)
    }
    setBehindUnsafe(true)
    return { eventsMaxUnsafe: () => alone.eventsMax, setBehindUnsafe }
  })
  return Effect.acquireRelease(open, ({ setBehindUnsafe }) => Effect.sync(() => setBehindUnsafe(false)))
}

const watch = Effect.fnUntraced(function* (
  { join, list, start }: SharedTail,
  account: AccountId,
  pollMs: number,
  eventsMax: number
) {
  yield* join
  let seat: SharedSeat | undefined
  const leave = (): void => {
    seat?.leave()
    seat = undefined
  }
  yield* Effect.addFinalizer(() => Effect.sync(leave))
  const poll: AccountTail = { next: Effect.as(Effect.sleep(pollMs), undefined), handOn: handOnNothing }

  const tailOf = (from: SharedSeat): AccountTail => {
    const takeSome = () => from.take(eventsMax).flatMap(({ events }) => events)
    const takeOrLose = Effect.sync(() => (from.lostAt === undefined ? takeSome() : undefined))
    return {
      next: Effect.suspend(() =>
        from.hasSome || from.lostAt !== undefined ? takeOrLose : Effect.andThen(from.changed, takeOrLose)
      ),
      handOn: (take) =>
        from.handOn(() => {
          const events = takeSome()
          return !Arr.isReadonlyArrayNonEmpty(events) || take(events)
        })
    }
  }

  return Effect.gen(function* () {
    yield* start
    if (seat?.lostAt !== undefined) leave()
    if (!list.isReading) return poll
    seat ??= list.takeSeatOf(account)
    return tailOf(seat)
  })
})

const cursorAt = Effect.fnUntraced(function* (store: EventStore["Service"], after: string | undefined) {
  if (after === undefined) return new SubscriptionCursor()
  if (after !== "now") return yield* Effect.fromResult(SubscriptionCursor.parse(after))
  return yield* Effect.mapError(endOfLog(store), unavailable)
})

const unavailable = (error: StoreUnavailable): Unavailable =>
  new Unavailable({ what: error.store, reason: error.reason })
