/**
 * Brings a projection's tables to the end of the log, account by account. Rows arrive from the bus in any order and
 * any number of times; the engine accepts `version = last + 1`, skips lower versions and reads the log for what is
 * missing before higher ones. It holds no lock: each batch is guarded by the versions its accounts had when it was
 * folded, so any number of engines may work on the same tables.
 */
import { Context, Effect, Latch, Layer, Result } from "effect"
import { type Folded, fold, type OpenedHead } from "../../domain/Books.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import {
  type Checkpoint,
  type HeldHead,
  type Looked,
  type Parked,
  type ProjectionModel,
  ReadModel
} from "../../infra/readmodel/ReadModel.ts"
import { readToBadRow } from "../relay/TailReader.ts"
import { type Divergence, type DivergenceCounts, heldOf, makeDivergence } from "./Divergence.ts"
import { makeParking, type Parking } from "./Parking.ts"
import { makeBatchWriter } from "./ProjectionBatch.ts"
import { makeSkipParked, type SkipRefused, skipAgain } from "./SkipParked.ts"

/** What one call did. */
export interface ProjectionResult {
  readonly events: number
  /** Of these, those that came with the call, by the partition of their account. */
  readonly byPartition: ReadonlyMap<number, number>
  /** Rows that had been projected before. */
  readonly repeats: number
  /** Accounts whose rows had to be read from the log. */
  readonly gaps: number
  /** Rows that came broken, or with another hash than the log has. */
  readonly faulty: number
}

/** What is written of a call whose rest has to be read from the log. */
export interface WrittenFirst {
  readonly result: ProjectionResult
  /** The partitions of the accounts that are read from the log now. */
  readonly unfinished: ReadonlySet<number>
}

export class ProjectionEngine extends Context.Service<
  ProjectionEngine,
  {
    /**
     * Projects rows from the bus, and reads from the log what is missing before them. Safe to call concurrently. `onWritten`, which
     * must not throw, is called between the two.
     */
    readonly project: (
      rows: ReadonlyArray<StoredEvent>,
      checkpoints: ReadonlyArray<Checkpoint>,
      onWritten?: (written: WrittenFirst) => void
    ) => Effect.Effect<ProjectionResult, StoreUnavailable>
    /** Brings accounts to the end of their streams as the log has them; answers the number of events. */
    readonly catchUp: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<number, StoreUnavailable>
    /** How many accounts are parked, as far as this process knows; those that are tried again included. */
    readonly parkedUnsafe: () => number
    /** Takes over what other processes parked or released. */
    readonly refreshParked: Effect.Effect<void, StoreUnavailable>
    /**
     * Tries those again, as of the last refresh, whose reason may be over though their rows do not show it: they were reloaded, or their log
     * could not be read. Each some time after it was tried last; what cannot be reloaded is left to a person.
     */
    readonly mendParked: Effect.Effect<void, StoreUnavailable>
    /**
     * Leaves out for ever the event that an account is parked at, records that, and goes on with the event after it.
     * The event's effect on the balance is kept where the event can be read. Refused where the account is not parked
     * at this version, or is tried again by itself; and where its first event cannot be read: then there is no balance to go on from.
     */
    readonly skipParked: (
      account: AccountId,
      version: Version
    ) => Effect.Effect<void, SkipRefused | StoreUnavailable>
    /** Tries parked accounts again, all unless some are named; answers those that still cannot go on. */
    readonly retryParked: (
      accounts?: ReadonlyArray<AccountId>
    ) => Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
    /** Compares heads with the log, and reloads accounts that stand for an event which is not there. */
    readonly verifyHeads: (held: ReadonlyArray<HeldHead>) => Effect.Effect<void, StoreUnavailable>
    /** The same for accounts that the bus moved lately, at most `verifyHeadsMax` of them. */
    readonly verifyRecent: Effect.Effect<void, StoreUnavailable>
    /** Completes while there are such accounts. */
    readonly awaitRecent: Effect.Effect<void>
    readonly divergenceUnsafe: () => DivergenceCounts
  }
