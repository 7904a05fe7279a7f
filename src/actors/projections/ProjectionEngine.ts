/** Rows of the log enter in any order, any number of times; the `books` read model follows, account by account. */
import { Clock, Context, Effect, Layer } from "effect"
import type { Posted } from "../../domain/Books.ts"
import { fold } from "../../domain/BooksFold.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import {
  type Checkpoint,
  type Parked,
  type ProjectionModel,
  ReadModel
} from "../../infra/readmodel/ReadModel.ts"
import { toBatch } from "./Batch.ts"
import { makeSkip, type SkipRefused } from "./SkipParked.ts"
import { makeProjectedHeadCache } from "./WrittenHeads.ts"

/** What one call did. */
export interface ProjectionResult {
  readonly events: number
  /** Of these, those that came with the call, by the partition of their account. */
  readonly byPartition: ReadonlyMap<number, number>
  /** Rows that had been projected before. */
  readonly repeats: number
  /** Accounts whose rows had to be read from the log. */
  readonly gaps: number
  /** Rows that came broken, though the log may have them whole. */
  readonly faulty: number
}

export class ProjectionEngine extends Context.Service<
  ProjectionEngine,
  {
    /** Projects rows from the bus, and loads from the log what they leave out. Any number of callers at once. */
    readonly project: (
      rows: ReadonlyArray<StoredEvent>,
      checkpoints: ReadonlyArray<Checkpoint>
    ) => Effect.Effect<ProjectionResult, StoreUnavailable>
    /** Brings accounts to the end of their streams as the log has them; answers the number of events. */
    readonly catchUp: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<number, StoreUnavailable>
    /** As far as this process knows. */
    readonly isParkedUnsafe: (account: AccountId) => boolean
    /** Takes over what other processes parked or released. */
    readonly refreshParked: Effect.Effect<void, StoreUnavailable>
    /**
     * Leaves out for ever the event that an account is parked at, records that, and goes on after it. What the
     * event did to the balance is kept where it can be read. Refused where the account is not parked there, or
     * where the event is its first and cannot be read: there is no balance to go on from.
     */
    readonly skipParked: (
      account: AccountId,
      version: Version
    ) => Effect.Effect<void, SkipRefused | StoreUnavailable>
    /** Tries parked accounts again, all unless some are named; answers those that still cannot go on. */
    readonly retryParked: (
      accounts?: ReadonlyArray<AccountId>
    ) => Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
  }
>()("chronicle/actors/ProjectionEngine") {
  /** Of the books; other projections make their own over their tables. */
  static readonly layer = Layer.effect(
    ProjectionEngine,
    Effect.suspend(() => Effect.flatMap(ReadModel, makeProjectionEngine))
  )
}

