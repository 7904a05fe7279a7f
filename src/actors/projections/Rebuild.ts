/**
 * Builds a projection's tables anew from the log, beside the live ones, and exchanges the two: a changed projection, or
 * one whose tables were damaged, is replaced without downtime. Live projection and reads go on meanwhile.
 */
import { Clock, Effect, Fiber, Result, Schedule } from "effect"
import { type Folded, fold, type OpenedHead, type Posted } from "../../domain/Books.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type EventKey, EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeDeclaredSums } from "../../infra/readmodel/DeclaredSums.ts"
import { hasSums, type Projection, prefixOf, rebuildMarks } from "../../infra/readmodel/Projection.ts"
import { ProjectedSignal } from "../../infra/readmodel/ProjectionWaiters.ts"
import { type ProjectionModel, sweptFinished } from "../../infra/readmodel/ReadModel.ts"
import { ProjectionSql, ReadModelSql } from "../../infra/readmodel/ReadModelSql.ts"
import { makeProjectionWrites } from "../../infra/readmodel/ReadModelWrites.ts"
import { makeRebuildTables } from "../../infra/readmodel/RebuildTables.ts"
import { orUnreadable, readToBadRow } from "../relay/TailReader.ts"
import { accountBehind } from "./AccountBehind.ts"
import { toBatch } from "./ProjectionBatch.ts"
import { makeProjectionEngine, type ProjectionEngine } from "./ProjectionEngine.ts"
import { makeHealth } from "./ProjectionHealth.ts"
import { makeReconcileTails } from "./ReconcileTails.ts"
import { skipAgain } from "./SkipParked.ts"

export interface RebuildStep {
  readonly phase: "reading the log" | "making the indexes" | "following the writers" | "exchanging the tables"
  /** Events in the new tables. */
  readonly events: number
  /** Events in the live tables when it began, about as many as there will be; 0 when unknown. */
  readonly total: number
  /** Of this process, since it began or went on. */
  readonly perSecond: number
}

export interface RebuildOptions {
  readonly onStep?: (step: RebuildStep) => void
}

export interface RebuildReport {
  readonly projection: string
  readonly events: number
  readonly seconds: number
  /** True when an earlier rebuild that had not come to its end was gone on with. */
  readonly resumed: boolean
  readonly parked: number
}

/**
 * The exchange is tried again so often, with such pauses: after projectors or readers held the tables for longer than `swapMsMax`, or while
 * another host takes over the database. Not while the tables are verified, which takes as long as reading the whole log.
 */
const swapTries = { times: 20, schedule: Schedule.spaced("1 second") }

/**
 * Killed at any moment and started again, a rebuild goes on where it was: everything it writes is guarded by the
 * accounts' versions.
 */
export const rebuild = Effect.fn("Rebuild.rebuild")(function* (
  projection: Projection,
  { onStep = () => {} }: RebuildOptions = {}
) {
  const store = yield* EventStore
  const tables = yield* makeRebuildTables(projection)
  yield* tables.claim
  const began = yield* tables.progress
  const begin = Effect.gen(function* () {
    yield* tables.dropOld
    const writers = yield* store.listWriters
    const cursors = new Map(writers.map((row) => [row.writerId, row.lastSeq]))
    return yield* tables.begin(cursors.set(sweptFinished, yield* store.lastFinished))
  })
  const startedAt = began?.startedAt ?? (yield* begin)
  const start = yield* Clock.currentTimeMillis
  const next = yield* makeNext(projection)
  const live = yield* makeLiveTables(projection)
  const passOver = yield* makePassOver(live, next.engine)
  const progress = makeProgress(began?.events ?? 0, yield* tables.liveEvents, start, onStep)

  if (began?.scanned !== true) {
    const bulk = yield* makeBulk(next)
    const from = began?.after ?? { account: "", version: 0 }
    yield* scanLog(from, bulk.fold, passOver, (folded, after, scanned) =>
      Effect.gen(function* () {
        progress.addUnsafe(yield* bulk.write(folded))
        yield* tables.scannedTo({ startedAt, after, events: progress.eventsUnsafe(), scanned })
        yield* progress.tell("reading the log")
      })
    )
  }
  yield* progress.tell("making the indexes")
  yield* tables.index

  const skipAsBefore = Effect.flatMap(live.skipped, (skipped) =>
    skipAgain(next.model, next.engine.skipParked, skipped)
  )
  const follow = Effect.gen(function* () {
    const { loaded } = yield* next.reconciler.follow
    // Each time: what is skipped in the live tables until they are exchanged is skipped in the new ones, where it still cannot be projected.
    yield* skipAsBefore
    progress.addUnsafe(loaded)
    yield* progress.tell("following the writers")
    return loaded
  })
  yield* Effect.repeat(follow, { until: (loaded) => loaded <= smallStep })
  yield* tables.analyze
  yield* progress.tell("exchanging the tables")
  // Looked at each time: where the COMMIT of a try was done and its answer lost, the tables have been exchanged. Another process may have
  // begun a rebuild since, where the connection of the claim was lost as well.
  const exchange = Effect.flatMap(tables.progress, (left) =>
    left?.startedAt === startedAt ? Effect.andThen(follow, tables.swap(follow)) : Effect.void
  )
  yield* Effect.retry(Effect.andThen(exchange, tables.dropOld), {
    ...swapTries,
    while: ({ _tag }) => _tag !== "BeingVerified"
  })
  if (hasSums(projection)) yield* fillSums
  return {
    projection: prefixOf(projection),
    events: progress.eventsUnsafe(),
    seconds: ((yield* Clock.currentTimeMillis) - start) / 1_000,
    resumed: began !== undefined,
    parked: next.reconciler.statusUnsafe().parked
  } satisfies RebuildReport
}, Effect.scoped)

