/**
 * The end of the log, read once for all subscriptions of a node that have caught up with it: else a thousand readers would read
 * the same commits a thousand times. What was read is kept as a bounded list of batches. A subscription that does not keep up finds
 * its place gone, and reads the log by itself again.
 *
 * A subscription joins without a gap and without a repetition by its *cut*, the moment up to which it has read everything: one
 * that was taken between the n-th and the next cut of this reader contains all commits of its cuts up to n. Of the cut after
 * that the subscription leaves out what it has delivered already, and no later cut contains any of it.
 */
import { Effect, Fiber, Latch, type Scope } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import type { Commit, EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeListCut, makeMergedTails, readCommitsOf } from "./MergedTails.ts"
import { SubscriptionCursor } from "./SubscriptionCursor.ts"

/** A commit, and the places in the log just before and just after it. */
export interface SharedCommit {
  readonly commit: Commit
  /** The number of its writer, where that was finished. */
  readonly ordinal: number | undefined
  readonly before: string
  readonly after: string
}

export interface SharedBatch {
  /** The number of the reader's cut that contains it. */
  readonly cut: number
  readonly commits: ReadonlyArray<SharedCommit>
  /** The place in the log after all of them. */
  readonly after: string
}

/** Where a subscription is: the batch that it takes next, in which life of the reader, and which cuts its own contains. */
export interface SharedPlace {
  readonly index: number
  readonly life: number
  readonly cut: number
}

/**
 * Each batch wakes all followers, which costs some microseconds each. At the end of the log the reader waits a millisecond for so
 * many of them before it reads on, so that many followers are woken less often and get more at once.
 */
const followersAMs = 20

/** How the reader hears of the commits of its own node: the feed of the relay. */
export interface LogChanges {
  /** Completes at the next commit after this call. */
  readonly changedUnsafe: () => Effect.Effect<void>
}

/** The places of all commits that are kept, in characters: each is printed with its commit. */
const printedMax = 16_000_000

/** What the reader has read lately, and who is to be woken by more. */
class SharedList {
  readonly #eventsMax: number
  /** Each start of the reader is another life: places of an earlier one are gone. */
  #life = 0
  #isReading = false
  #cutsBegun = 0
  #cutsEnded = 0
  #batches: Array<SharedBatch> = []
  /** The index of the first batch that is kept. */
  #first = 0
  #events = 0
  #printed = 0
  #change: Latch.Latch | undefined
  readonly #watchers = new Map<AccountId, Set<Latch.Latch>>()

  constructor(eventsMax: number) {
    this.#eventsMax = eventsMax
  }

  get isReading(): boolean {
    return this.#isReading
  }

  /** From now on every commit that the log gets will be in the list. */
  begin(): void {
    this.#life++
    this.#isReading = true
  }

  /** All who follow it read by themselves. */
  end(): void {
    this.#isReading = false
    this.#life++
    this.#batches = []
    this.#events = this.#printed = 0
    this.#wakeAll()
  }

  /** Around each cut of the reader. */
  readonly takingCut = <A, E>(take: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      this.#cutsBegun++
      return Effect.tap(take, () =>
        Effect.sync(() => {
          this.#cutsEnded = this.#cutsBegun
        })
      )
    })

  publish(commits: ReadonlyArray<SharedCommit>, after: string): void {
    const batch = { cut: this.#cutsBegun, commits, after }
    this.#batches.push(batch)
    this.#weigh(batch, 1)
    for (const { commit } of commits) for (const { accountId } of commit.events) this.#wakeWatchers(accountId)
    // The last batch stays, however large it is.
    while (this.#batches.length > 1 && (this.#events > this.#eventsMax || this.#printed > printedMax)) {
      const oldest = this.#batches.shift()
      if (oldest !== undefined) this.#weigh(oldest, -1)
      this.#first++
    }
    this.#change?.openUnsafe()
    this.#change = undefined
  }

  /** To be called as a subscription begins a cut of its own; the result as it has taken it. */
  beginCut(): () => SharedPlace | undefined {
    const [life, cut, begun] = [this.#life, this.#cutsEnded, this.#cutsBegun]
    if (!this.#isReading || cut !== begun) return () => undefined
    return () => {
      // Two cuts that were taken at one time do not contain each other.
      if (life !== this.#life || begun !== this.#cutsBegun) return undefined
      return { index: this.#first + this.#batches.length, life, cut }
    }
  }

  /** The batch at a place; undefined at the end of the list, and `gone` where the place is no longer. */
  read({ index, life }: SharedPlace): SharedBatch | undefined | "gone" {
    return life !== this.#life || index < this.#first ? "gone" : this.#batches[index - this.#first]
  }

  /** Completes at the next batch after this call, or when the reader ends. */
  changed(): Effect.Effect<void> {
    this.#change ??= Latch.makeUnsafe(false)
    return this.#change.await
  }

  /** The latch opens at the next event of an account, or when the reader ends. */
  watch(account: AccountId): { readonly latch: Latch.Latch; readonly stop: () => void } {
    const latch = Latch.makeUnsafe(false)
    const all = this.#watchers.get(account) ?? new Set()
    this.#watchers.set(account, all.add(latch))
    return {
      latch,
      stop: () => {
        all.delete(latch)
        if (all.size === 0 && this.#watchers.get(account) === all) this.#watchers.delete(account)
      }
    }
  }

  #weigh({ commits }: SharedBatch, sign: 1 | -1): void {
    for (const { commit, before, after } of commits) {
      this.#events += sign * commit.events.length
      this.#printed += sign * (before.length + after.length)
    }
  }

  #wakeWatchers(account: AccountId): void {
    for (const latch of this.#watchers.get(account) ?? []) latch.openUnsafe()
  }

  #wakeAll(): void {
    this.#change?.openUnsafe()
    this.#change = undefined
    for (const account of this.#watchers.keys()) this.#wakeWatchers(account)
  }
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
  list.begin()
  const tails = makeMergedTails(store, limits, cursor, disorderMs, list.takingCut)
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
      shared.push({ commit, ordinal: one.tail.ordinal, before, after })
    }
    endUnsafe()
    if (shared.length > 0) list.publish(shared, cursor.print())
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
      list.end()
      isRunning = false
    })
    stop = Fiber.interrupt(fiber)
  })

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
