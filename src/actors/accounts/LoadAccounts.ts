/**
 * Reads the heads of accounts from their latest snapshots and the events after them, many accounts in few queries. A
 * snapshot only spares work: it is held against the log each time, folded anew now and then, and one that turns out wrong, or
 * cannot be read, is read past, so that it never makes an account wrong or unavailable.
 */
import { Effect, Equal, Random, Result } from "effect"
import { type BrokenLog, emptyHead, follow, type Head, isAt } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import { EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { Snapshots } from "../../infra/eventstore/Snapshots.ts"
import { isLasting } from "../../infra/postgres/SqlState.ts"

/** Rows of one query while accounts are loaded. */
const rowsMax = 5_000

/** One in so many snapshots is compared with the fold from the one before it, which reads as many more events. */
const foldedOneIn = 64

/** What was found of one account. */
export interface LoadedAccount {
  readonly head: Result.Result<Head, BrokenLog>
  /** Heads on the way at which a snapshot would have saved reading the events before. */
  readonly milestones: ReadonlyArray<Head>
  /** Events that were read after the snapshot. */
  readonly eventsRead: number
}

/** Loads many accounts with a few queries, however many they are; checks every row against the one before. */
export const loadAccounts = Effect.fnUntraced(function* (
  accounts: ReadonlyArray<AccountId>,
  snapshotEvery: number
) {
  const snapshots = yield* Snapshots
  const readings = new Map(accounts.map((id) => [id, new Reading(id, snapshotEvery)]))
  const [first] = accounts
  const wanted = snapshots.latest(accounts)
  // Of several, who loads them tries each alone.
  const isAlone = first !== undefined && accounts.length === 1
  for (const latest of yield* isAlone ? orNoSnapshot(first, wanted, []) : wanted) {
    const { id, version } = latest.account
    const isFolded = (yield* Random.nextIntBetween(0, foldedOneIn, { halfOpen: true })) === 0
    const before = Effect.map(snapshots.before(id, { version: version - 1 }), (head) => ({ head }))
    const earlier = isFolded ? yield* orNoSnapshot(id, before, undefined) : undefined
    if (earlier === undefined) readings.get(id)?.begin(latest, undefined)
    else readings.get(id)?.begin(earlier.head, latest)
  }
  yield* readAll(readings)

  const suspected = [...readings.values()].filter(({ suspect }) => suspect !== undefined)
  const folded = new Map(suspected.map(({ id }) => [id, new Reading(id, snapshotEvery)]))
  yield* readAll(folded)
  for (const [id, reading] of folded) readings.set(id, reading)

  const wrong = suspected
    // Where the fold from the first event fails too, the log is broken and the snapshot need not be.
    .flatMap(({ id, suspect }) => (folded.get(id)?.isOver === false ? (suspect ?? []) : []))
    .concat([...readings.values()].flatMap(({ refuted }) => refuted ?? []))
  for (const { account } of wrong) {
    yield* Effect.logError(
      `snapshot ${account.id}@${account.version} does not agree with the log, and is deleted`
    )
  }
  // A wrong one that stays is found again by the next reader.
  yield* snapshots
    .drop(wrong)
    .pipe(Effect.catch((error) => Effect.logWarning("wrong snapshots were not deleted", error.message)))
  return readings as ReadonlyMap<AccountId, LoadedAccount>
})

/** Of each store the accounts whose snapshots could not be read when that was tried last, the longest known first: it is told once of each. */
const unreadable = new WeakMap<EventStore["Service"], Set<AccountId>>()
const unreadableMax = 1_000

/** Answers whether that is news. */
const noteUnreadable = (store: EventStore["Service"], account: AccountId): boolean => {
  const known = unreadable.get(store) ?? new Set()
  unreadable.set(store, known)
  if (known.has(account)) return false
  known.add(account)
  forgetOldest(known, unreadableMax)
  return true
}

/**
 * A snapshot of the account, or none where it cannot be read although the log can, as where a page of its disk is bad: the log has all
 * that it spares to read. Not where both are away, or the database has too much to do, for a moment or for long: an account may have a
 * million events.
 */
export const orNoSnapshot = <A, B>(
  account: AccountId,
  read: Effect.Effect<A, StoreUnavailable>,
  none: B
): Effect.Effect<A | B, StoreUnavailable, EventStore> =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const found = yield* Effect.result(read)
    if (Result.isSuccess(found)) {
      unreadable.get(store)?.delete(account)
      return found.success
    }
    if (!isLasting(found.failure.state)) return yield* found.failure
    yield* store.readStream({ account, after: 0, limit: 1 })
    const { reason } = found.failure
    if (noteUnreadable(store, account))
      yield* Effect.logError(
        `the snapshots of account ${account} cannot be read, and are read past: ${reason}`
      )
    return none
  })