>()("chronicle/actors/ProjectionEngine") {
  /** Of the books; other projections make their own over their tables. */
  static readonly layer = Layer.effect(
    ProjectionEngine,
    Effect.suspend(() => Effect.flatMap(ReadModel, makeProjectionEngine))
  )
}

/** What the parts of an engine share. */
interface Parts {
  readonly readModel: ProjectionModel
  readonly cache: ProjectedHeadCache
  readonly parking: Parking
  readonly write: ReturnType<typeof makeBatchWriter>
  readonly divergence: Divergence
}

export const makeProjectionEngine = Effect.fnUntraced(function* (readModel: ProjectionModel) {
  const store = yield* EventStore
  const { partitions } = yield* LedgerConfig
  const { headsKeptMax, verifyHeadsMax, contendedMax } = yield* ReadSideConfig
  const cache = makeProjectedHeadCache(readModel, headsKeptMax)
  const parking = makeParking(readModel, cache.forgetUnsafe)
  const write = makeBatchWriter(readModel, parking, partitions)
  const divergence = yield* makeDivergence(readModel, parking)
  const parts = { readModel, cache, parking, write, divergence }
  const recent = makeRecentAccounts(headsKeptMax)
  const { catchUp, catchUpReloaded } = yield* makeCatchUp(parts, (accounts) =>
    Effect.flatMap(readModel.skipped, (skipped) =>
      skipAgain(
        readModel,
        skipParked,
        skipped.filter(({ account }) => accounts.includes(account))
      )
    )
  )
  const project = yield* makeProject(parts, catchUp, catchUpReloaded, recent.addUnsafe)

  const release = makeRelease(parts, catchUp, catchUpReloaded)
  const again = {
    retryOnContention: <A, E>(attempt: Effect.Effect<A | undefined, E>) =>
      retryOnContention(attempt, contendedMax),
    release
  }
  const skipParked = makeSkipParked(store, readModel, again, partitions)

  const retryParked = Effect.fn("ProjectionEngine.retryParked")(function* (
    accounts?: ReadonlyArray<AccountId>
  ) {
    const rows = yield* readModel.parked
    const named = accounts === undefined ? undefined : new Set(accounts)
    yield* release(rows.map((row) => row.account).filter((account) => named?.has(account) ?? true))
    return yield* readModel.parked
  })

  const verifyHeads = (held: ReadonlyArray<HeldHead>) =>
    Effect.flatMap(divergence.checkHeld(held), ({ reloaded }) => catchUpReloaded(reloaded))

  return {
    project,
    catchUp,
    parkedUnsafe: parking.countUnsafe,
    refreshParked: Effect.flatMap(parking.refresh, release),
    mendParked: Effect.flatMap(parking.due, (accounts) =>
      release(accounts.filter((account) => !divergence.isUnhealedUnsafe(account)))
    ),
    retryParked,
    skipParked,
    verifyHeads,
    verifyRecent: Effect.suspend(() =>
      Effect.flatMap(divergence.check(recent.takeUnsafe(verifyHeadsMax)), ({ reloaded }) =>
        catchUpReloaded(reloaded)
      )
    ),
    awaitRecent: recent.awaitSome,
    divergenceUnsafe: divergence.countsUnsafe
  } satisfies ProjectionEngine["Service"]
})

/** Tries accounts again, and releases those that got past their event. */
const makeRelease = (
  { parking, divergence }: Parts,
  catchUp: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<unknown, StoreUnavailable>,
  catchUpReloaded: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
): ((accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>) =>
  Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    if (accounts.length === 0) return
    yield* parking.whileTried(accounts)
    parking.tryAgainUnsafe(accounts)
    const { reloaded, stuck } = yield* divergence.check(accounts)
    const left = new Set(stuck)
    yield* catchUp(accounts.filter((account) => !left.has(account)))
    yield* parking.release(accounts, catchUp)
    yield* catchUpReloaded(reloaded)
  }, Effect.scoped)

