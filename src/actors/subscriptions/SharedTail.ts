/**
 * The end of the log, read once for all subscriptions of a node that have caught up with it: else a thousand readers would read
 * the same commits a thousand times. What was read is kept as a bounded list of batches.
 */
import { Effect, Fiber, type Scope } from "effect"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import type { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeListCut, makeMergedTails, readCommitsOf } from "./MergedTails.ts"
import { SharedCommit } from "./SharedEvent.ts"
import { SharedList } from "./SharedList.ts"
import { SubscriptionCursor } from "./SubscriptionCursor.ts"

/**
 * Each batch wakes those that it holds something for. At the end of the log the reader waits a millisecond for so many followers
 * before it reads on, so that many of them are woken less often and get more at once.
 */
const followersAMs = 10

/** How the reader hears of the commits of its own node: the feed of the relay. */
export interface LogChanges {
  /** Completes at the next commit after this call. */
  readonly changedUnsafe: () => Effect.Effect<void>
}

/** The place after everything that the log has now. */
export const endOfLog = Effect.fnUntraced(function* (store: EventStore["Service"]) {
  const { rows, finishedTo } = yield* makeListCut(store)
  return new SubscriptionCursor(
    finishedTo,
    [],
    rows.map((row) => [row.writerId, row.lastSeq] as const)
  )
})

/** Reads from the end of the log on. Fails when the log cannot be read. */
const readInto = Effect.fnUntraced(function* (
  list: SharedList,
  store: EventStore["Service"],
  feed: LogChanges,
  limits: ReadSideLimits,
  disorderMs: number,
  followersUnsafe: () => number
): Effect.fn.Return<never, StoreUnavailable> {
  const cursor = yield* endOfLog(store)
  list.begin(cursor.print())
  const tails = makeMergedTails(store, limits, cursor, disorderMs, list.takingCut(makeListCut(store)))
  while (true) {
    // Made before the tails are read: a commit during that wakes the wait after it.
    const changed = feed.changedUnsafe()
    const { taken, isAtEnd, deliveredUnsafe, endUnsafe } = yield* tails.next
    const commits = yield* readCommitsOf(
      store,
      taken.map(({ row }) => row),
      ""
    )
    const shared: Array<SharedCommit> = []
    for (const one of taken) {
      deliveredUnsafe(one)
      const commit = commits.get(`${one.row.writerId} ${one.row.seq}`)
      if (commit === undefined) continue
      const after = cursor.print()
      const before = commit.events.length > 1 ? cursor.printBefore(commit) : after
      shared.push(new SharedCommit(commit, before, after))
    }
    endUnsafe()
    if (shared.length > 0) {
      list.publish(shared, cursor.print())
      yield* list.wakeAll
    }
    if (isAtEnd && shared.length === 0) yield* Effect.timeoutOption(changed, limits.subscribePollMs)
    const pauseMs = isAtEnd ? Math.floor(followersUnsafe() / followersAMs) : 0
    yield* pauseMs > 0 ? Effect.sleep(Math.min(pauseMs, limits.subscribePollMs)) : Effect.yieldNow
  }
})

export interface SharedTail {
  readonly list: SharedList
  /** Counts one that follows the log until the scope ends. */
  readonly join: Effect.Effect<void, never, Scope.Scope>
  /**
   * Starts the reader where more than a few follow the log. Where the log fails it ends: its followers meet that themselves, and the
   * next of them that has caught up starts it again.
   */
  readonly start: Effect.Effect<void>
}

/** Reads into a list until the last follower is gone. */
export const makeSharedTail = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  feed: LogChanges,
  limits: ReadSideLimits,
  disorderMs: number
): Effect.fn.Return<SharedTail, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const runFork = Effect.runForkWith(yield* Effect.context<never>())
  const list = new SharedList(limits.subscribeSharedEventsMax)
  let members = 0
  /** Until the reader has ended, which may be later than it was stopped. */
  let isRunning = false
  let stop: Effect.Effect<unknown> = Effect.void

  const start = Effect.gen(function* () {
    if (isRunning || members < limits.subscribeSharedFrom) return
    isRunning = true
    const reading = Effect.ignore(readInto(list, store, feed, limits, disorderMs, () => members))
    const fiber = yield* Effect.forkIn(reading, scope)
    // Of the fiber, not of what it runs: the last follower may leave, and stop it, before it has begun.
    fiber.addObserver(() => {
      list.finish()
      isRunning = false
      runFork(list.wakeAll)
    })
    stop = Fiber.interrupt(fiber)
    // A follower that was interrupted in between would leave it as running, and no other would start it ever after.
  }).pipe(Effect.uninterruptible)

  return {
    list,
    join: Effect.acquireRelease(
      Effect.sync(() => {
        members++
      }),
      () =>
        Effect.suspend(() => {
          members--
          return members === 0 ? stop : Effect.void
        })
    ),
    start
  }
})
