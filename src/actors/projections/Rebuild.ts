/** A projection enters; its tables are built anew from the log beside the live ones, and take their place. */
import { Clock, Effect, Fiber } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { type EventKey, EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { type Projection, prefixOf } from "../../infra/readmodel/Projection.ts"
import { ProjectionWaiters } from "../../infra/readmodel/ProjectionWaiters.ts"
import { ReadModelSql } from "../../infra/readmodel/ReadModelSql.ts"
import { makeProjectionWrites } from "../../infra/readmodel/ReadModelWrites.ts"
import { makeRebuildTables } from "../../infra/readmodel/RebuildTables.ts"
import { makeProjectionEngine } from "./ProjectionEngine.ts"
import { makeHealth } from "./ProjectionHealth.ts"
import { makeBulk } from "./RebuildBulk.ts"
import { makeSweep } from "./Reconciler.ts"

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

/** How often the exchange is tried again, after projectors or readers would not let go of the tables in time. */
const swapTriesMax = 20

/**
 * Live projection and reads go on meanwhile. Killed at any moment and started again, it goes on from where it was:
 * everything it writes is guarded by the accounts' versions.
 */
export const rebuild = Effect.fn("Rebuild.rebuild")(function* (
  projection: Projection,
  { onStep = () => {} }: RebuildOptions = {}
) {
  const store = yield* EventStore
  const tables = yield* makeRebuildTables(projection)
  yield* tables.claim
  const began = yield* tables.progress
  if (began === undefined) {
    yield* tables.dropOld
    const writers = yield* store.listWriters
    yield* tables.begin(new Map(writers.map((row) => [row.writerId, row.lastSeq])))
  }
  const start = yield* Clock.currentTimeMillis
  const total = yield* tables.liveEvents
  const next = yield* makeNext(projection)
  let events = began?.events ?? 0
  let here = 0
  const step = (phase: RebuildStep["phase"]) =>
    Effect.map(Clock.currentTimeMillis, (now) =>
      onStep({ phase, events, total, perSecond: Math.round((here * 1_000) / Math.max(1, now - start)) })
    )

  if (began?.scanned !== true) {
    const bulk = yield* makeBulk(next)
    yield* scanLog(began?.after ?? { account: "", version: 0 }, bulk.fold, (folded, reached, scanned) =>
      Effect.gen(function* () {
        const written = yield* bulk.write(folded)
        events += written
        here += written
        yield* tables.scannedTo({ after: reached, events, scanned })
        yield* step("reading the log")
      })
    )
  }
  yield* step("making the indexes")
  yield* tables.index
  yield* skipAgain(projection, next)

  const follow = Effect.gen(function* () {
    const { loaded } = yield* next.sweep.sweep({ load: true })
    events += loaded
    here += loaded
    yield* step("following the writers")
    return loaded
  })
  yield* Effect.repeat(follow, { until: (loaded) => loaded <= smallStep })
  yield* tables.analyze
  yield* step("exchanging the tables")
  yield* Effect.retry(Effect.andThen(follow, tables.swap(follow)), { times: swapTriesMax })
  yield* tables.dropOld
  const now = yield* Clock.currentTimeMillis
  return {
    projection: prefixOf(projection),
    events,
    seconds: (now - start) / 1_000,
    resumed: began !== undefined,
    parked: next.sweep.statusUnsafe().parked
  } satisfies RebuildReport
}, Effect.scoped)

/** So few events are left between two looks that the rest can be done while projectors wait. */
const smallStep = 2_000

/** The machine of the projection over the tables that are being filled; nobody waits for those. */
const makeNext = Effect.fnUntraced(
  function* (projection: Projection) {
    const sql = yield* ReadModelSql
    const model = yield* makeProjectionWrites(sql, projection, `${prefixOf(projection)}_next`)
    const bookkeeping = yield* makeProjectionEngine(model)
    const sweep = yield* makeSweep({ model, bookkeeping, health: yield* makeHealth })
    return { model, bookkeeping, sweep }
  },
  Effect.provide(ProjectionWaiters.layer, { local: true })
)

/**
 * The whole log in order of account and version. While a page is written, the next is folded and the one after
 * that read: the process and the database work at the same time.
 */
const scanLog = Effect.fnUntraced(function* <A, E>(
  begin: EventKey,
  fold: (rows: ReadonlyArray<StoredEvent>) => A,
  write: (folded: A, reached: EventKey, isLast: boolean) => Effect.Effect<void, E>
) {
  const store = yield* EventStore
  const { rebuildEventsMax } = yield* ReadSideConfig
  const read = (after: EventKey) => store.scan({ after, limit: rebuildEventsMax })
  let after = begin
  let page = yield* Effect.forkScoped(read(after))
  let writing = yield* Effect.forkScoped(Effect.void as Effect.Effect<void, E>) // the first has none before it
  while (true) {
    const rows = yield* Fiber.join(page)
    const last = rows.at(-1)
    const isLast = rows.length < rebuildEventsMax || last === undefined
    if (last !== undefined) after = { account: last.accountId, version: last.version }
    if (!isLast) page = yield* Effect.forkScoped(read(after))
    const folded = fold(rows)
    yield* Fiber.join(writing)
    writing = yield* Effect.forkScoped(write(folded, after, isLast))
    if (isLast) return yield* Fiber.join(writing)
  }
})

/** What a person left out stays left out, as long as it cannot be projected. */
const skipAgain = Effect.fnUntraced(
  function* (projection: Projection, next: Effect.Success<ReturnType<typeof makeNext>>) {
    const sql = yield* ReadModelSql
    const live = yield* makeProjectionWrites(sql, projection, prefixOf(projection))
    const skipped = new Set((yield* live.skipped).map((one) => `${one.account}@${one.version}`))
    if (skipped.size === 0) return
    const again: Effect.Effect<void, StoreUnavailable> = Effect.gen(function* () {
      const parked = (yield* next.model.parked).filter((one) => skipped.has(`${one.account}@${one.version}`))
      for (const { account, version } of parked) {
        yield* next.bookkeeping
          .skipParked(account, version)
          .pipe(Effect.catchTag("SkipRefused", (refused) => Effect.logWarning(refused.message)))
        skipped.delete(`${account}@${version}`)
      }
      if (parked.length > 0) yield* again
    })
    yield* again
  },
  Effect.provide(ProjectionWaiters.layer, { local: true })
)