/** The sums of prefixes that were declared after the tables were made have what came since then alone. */
const fillSums = Effect.gen(function* () {
  const { declaredSums, settleSum } = makeDeclaredSums(yield* ReadModelSql, yield* ReadSideConfig)
  for (const { prefix, isFilled } of yield* declaredSums)
    if (!isFilled)
      yield* Effect.catch(settleSum(prefix), ({ message }) =>
        Effect.logWarning(`the sum of ${prefix} is filled later, by a node: ${message}`)
      )
})

/** Counts the events in the new tables, and tells the caller of each step. */
const makeProgress = (
  before: number,
  total: number,
  startedAt: number,
  onStep: (step: RebuildStep) => void
) => {
  let here = 0
  return {
    addUnsafe: (events: number): void => {
      here += events
    },
    eventsUnsafe: () => before + here,
    tell: (phase: RebuildStep["phase"]) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const perSecond = Math.round((here * 1_000) / Math.max(1, now - startedAt))
        onStep({ phase, events: before + here, total, perSecond })
      })
  }
}

/** So few events between two looks at the tails can be projected while projectors wait for the exchange. */
const smallStep = 2_000

/** Engine and reconciler over the tables that are being filled; no query waits for those. */
const makeNext = Effect.fnUntraced(
  function* (projection: Projection) {
    const sql = yield* ProjectionSql
    const name = prefixOf(projection)
    const model = yield* makeProjectionWrites(sql, projection, `${name}_${rebuildMarks.next}`)
    const engine = yield* makeProjectionEngine(model)
    const reconciler = yield* makeReconcileTails(name, model, engine, yield* makeHealth)
    return { model, engine, reconciler }
  },
  Effect.provideService(ProjectedSignal, ProjectedSignal.unheard)
)

/** The live tables, which say what a person had skipped, and what is parked. */
const makeLiveTables = Effect.fnUntraced(
  function* (projection: Projection) {
    return yield* makeProjectionWrites(yield* ProjectionSql, projection, prefixOf(projection))
  },
  Effect.provideService(ProjectedSignal, ProjectedSignal.unheard)
)

/** What a rebuild does where the next event of the log cannot be read. */
const makePassOver = Effect.fnUntraced(function* (
  live: Pick<ProjectionModel, "parkedAmong" | "versions">,
  engine: ProjectionEngine["Service"]
) {
  const store = yield* EventStore
  const readBehind = (account: AccountId, version: Version) =>
    orUnreadable(store.readStream({ account, after: version, limit: 1 }))
  /**
   * The account of the event behind the key, where it cannot be read and the live tables lack it as well. Where its account has none before
   * it, the commits say whose it is: live tables may lack any account that comes next, and what is left out here is in no tail that is followed.
   */
  const lackedBehind = Effect.fnUntraced(function* ({ account, version }: EventKey) {
    const own = account as AccountId // of an event, or none
    const further = yield* readBehind(own, version)
    if (Result.isFailure(further)) {
      const [parked] = yield* live.parkedAmong([own])
      return parked !== undefined && parked.version <= version + 1 ? own : undefined
    }
    // It can be read by now.
    if (further.success.length > 0) return undefined
    const next = yield* accountBehind(store, account)
    if (next === undefined || Result.isSuccess(yield* readBehind(next, 0))) return undefined
    return (yield* live.versions([next])).has(next) ? undefined : next
  })
  /** Parks the account whose event behind the key cannot be read, and answers where the log goes on. */
  return Effect.fnUntraced(function* (key: EventKey, why: string) {
    const account = yield* lackedBehind(key)
    if (account === undefined) {
      const reason = `what stands ${placeBehind(key)} cannot be read, and the live tables may have it: ${why}`
      return yield* new StoreUnavailable({ store: "event store", reason })
    }
    yield* engine.catchUp([account])
    return { account, version: allVersions } satisfies EventKey
  })
})