/** Repeats a step that answers `undefined` when another projector moved its accounts meanwhile. */
const retryOnContention = Effect.fnUntraced(function* <A, E>(
  attempt: Effect.Effect<A | undefined, E>,
  triesMax: number
) {
  for (let tries = 0; tries <= triesMax; tries++) {
    const done = yield* attempt
    if (done !== undefined) return done
  }
  return yield* gaveUp(triesMax)
})

const gaveUp = (tries: number) =>
  new StoreUnavailable({
    store: "read model",
    reason: `gave up after ${tries} attempts because other projectors kept updating the same accounts`
  })

/** One batch of the streams of accounts, from where the tables hold each of them. */
const makeCatchUpStep = Effect.fnUntraced(function* ({ readModel, parking, write, divergence }: Parts) {
  const store = yield* EventStore
  const { projectEventsMax } = yield* ReadSideConfig

  /**
   * Answers how many events were projected, and which accounts may have more; undefined on contention. Where one of several accounts cannot
   * be read, nothing was done; where it is alone, it is projected up to there, and parked.
   */
  return Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    const looked = yield* readModel.look(accounts)
    const { heads } = looked
    const from = accounts.map((account) => ({ account, after: heads.get(account)?.account.version ?? 0 }))
    const [account, ...others] = accounts
    const isAlone = account !== undefined && others.length === 0
    const read = yield* readToBadRow(
      (limit) => store.readStreams(from, limit),
      projectEventsMax,
      isAlone ? 1 : projectEventsMax
    )
    if (Result.isFailure(read)) {
      if (!isAlone) return "unreadable"
      yield* parking.parkUnreadable(account, read.failure)
      return { events: 0, unread: [], reloaded: [] }
    }
    const { rows, rowsMax } = read.success
    const { posted, broken } = fold(heads, rows)
    if (posted.length > 0 && !(yield* write(posted, [], looked))) return undefined
    // A row of the log that does not follow: either the rows before it are not of the log, or the log is broken.
    const { reloaded, stuck } = yield* divergence.check(broken.map(({ account }) => account as AccountId)) // of `accounts`
    for (const { account, version, reason } of broken) {
      const id = account as AccountId // one of `accounts`
      if (!reloaded.includes(id) && !stuck.includes(id)) yield* parking.park({ account: id, version, reason })
    }
    // The answer is in order of account: only the last one may have been cut off.
    const last = rows.length < rowsMax ? undefined : rows.at(-1)?.accountId
    const unread = accounts.filter(
      (account) =>
        (last !== undefined && account >= last && !parking.isParked(account)) || reloaded.includes(account)
    )
    return { events: posted.length, unread, reloaded }
  })
})

/** Projects streams from the log, from where the tables hold each account to its end. */
const makeCatchUp = Effect.fnUntraced(function* (
  parts: Parts,
  skipKnown: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
) {
  const { cache, parking } = parts
  const { contendedMax, projectEventsMax } = yield* ReadSideConfig
  const catchUpStep = yield* makeCatchUpStep(parts)

  const catchUp: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<number, StoreUnavailable> =
    Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      const reloaded: Array<AccountId> = []
      let events = 0
      let unread = accounts
      /** So many are looked at at once: no more than may have an event each in one batch, fewer where projectors that are busy with them were faster. */
      let width = Math.min(accounts.length, projectEventsMax)
      let contended = 0
      cache.forgetUnsafe(accounts)
      while (unread.length > 0) {
        const done = yield* catchUpStep(unread.slice(0, width))
        if (done === undefined) {
          contended++
          if (contended > contendedMax) return yield* gaveUp(contendedMax)
          width = Math.max(1, Math.floor(width / 2))
          continue
        }
        if (done === "unreadable") {
          width = 1
          continue
        }
        contended = 0
        events += done.events
        unread = [...done.unread, ...unread.slice(width)]
        width = Math.min(unread.length, width * 2, projectEventsMax)
        yield* tryAgain(done.reloaded)
        reloaded.push(...done.reloaded)
      }
      yield* unpark(reloaded)
      return events
    }, Effect.scoped)

  /** Until the scope ends, these are told of as parked, but are projected. */
  const tryAgain = Effect.fnUntraced(function* (reloaded: ReadonlyArray<AccountId>) {
    if (reloaded.length === 0) return
    yield* parking.whileTried(reloaded)
    parking.tryAgainUnsafe(reloaded)
  })

  /** What was recorded of a reloaded account is there: before that its balance would be taken for one that it has. */
  const unpark = Effect.fnUntraced(function* (reloaded: ReadonlyArray<AccountId>) {
    if (reloaded.length === 0) return
    yield* parking.release(reloaded, catchUp)
    yield* skipKnown(reloaded)
  })

  return {
    catchUp,
    /** Accounts that were reloaded up to one batch: the rest, past the events that a person had skipped. */
    catchUpReloaded: Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      if (accounts.length === 0) return
      yield* tryAgain(accounts)
      yield* catchUp(accounts)
      yield* unpark(accounts)
    }, Effect.scoped)
  }
})

