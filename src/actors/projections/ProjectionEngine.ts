/**
 * Brings a projection's tables to the end of the log, account by account. Rows arrive from the bus in any order and
 * any number of times; the engine accepts `version = last + 1`, skips lower versions and reads the log for what is
 * missing before higher ones. It holds no lock: each batch is guarded by the versions its accounts had when it was
 * folded, so any number of engines may work on the same tables.
 */
import { Clock, Context, Effect, Layer } from "effect"
import type { OpenedHead, Posted } from "../../domain/Books.ts"
import { fold } from "../../domain/BooksFold.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import {
  type BooksBatch,
  type Checkpoint,
  type Looked,
  type Parked,
  type ProjectionModel,
  ReadModel
} from "../../infra/readmodel/ReadModel.ts"
import { makeSkipParked, type SkipRefused } from "./SkipParked.ts"

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
    /** Projects rows from the bus, and reads from the log what is missing before them. Safe to call concurrently. */
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
     * Leaves out for ever the event that an account is parked at, records that, and goes on with the event after it.
     * The event's effect on the balance is kept where the event can be read. Refused where the account is not parked
     * at this version, or where its first event cannot be read: then there is no balance to go on from.
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
  const { headsKeptMax, contendedMax, projectEventsMax } = yield* ReadSideConfig
  const cache = makeProjectedHeadCache(readModel, headsKeptMax)
  const parking = makeParking(readModel, cache)
  const write = makeBatchWriter(readModel, parking, partitions)

  /** Repeats a step that answers `undefined` when another projector moved its accounts meanwhile. */
  const retryOnContention = Effect.fnUntraced(function* <A, E>(attempt: Effect.Effect<A | undefined, E>) {
    for (let tries = 0; tries <= contendedMax; tries++) {
      const done = yield* attempt
      if (done !== undefined) return done
    }
    return yield* new StoreUnavailable({
      store: "read model",
      reason: `gave up after ${contendedMax} attempts because other projectors kept updating the same accounts`
    })
  })

  /** One step of `catchUp`: answers how many events were projected, and which accounts may have more. */
  const catchUpStep = Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    const { heads, generation } = yield* readModel.look(accounts)
    const from = accounts.map((account) => ({ account, after: heads.get(account)?.account.version ?? 0 }))
    const rows = yield* store.readStreams(from, projectEventsMax)
    const { posted, broken } = fold(heads, rows)
    if (posted.length > 0 && !(yield* write(posted, [], generation))) return undefined
    for (const { account, version, reason } of broken) {
      yield* parking.park({ account: account as AccountId, version, reason }) // one of `accounts`
    }
    // The answer is in order of account: only the last one may have been cut off.
    const last = rows.length < projectEventsMax ? undefined : rows.at(-1)?.accountId
    const unread =
      last === undefined ? [] : accounts.filter((account) => account >= last && !parking.isParked(account))
    return { events: posted.length, unread }
  })

  const catchUp = Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    let events = 0
    let unread = accounts
    cache.forgetUnsafe(accounts)
    while (unread.length > 0) {
      const done = yield* retryOnContention(catchUpStep(unread))
      events += done.events
      unread = done.unread
    }
    return events
  })

  const projectStep = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    checkpoints: ReadonlyArray<Checkpoint>
  ) {
    const wanted = rows.filter((row) => !parking.isParked(row.accountId))
    const accounts = [...new Set(wanted.map((row) => row.accountId))]
    const looked = yield* cache.look(accounts)
    if (looked === undefined) return undefined
    const folded = fold(looked.heads, wanted)
    if (folded.posted.length === 0 && checkpoints.length === 0) return folded
    if (!(yield* write(folded.posted, checkpoints, looked.generation))) {
      cache.forgetAllUnsafe()
      return undefined
    }
    cache.rememberUnsafe(
      looked.generation,
      folded.posted.filter(({ head }) => !parking.isParked(head.account.id)).map(({ head }) => head)
    )
    return folded
  })

  const project = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    checkpoints: ReadonlyArray<Checkpoint>
  ) {
    const { posted, gaps, broken, repeats } = yield* retryOnContention(projectStep(rows, checkpoints)).pipe(
      // A read model that was away may come back with less than it had.
      Effect.tapCause(() => Effect.sync(cache.forgetAllUnsafe))
    )
    const loaded = gaps.length === 0 ? 0 : yield* catchUp(gaps)
    const groups = Map.groupBy(posted, ({ head }) => partitionOf(head.account.id, partitions))
    const byPartition = new Map([...groups].map(([partition, group]) => [partition, group.length]))
    return { events: posted.length + loaded, byPartition, repeats, gaps: gaps.length, faulty: broken.length }
  })

  const release = Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    if (accounts.length === 0) return
    parking.tryAgainUnsafe(accounts)
    yield* catchUp(accounts)
    const free = yield* parking.release(accounts)
    // A reconciler that saw them parked may have passed over what was committed meanwhile.
    yield* catchUp(free)
  })

  const refreshParked = Effect.flatMap(parking.refresh, release)

  const retryParked = Effect.fn("ProjectionEngine.retryParked")(function* (
    accounts?: ReadonlyArray<AccountId>
  ) {
    const rows = yield* readModel.parked
    yield* release(rows.map((row) => row.account).filter((account) => accounts?.includes(account) ?? true))
    return yield* readModel.parked
  })

  return {
    project,
    catchUp,
    isParkedUnsafe: parking.isParked,
    refreshParked,
    retryParked,
    skipParked: makeSkipParked(store, readModel, { retryOnContention, release })
  } satisfies ProjectionEngine["Service"]
})