/** Behind this one of an account stands the next account. */
const allVersions = Number.MAX_SAFE_INTEGER

const placeBehind = ({ account, version }: EventKey): string => {
  if (account === "") return "at the beginning of the log"
  return version === allVersions
    ? `behind account ${account}`
    : `behind version ${version} of account ${account}`
}

/**
 * The whole log in order of account and version. While a page is written, the next is folded and the one after
 * that read: the process and the database work at the same time. Where the next event cannot be read, `passOver` says where the log goes on.
 */
const scanLog = Effect.fnUntraced(function* <A, E>(
  begin: EventKey,
  fold: (rows: ReadonlyArray<StoredEvent>) => A,
  passOver: (behind: EventKey, why: string) => Effect.Effect<EventKey, StoreUnavailable>,
  write: (folded: A, reached: EventKey, isLast: boolean) => Effect.Effect<void, E>
) {
  const store = yield* EventStore
  const { rebuildEventsMax } = yield* ReadSideConfig
  const read = (after: EventKey) => readToBadRow((limit) => store.scan({ after, limit }), rebuildEventsMax)
  let after = begin
  let page = yield* Effect.forkScoped(read(after))
  let writing = yield* Effect.forkScoped(Effect.void as Effect.Effect<void, E>) // the first has none before it
  while (true) {
    const found = yield* Fiber.join(page)
    if (Result.isFailure(found)) {
      yield* Fiber.join(writing)
      after = yield* passOver(after, found.failure)
      page = yield* Effect.forkScoped(read(after))
      continue
    }
    const { rows, rowsMax } = found.success
    const last = rows.at(-1)
    const isLast = rows.length < rowsMax || last === undefined
    if (last !== undefined) after = { account: last.accountId, version: last.version }
    if (!isLast) page = yield* Effect.forkScoped(read(after))
    const folded = fold(rows)
    yield* Fiber.join(writing)
    writing = yield* Effect.forkScoped(write(folded, after, isLast))
    if (isLast) return yield* Fiber.join(writing)
  }
})

interface BulkPage {
  readonly rows: ReadonlyArray<StoredEvent>
  readonly folded: Folded
}

/**
 * Writes pages of the log without looking at the tables first: an account is where the page before left it, or not
 * there yet. Where that is wrong, because an earlier rebuild came further than it noted, or an event is broken, the
 * page goes through the engine.
 */
const makeBulk = Effect.fnUntraced(function* (next: {
  readonly model: ProjectionModel
  readonly engine: ProjectionEngine["Service"]
}) {
  const { partitions } = yield* LedgerConfig
  const { rebuildLanes } = yield* ReadSideConfig
  // The prefixes of the sums are those that were declared when the tables were made.
  const looked = yield* next.model.look([])
  /** The last account of the page before, which may go on in the next. */
  let carried = new Map<AccountId, OpenedHead>()

  const writeLane = (posted: ReadonlyArray<Posted>) =>
    Effect.catchTag(next.model.apply(toBatch(posted, [], partitions, looked)), "RowsRefused", () =>
      Effect.succeed(false)
    )

  return {
    fold: (rows: ReadonlyArray<StoredEvent>): BulkPage => {
      const folded = fold(carried, rows)
      const last = folded.posted.at(-1)
      if (last !== undefined) carried = new Map([[last.head.account.id, last.head]])
      return { rows, folded }
    },
    /** Answers the number of events that were not there before. */
    write: Effect.fnUntraced(function* ({ rows, folded }: BulkPage) {
      if (folded.posted.length === rows.length) {
        // By partition, as the rows of contra accounts are, so that no lane waits for another.
        const lanes = Array.from({ length: rebuildLanes }, (): Array<Posted> => [])
        for (const one of folded.posted) {
          lanes[partitionOf(one.head.account.id, partitions) % rebuildLanes]?.push(one)
        }
        const written = yield* Effect.forEach(
          lanes.filter((lane) => lane.length > 0),
          writeLane,
          { concurrency: rebuildLanes }
        )
        if (written.every(Boolean)) return folded.posted.length
        // The lanes that succeeded show as repeats here, so that each event is counted once.
        const { events, repeats } = yield* next.engine.project(rows, [])
        return events + repeats
      }
      return (yield* next.engine.project(rows, [])).events
    })
  }
})