export const makeProjectionEngine = Effect.fnUntraced(function* (readModel: ProjectionModel) {
  const store = yield* EventStore
  const { partitions } = yield* LedgerConfig
  const limits = yield* ReadSideConfig
  /** Rows of these are dropped: they are read from the log when the account is released. */
  let parked = new Set<AccountId>()
  /** Parked by this process since it last released them, whatever it took over from others meanwhile. */
  const parkedHere = new Set<AccountId>()

  const written = makeProjectedHeadCache(readModel, limits.headsKeptMax)

  const park = Effect.fnUntraced(function* ({ account, version, reason }: Omit<Parked, "since">) {
    written.forgetUnsafe([account])
    if (!parked.has(account)) {
      yield* Effect.logError(`projection: account ${account} is parked at version ${version}: ${reason}`)
    }
    yield* readModel.park([{ account, version, reason, since: yield* Clock.currentTimeMillis }])
    parked.add(account)
    parkedHere.add(account)
  })

  /** Halves a batch that the database refuses until the guilty row is alone, and parks its account. */
  const write = (
    posted: ReadonlyArray<Posted>,
    checkpoints: ReadonlyArray<Checkpoint>,
    generation: number
  ): Effect.Effect<boolean, StoreUnavailable> => {
    const batch = { ...toBatch(posted, checkpoints, partitions), generation }
    return Effect.catchTag(readModel.apply(batch), "RowsRefused", (refused) => {
      const [only] = posted
      if (only === undefined) return Effect.die(refused)
      if (posted.length === 1) {
        const { id: account, version } = only.head.account
        return Effect.as(park({ account, version, reason: refused.reason }), true)
      }
      const middle = Math.floor(posted.length / 2)
      const secondHalf = Effect.suspend(() => {
        const rest = posted.slice(middle).filter(({ head }) => !parked.has(head.account.id))
        return write(rest, checkpoints, generation)
      })
      return Effect.flatMap(write(posted.slice(0, middle), [], generation), (written) =>
        written ? secondHalf : Effect.succeed(false)
      )
    })
  }

  /** Runs a step that answers `undefined` when another projector moved its accounts meanwhile, until it does not. */
  const settled = Effect.fnUntraced(function* <A, E>(attempt: Effect.Effect<A | undefined, E>) {
    for (let tries = 0; tries <= limits.contendedMax; tries++) {
      const done = yield* attempt
      if (done !== undefined) return done
    }
    return yield* new StoreUnavailable({ store: "read model", reason: "other projectors are always faster" })
  })

  /** One step of `catchUp`: answers how many events were projected, and which accounts may have more. */
  const advance = Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    const { heads, generation } = yield* readModel.look(accounts)
    const from = accounts.map((account) => ({ account, after: heads.get(account)?.account.version ?? 0 }))
    const rows = yield* store.readStreams(from, limits.projectEventsMax)
    const { posted, broken } = fold(heads, rows)
    if (posted.length > 0 && !(yield* write(posted, [], generation))) return undefined
    for (const { account, version, reason } of broken) {
      yield* park({ account: account as AccountId, version, reason }) // one of `accounts`
    }
    // The answer is in order of account: only the last one may have been cut off.
    const last = rows.length < limits.projectEventsMax ? undefined : rows.at(-1)?.accountId
    const unread =
      last === undefined ? [] : accounts.filter((account) => account >= last && !parked.has(account))
    return { events: posted.length, unread }
  })

  const catchUp = Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    let events = 0
    let unread = accounts
    written.forgetUnsafe(accounts)
    while (unread.length > 0) {
      const done = yield* settled(advance(unread))
      events += done.events
      unread = done.unread
    }
    return events
  })

  const projectOnce = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    checkpoints: ReadonlyArray<Checkpoint>
  ) {
    const wanted = rows.filter((row) => !parked.has(row.accountId))
    const accounts = [...new Set(wanted.map((row) => row.accountId))]
    const found = yield* written.look(accounts)
    if (found === undefined) return undefined
    const folded = fold(found.heads, wanted)
    if (folded.posted.length === 0 && checkpoints.length === 0) return folded
    if (!(yield* write(folded.posted, checkpoints, found.generation))) {
      written.forgetAllUnsafe()
      return undefined
    }
    written.rememberUnsafe(
      found.generation,
      folded.posted.filter(({ head }) => !parked.has(head.account.id)).map(({ head }) => head)
    )
    return folded
  })

  const project = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    checkpoints: ReadonlyArray<Checkpoint>
  ) {
    const { posted, gaps, broken, repeats } = yield* settled(projectOnce(rows, checkpoints)).pipe(
      // A read model that went away may come back with less than it had.
      Effect.tapCause(() => Effect.sync(written.forgetAllUnsafe))
    )
    const loaded = gaps.length === 0 ? 0 : yield* catchUp(gaps)
    const groups = Map.groupBy(posted, ({ head }) => partitionOf(head.account.id, partitions))
    const byPartition = new Map([...groups].map(([partition, group]) => [partition, group.length]))
    return { events: posted.length + loaded, byPartition, repeats, gaps: gaps.length, faulty: broken.length }
  })

  const refreshParked = Effect.gen(function* () {
    const rows = yield* readModel.parked
    const versions = yield* readModel.versions(rows.map((row) => row.account))
    // Somebody else, of a newer program perhaps, got past the event.
    const passed = rows.filter((row) => (versions.get(row.account) ?? 0) >= row.version)
    parked = new Set(rows.map((row) => row.account))
    yield* release(passed.map((row) => row.account))
  })

  const release = Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    if (accounts.length === 0) return
    for (const account of accounts) {
      parked.delete(account)
      parkedHere.delete(account)
    }
    yield* catchUp(accounts)
    const free = accounts.filter((account) => !parkedHere.has(account))
    yield* readModel.unpark(free)
    for (const account of free) parked.delete(account)
    // What was committed in between may have been passed over by a sweep that saw them parked.
    yield* catchUp(free)
  })

  const retryParked = Effect.fn("Bookkeeping.retryParked")(function* (accounts?: ReadonlyArray<AccountId>) {
    const rows = yield* readModel.parked
    const named = rows.map((row) => row.account).filter((account) => accounts?.includes(account) ?? true)
    yield* release(named)
    return yield* readModel.parked
  })

  const skipParked = makeSkip({ store, readModel, settled, release })
  const isParkedUnsafe = (account: AccountId): boolean => parked.has(account)
  const parkedOnes = { isParkedUnsafe, refreshParked, retryParked, skipParked }
  return { project, catchUp, ...parkedOnes } satisfies ProjectionEngine["Service"]
})