/**
 * Which accounts are parked. Their rows are dropped when they arrive: they are read from the log when the account is
 * released.
 */
const makeParking = (readModel: ProjectionModel, cache: Pick<ProjectedHeadCache, "forgetUnsafe">) => {
  let parked = new Set<AccountId>()
  /** Parked by this process since it last released them, whatever it took over from others meanwhile. */
  const parkedHere = new Set<AccountId>()
  return {
    isParked: (account: AccountId): boolean => parked.has(account),
    park: Effect.fnUntraced(function* ({ account, version, reason }: Omit<Parked, "since">) {
      cache.forgetUnsafe([account])
      if (!parked.has(account)) {
        yield* Effect.logError(`projection: account ${account} is parked at version ${version}: ${reason}`)
      }
      yield* readModel.park([{ account, version, reason, since: yield* Clock.currentTimeMillis }])
      parked.add(account)
      parkedHere.add(account)
    }),
    /** Until they are parked again, these accounts are projected. */
    tryAgainUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      for (const account of accounts) {
        parked.delete(account)
        parkedHere.delete(account)
      }
    },
    /** Unparks those that were not parked again; answers them. */
    release: Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      const free = accounts.filter((account) => !parkedHere.has(account))
      yield* readModel.unpark(free)
      for (const account of free) parked.delete(account)
      return free
    }),
    /** Takes over what others parked; answers accounts that got past their event, by a newer program perhaps. */
    refresh: Effect.gen(function* () {
      const rows = yield* readModel.parked
      const versions = yield* readModel.versions(rows.map((row) => row.account))
      parked = new Set(rows.map((row) => row.account))
      return rows.filter((row) => (versions.get(row.account) ?? 0) >= row.version).map((row) => row.account)
    })
  }
}

type Parking = ReturnType<typeof makeParking>

/**
 * Writes a run of postings. A batch that the database refuses is halved until the guilty row is alone, and the account
 * of that row is parked. Answers false when another projector moved an account of the batch.
 */
const makeBatchWriter = (readModel: ProjectionModel, parking: Parking, partitions: number) => {
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
        return Effect.as(parking.park({ account, version, reason: refused.reason }), true)
      }
      const middle = Math.floor(posted.length / 2)
      const secondHalf = Effect.suspend(() => {
        const rest = posted.slice(middle).filter(({ head }) => !parking.isParked(head.account.id))
        return write(rest, checkpoints, generation)
      })
      return Effect.flatMap(write(posted.slice(0, middle), [], generation), (written) =>
        written ? secondHalf : Effect.succeed(false)
      )
    })
  }
  return write
}

/** The rows of a run of postings, in order of account and version, as one batch. */
export const toBatch = (
  posted: ReadonlyArray<Posted>,
  checkpoints: ReadonlyArray<Checkpoint>,
  partitions: number
): BooksBatch => {
  const moves = new Map<AccountId, BooksBatch["moves"][number]>()
  const contras: Array<BooksBatch["contras"][number]> = []
  for (const { head, contra } of posted) {
    const { id, version } = head.account
    moves.set(id, { from: moves.get(id)?.from ?? version - 1, head })
    if (contra !== undefined) contras.push({ ...contra, partition: partitionOf(id, partitions) })
  }
  return {
    moves: [...moves.values()],
    lines: posted.map(({ line }) => line),
    transfers: posted.flatMap(({ transfer }) => (transfer === undefined ? [] : [transfer])),
    contras,
    checkpoints
  }
}

/**
 * Heads as this process wrote them, so that the next batch need not read them again. An entry is only a guess: a batch
 * that was folded on it is refused where the tables hold another version, because another process moved the account or
 * the tables were exchanged or lost. Then everything is forgotten, and read again.
 */
const makeProjectedHeadCache = (readModel: Pick<ProjectionModel, "look">, headsMax: number) => {
  /** The longest unused first. */
  const heads = new Map<AccountId, OpenedHead>()
  let generation: number | undefined

  const forgetAllUnsafe = (): void => {
    heads.clear()
    generation = undefined
  }

  return {
    /** The heads to fold on; undefined, and all forgotten, when the tables were exchanged since the last batch. */
    look: Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      const kept = new Map<AccountId, OpenedHead>()
      const unknown: Array<AccountId> = []
      // Kept aside, because other fibers may write and forget during the look.
      const keptGeneration = generation
      for (const account of accounts) {
        const head = heads.get(account)
        if (head === undefined) unknown.push(account)
        else kept.set(account, head)
      }
      if (unknown.length === 0 && keptGeneration !== undefined) {
        return { generation: keptGeneration, heads: kept } satisfies Looked
      }
      const looked = yield* readModel.look(unknown)
      if (kept.size > 0 && looked.generation !== keptGeneration) {
        forgetAllUnsafe()
        return undefined
      }
      for (const [account, head] of looked.heads) kept.set(account, head)
      return { generation: looked.generation, heads: kept } satisfies Looked
    }),
    /** In order of version: the last head of an account is kept. */
    rememberUnsafe: (written: number, fresh: ReadonlyArray<OpenedHead>): void => {
      if (generation !== written) forgetAllUnsafe()
      generation = written
      for (const head of fresh) {
        heads.delete(head.account.id)
        heads.set(head.account.id, head)
      }
      for (const account of heads.keys()) {
        if (heads.size <= headsMax) break
        heads.delete(account)
      }
    },
    forgetUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      for (const account of accounts) heads.delete(account)
    },
    forgetAllUnsafe
  }
}

type ProjectedHeadCache = ReturnType<typeof makeProjectedHeadCache>