/** Projects rows as the bus brings them. */
const makeProject = Effect.fnUntraced(function* (
  { cache, parking, write, divergence }: Parts,
  catchUp: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<number, StoreUnavailable>,
  catchUpReloaded: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>,
  onMoved: (accounts: ReadonlyArray<AccountId>) => void
) {
  const { partitions } = yield* LedgerConfig
  const { contendedMax, headsKeptMax } = yield* ReadSideConfig
  const compareWithLog = makeCompareWithLog(divergence, catchUpReloaded, headsKeptMax)

  const projectStep = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    checkpoints: ReadonlyArray<Checkpoint>
  ) {
    const wanted = rows.filter((row) => !parking.isParked(row.accountId))
    const accounts = [...new Set(wanted.map((row) => row.accountId))]
    const looked = yield* cache.look(accounts)
    if (looked === undefined) return undefined
    const folded = fold(looked.heads, wanted)
    if (folded.posted.length === 0 && checkpoints.length === 0) return { folded, heads: looked.heads }
    if (!(yield* write(folded.posted, checkpoints, looked))) {
      cache.forgetAllUnsafe()
      return undefined
    }
    cache.rememberUnsafe(
      looked,
      folded.posted.filter(({ head }) => !parking.isParked(head.account.id)).map(({ head }) => head)
    )
    return { folded, heads: looked.heads }
  })

  return Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    checkpoints: ReadonlyArray<Checkpoint>,
    onWritten: (written: WrittenFirst) => void = () => {}
  ) {
    const { folded, heads } = yield* retryOnContention(projectStep(rows, checkpoints), contendedMax).pipe(
      // A read model that was away may come back with less than it had.
      Effect.tapCause(() => Effect.sync(cache.forgetAllUnsafe))
    )
    const { posted, gaps, broken, repeats } = folded
    onMoved(posted.map(({ head }) => head.account.id))
    const byPartition = countByPartition(posted, partitions)
    onWritten({
      result: { events: posted.length, byPartition, repeats, gaps: gaps.length, faulty: broken.length },
      unfinished: new Set(
        [...gaps, ...folded.diverged, ...folded.older].map((account) => partitionOf(account, partitions))
      )
    })
    const loaded = gaps.length === 0 ? 0 : yield* catchUp(gaps)
    const forged = folded.diverged.length + folded.older.length > 0 ? yield* compareWithLog(folded, heads) : 0
    return {
      events: posted.length + loaded,
      byPartition,
      repeats,
      gaps: gaps.length,
      faulty: broken.length + forged
    }
  })
})

/** Where a row contradicts the head, or is of an older version, about which the head says nothing. */
const makeCompareWithLog = (
  divergence: Divergence,
  catchUpReloaded: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>,
  headsMax: number
) => {
  const compared = makeComparedHeads(headsMax)
  return Effect.fnUntraced(function* (
    { diverged, older, posted }: Folded,
    looked: ReadonlyMap<AccountId, OpenedHead>
  ) {
    const heads = new Map(looked)
    for (const { head } of posted) heads.set(head.account.id, head)
    const suspects = new Set(diverged)
    for (const account of older) if (!compared.hasUnsafe(account, heads)) suspects.add(account)
    const held = [...suspects].flatMap((account) => heldOf(heads.get(account)) ?? [])
    const { reloaded, stuck, unread } = yield* divergence.checkHeld(held)
    yield* catchUpReloaded(reloaded)
    compared.addUnsafe(older, heads)
    const otherwise = new Set([...reloaded, ...stuck, ...unread])
    const forged = held.filter(({ account }) => diverged.includes(account) && !otherwise.has(account))
    for (const one of forged) yield* divergence.disbelieve(one)
    return forged.length
  })
}