/** Reads the rest of all streams. */
const readAll = Effect.fnUntraced(function* (readings: ReadonlyMap<AccountId, Reading>) {
  const store = yield* EventStore
  let unread = [...readings.values()]
  while (unread.length > 0) {
    const rows = yield* store.readStreams(
      unread.map((reading) => ({ account: reading.id, after: reading.readTo })),
      rowsMax
    )
    for (const row of rows) readings.get(row.accountId)?.take(row)
    if (rows.length < rowsMax) break
    // The order of ids is the store's: all that appeared are read, but for the last, which may go on.
    const last = rows.at(-1)?.accountId
    const appeared = new Set(rows.map((row) => row.accountId))
    unread = unread.filter(({ id, isOver }) => !isOver && (!appeared.has(id) || id === last))
  }
})

/** One account on its way from a snapshot, or from nothing, to the end of its stream. */
class Reading implements LoadedAccount {
  readonly id: AccountId
  head: Result.Result<Head, BrokenLog>
  readonly milestones: Array<Head> = []
  eventsRead = 0
  /** A snapshot that the fold does not agree with. */
  refuted: Head | undefined
  /** Where it began; undefined at the first event. */
  #start: Head | undefined
  /** The event of the snapshot's version was looked at: it must be the one that the snapshot stands at. */
  #isAnchored = true
  #isDetached = false
  /** The snapshot that the fold is compared with when it gets there. */
  #compared: Head | undefined
  readonly #snapshotEvery: number

  constructor(id: AccountId, snapshotEvery: number) {
    this.id = id
    this.head = Result.succeed(emptyHead(id))
    this.#snapshotEvery = snapshotEvery
  }

  begin(start: Head | undefined, compared: Head | undefined): void {
    this.#start = start
    this.#compared = compared
    this.#isAnchored = start === undefined
    if (start !== undefined) this.head = Result.succeed(start)
  }

  /** Reading goes on above this version; a snapshot's own event is read too. */
  get readTo(): number {
    const version = Result.isSuccess(this.head) ? this.head.success.account.version : 0
    return this.#isAnchored ? version : version - 1
  }

  /** No more rows are wanted. */
  get isOver(): boolean {
    return Result.isFailure(this.head) || this.#isDetached
  }

  /** Once all rows were read: the snapshot that it began with, where that may be why they do not fit. */
  get suspect(): Head | undefined {
    if (!this.#isAnchored || this.#isDetached) return this.#start
    // Its hash is right; so a broken chain or a missing version is the log's fault.
    const isOfState = Result.isFailure(this.head) && !["I1", "I5"].includes(this.head.failure.invariant)
    return isOfState ? this.#start : undefined
  }

  take(row: StoredEvent): void {
    if (this.#isDetached || Result.isFailure(this.head)) return
    if (!this.#isAnchored) {
      this.#isAnchored = true
      this.#isDetached = !isAt(this.head.success, row)
      return
    }
    this.head = follow(this.head.success, row)
    this.eventsRead++
    if (Result.isFailure(this.head)) return
    if (this.#compared?.account.version === row.version && !Equal.equals(this.#compared, this.head.success)) {
      this.refuted = this.#compared
    }
    if (row.version % this.#snapshotEvery === 0) this.milestones.push(this.head.success)
  }
}