const countByPartition = (posted: Folded["posted"], partitions: number): ReadonlyMap<number, number> => {
  const groups = Map.groupBy(posted, ({ head }) => partitionOf(head.account.id, partitions))
  return new Map([...groups].map(([partition, group]) => [partition, group.length]))
}

/** Accounts that the bus moved and that were not compared with the log since; above `max`, the oldest are left to the walk. */
const makeRecentAccounts = (max: number) => {
  const recent = new Set<AccountId>()
  const hasSome = Latch.makeUnsafe(false)
  return {
    awaitSome: Effect.suspend(() => {
      if (recent.size === 0) hasSome.closeUnsafe()
      return Effect.asVoid(hasSome.await)
    }),
    addUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      hasSome.openUnsafe()
      for (const account of accounts) recent.add(account)
      forgetOldest(recent, max)
    },
    takeUnsafe: (count: number): ReadonlyArray<AccountId> => {
      const taken = recent.values().take(count).toArray()
      for (const account of taken) recent.delete(account)
      return taken
    }
  }
}

/** Heads that were compared with the log, so that a stream that is delivered again costs one comparison a head. */
const makeComparedHeads = (max: number) => {
  const hashes = new Map<AccountId, string>()
  return {
    hasUnsafe: (account: AccountId, heads: ReadonlyMap<AccountId, OpenedHead>): boolean =>
      hashes.get(account) === heads.get(account)?.hash,
    addUnsafe: (accounts: ReadonlyArray<AccountId>, heads: ReadonlyMap<AccountId, OpenedHead>): void => {
      for (const account of accounts) {
        const hash = heads.get(account)?.hash
        if (hash !== undefined) hashes.set(account, hash)
      }
      forgetOldest(hashes, max)
    }
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
  /** Where they were read; undefined where nothing is kept. */
  let tables: Omit<Looked, "heads"> | undefined

  const forgetAllUnsafe = (): void => {
    heads.clear()
    tables = undefined
  }

  return {
    /** The heads to fold on; undefined, and all forgotten, when the tables were exchanged since the last batch. */
    look: Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      const kept = new Map<AccountId, OpenedHead>()
      const unknown: Array<AccountId> = []
      // Kept aside, because other fibers may write and forget during the look.
      const keptTables = tables
      for (const account of accounts) {
        const head = heads.get(account)
        if (head === undefined) unknown.push(account)
        else kept.set(account, head)
      }
      if (unknown.length === 0 && keptTables !== undefined) {
        return { ...keptTables, heads: kept } satisfies Looked
      }
      const looked = yield* readModel.look(unknown)
      if (kept.size > 0 && looked.generation !== keptTables?.generation) {
        forgetAllUnsafe()
        return undefined
      }
      for (const [account, head] of looked.heads) kept.set(account, head)
      return { ...looked, heads: kept } satisfies Looked
    }),
    /** In order of version: the last head of an account is kept. */
    rememberUnsafe: ({ generation, sumPrefixes }: Looked, fresh: ReadonlyArray<OpenedHead>): void => {
      if (tables?.generation !== generation) forgetAllUnsafe()
      tables = { generation, sumPrefixes }
      for (const head of fresh) {
        heads.delete(head.account.id)
        heads.set(head.account.id, head)
      }
      forgetOldest(heads, headsMax)
    },
    forgetUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      for (const account of accounts) heads.delete(account)
    },
    forgetAllUnsafe
  }
}

type ProjectedHeadCache = ReturnType<typeof makeProjectedHeadCache>
