/**
 * The tables of a rebuild: a projection's tables are made a second time beside the live ones, filled by the rebuild, and
 * exchanged with them by name, so that readers and projectors never see half of each.
 */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Data, Effect } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { type EventKey, StoreUnavailable, type WriterId } from "../eventstore/EventStoreTypes.ts"
import { bool, columns, int8, int8Array, text, textArray, timestamptz } from "../postgres/Columns.ts"
import { hasSums, type Projection, prefixOf, rebuildMarks, sumPrefixesTable, tablesOf } from "./Projection.ts"
import {
  begin as beginTransaction,
  boundOf,
  inTransaction,
  makeQuery,
  ReadModelSql,
  reserve
} from "./ReadModelSql.ts"

/** How far a rebuild has come. */
interface RebuildProgress {
  readonly startedAt: Instant
  /** The whole log was read from its beginning; only the writers' tails are left. */
  readonly scanned: boolean
  /** The last event that was read, in order of account and version. */
  readonly after: EventKey
  readonly events: number
}

/** Another process is rebuilding the same projection. */
export class RebuildRunning extends Data.TaggedError("RebuildRunning")<{ readonly projection: string }> {
  override get message() {
    return `projection ${this.projection} is being rebuilt by another process`
  }
}

/** The tables are not exchanged now: who reads all of them as of one instant would hold up the exchange, and that all others. */
export class BeingVerified extends Data.TaggedError("BeingVerified")<{ readonly projection: string }> {
  override get message() {
    return (
      `projection ${this.projection} is being verified, so its tables were not exchanged for the rebuilt ones. Once that verify ` +
      "has ended, start the rebuild again: it goes on from here"
    )
  }
}

/** The name of the lock that a verify of the tables shares with others, and without which an exchange of them does not begin. */
export const verifyLock = (prefix: string): string => `chronicle verify ${prefix}`

interface ProgressRow {
  readonly prefix: string
  readonly startedAt: Instant
  readonly scanned: boolean
  readonly account: string
  readonly version: number
  readonly events: number
}

const progressColumns = columns<ProgressRow>({
  prefix: ["prefix", text()],
  startedAt: ["started_at", timestamptz],
  scanned: ["scanned", bool],
  account: ["after_account", text()],
  version: ["after_version", int8],
  events: ["events", int8]
})

const progressOf = `SELECT ${progressColumns.list} FROM projection_rebuilds WHERE prefix = $1`

const noteProgress = `
  INSERT INTO projection_rebuilds (${progressColumns.list}) VALUES (${progressColumns.placeholders()})
  ON CONFLICT (prefix) DO UPDATE SET started_at = excluded.started_at, scanned = excluded.scanned,
    after_account = excluded.after_account, after_version = excluded.after_version, events = excluded.events`

const scanned = progressColumns.pick("prefix", "account", "version", "events", "scanned", "startedAt")
/** Not of another rebuild, which was begun after this one lost its claim. */
const noteScanned = `
  UPDATE projection_rebuilds SET after_account = $2, after_version = $3, events = $4, scanned = $5
  WHERE prefix = $1 AND started_at = $6`

const endProgress = "DELETE FROM projection_rebuilds WHERE prefix = $1"

/** Refuses every batch that was folded before. */
export const nextGeneration = `
  INSERT INTO projections AS p (prefix, generation, swapped_at) VALUES ($1, 1, $2)
  ON CONFLICT (prefix) DO UPDATE SET generation = p.generation + 1, swapped_at = excluded.swapped_at`

/** The storage options of a table, which LIKE does not copy. */
const optionsOf = `
  SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1) AND reloptions IS NOT NULL`

/** The definitions of a table's indexes, and of the constraints that they belong to. */
const indexesOf = `
  SELECT pg_get_indexdef(i.indexrelid), pg_get_constraintdef(c.oid)
  FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
  WHERE i.indrelid = to_regclass($1) ORDER BY i.indexrelid`

/** The same index on another table, under a name that PostgreSQL finds for it. */
const indexOn = (table: string, [index, constraint]: ReadonlyArray<unknown>): string =>
  constraint === null
    ? String(index).replace(
        /^CREATE (UNIQUE )?INDEX .+? ON \S+ /,
        (_, unique = "") => `CREATE ${unique}INDEX ON ${table} `
      )
    : `ALTER TABLE ${table} ADD ${String(constraint)}`

/** Runs one statement, of a transaction or by itself. */
type Run = (
  statement: string,
  params?: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, StoreUnavailable>

/** What every step works on. */
interface Parts {
  readonly projection: Projection
  /** Prefixes of the live tables, of those that are filled, and of those that were exchanged. */
  readonly prefix: string
  readonly next: string
  readonly old: string
  readonly tables: ReadonlyArray<string>
}

export const makeRebuildTables = Effect.fnUntraced(function* (projection: Projection) {
  const sql = yield* ReadModelSql
  const limits = yield* ReadSideConfig
  const { connectMs, rebuildIndexMsMax, swapMsMax } = limits
  const prefix = prefixOf(projection)
  const parts: Parts = {
    projection,
    prefix,
    next: `${prefix}_${rebuildMarks.next}`,
    old: `${prefix}_${rebuildMarks.old}`,
    tables: tablesOf(projection)
  }
  const { next, old, tables } = parts
  const run: Run = makeQuery(sql, limits)
  /** For statements that take the longer, the larger the tables are: the limit of others would end each rebuild of large ones. */
  const patiently = <A>(use: (run: Run) => Effect.Effect<A, StoreUnavailable>) =>
    inTransaction(sql, connectMs + rebuildIndexMsMax, (own) =>
      Effect.andThen(own(`SET LOCAL statement_timeout = ${rebuildIndexMsMax}`), use(own))
    )

  return {
    /** Of the rebuild that is under way or was broken off; none where there is none, or the tables have been exchanged. */
    progress: Effect.map(run(progressOf, [PgTypes.text(prefix)]), ([row]) =>
      row === undefined ? undefined : toProgress(row)
    ),
    /** Makes empty tables, and answers when. The writers' tails must be from before the log is read: what is later is found behind them. */
    begin: (tails: ReadonlyMap<WriterId, number>) =>
      inTransaction(sql, boundOf(limits), (own) => begin(own, parts, tails)),
    scannedTo: (to: RebuildProgress) => run(noteScanned, scanned.values({ ...to, ...to.after, prefix })),
    /** Makes the indexes that `begin` left out, once all rows are there. Nothing to do where they were made. */
    index: Effect.forEach(
      projection.appended ?? [],
      (table) => patiently((own) => makeIndexes(own, parts, table)),
      { discard: true }
    ),
    /** The number of events in the live tables: about as many as the rebuild will read. */
    liveEvents: Effect.map(
      patiently((own) => own(`SELECT coalesce(sum(version), 0)::int8 FROM ${prefix}_balances`)),
      (rows) => Number(rows[0]?.[0])
    ),
    /** Statistics for the planner, which belong to a table and are not exchanged with the names. */
    analyze: Effect.forEach(tables, (table) => patiently((own) => own(`ANALYZE ${next}_${table}`)), {
      discard: true
    }),
    swap: <E>(catchUp: Effect.Effect<unknown, E>) => swap(sql, connectMs, parts, swapMsMax, catchUp),
    dropOld: drop(run, parts, old),
    /** One rebuild of a projection at a time, on a connection of its own; free again when that connection breaks. */
    claim: claim(sql, boundOf(limits), prefix)
  }
})

const toProgress = (row: ReadonlyArray<unknown>): RebuildProgress => {
  const { startedAt, scanned, account, version, events } = progressColumns.decode(row)
  return { startedAt, scanned, after: { account, version }, events }
}

const namesOf = ({ tables }: Parts, of: string): string => tables.map((table) => `${of}_${table}`).join(", ")

const drop = (run: Run, parts: Parts, of: string) => run(`DROP TABLE IF EXISTS ${namesOf(parts, of)}`)

const begin = Effect.fnUntraced(function* (run: Run, parts: Parts, tails: ReadonlyMap<WriterId, number>) {
  const { projection, prefix, next, tables } = parts
  yield* drop(run, parts, next)
  for (const table of tables) {
    const later = projection.appended?.includes(table) === true ? " EXCLUDING INDEXES" : ""
    yield* run(`CREATE TABLE ${next}_${table} (LIKE ${prefix}_${table} INCLUDING ALL${later})`)
    const [options] = yield* run(optionsOf, [PgTypes.text(`${prefix}_${table}`)])
    if (options !== undefined) yield* run(`ALTER TABLE ${next}_${table} SET (${String(options[0])})`)
  }
  if (hasSums(projection)) {
    yield* run(
      `INSERT INTO ${next}_${sumPrefixesTable} (prefix, filled) SELECT prefix, true FROM ${prefix}_${sumPrefixesTable}`
    )
  }
  yield* run(`INSERT INTO ${next}_swept (writer_id, seq) SELECT * FROM unnest($1::text[], $2::int8[])`, [
    textArray([...tails.keys()]),
    int8Array([...tails.values()])
  ])
  const startedAt = yield* Clock.currentTimeMillis
  const none = { scanned: false, account: "", version: 0, events: 0 }
  yield* run(noteProgress, progressColumns.values({ prefix, startedAt, ...none }))
  return startedAt
})

/** The indexes of a table are made all together or not at all, so a table that has one has all. */
const makeIndexes = Effect.fnUntraced(function* (run: Run, { prefix, next }: Parts, table: string) {
  if ((yield* run(indexesOf, [PgTypes.text(`${next}_${table}`)])).length > 0) return
  for (const index of yield* run(indexesOf, [PgTypes.text(`${prefix}_${table}`)])) {
    yield* run(indexOn(`${next}_${table}`, index))
  }
})

/** How often it is looked whether a verify has ended, in milliseconds. */
const verifiedLookMs = 20

/** No verify of the tables goes on, or begins before the transaction ends. A short one is waited for, which holds up further ones alone. */
const keepUnverified = Effect.fnUntraced(function* (run: Run, prefix: string, waitMs: number) {
  const look = Effect.timeoutOrElse(
    run("SELECT pg_try_advisory_xact_lock(hashtext($1))", [PgTypes.text(verifyLock(prefix))]),
    orTookLonger(prefix, waitMs)
  )
  for (let waitedMs = 0; waitedMs < waitMs; waitedMs += verifiedLookMs) {
    const [row] = yield* look
    if (row?.[0] === true) return
    yield* Effect.sleep(verifiedLookMs)
  }
  return yield* new BeingVerified({ projection: prefix })
})

/**
 * In one transaction, once no verify of the tables goes on: projectors are made to wait, `catchUp` brings the new tables to the end of the log,
 * and readers wait for as long as the names change hands. Projectors and readers that come later work on the new tables.
 */
const swap = <E>(
  sql: PgClient,
  connectMs: number,
  parts: Parts,
  swapMsMax: number,
  catchUp: Effect.Effect<unknown, E>
): Effect.Effect<void, E | StoreUnavailable | BeingVerified> => {
  const { prefix, next, old, tables } = parts
  const names = namesOf(parts, prefix)
  const exchange = Effect.fnUntraced(function* (run: Run) {
    yield* run(`SET LOCAL lock_timeout = ${swapMsMax}`)
    // Otherwise a process that freezes in here would hold up all others.
    yield* run(`SET LOCAL idle_in_transaction_session_timeout = ${swapMsMax * 2}`)
    yield* run(`LOCK TABLE ${names} IN SHARE ROW EXCLUSIVE MODE`)
    yield* catchUp
    if (hasSums(parts.projection)) yield* declareAgain(run, parts)
    yield* run(`LOCK TABLE ${names} IN ACCESS EXCLUSIVE MODE`)
    for (const table of tables) {
      yield* run(`ALTER TABLE ${prefix}_${table} RENAME TO ${old}_${table}`)
      yield* run(`ALTER TABLE ${next}_${table} RENAME TO ${prefix}_${table}`)
    }
    const now = yield* Clock.currentTimeMillis
    yield* run(nextGeneration, [PgTypes.text(prefix), PgTypes.timestamptz(now)])
    yield* run(endProgress, [PgTypes.text(prefix)])
  })
  const inTime = Effect.timeoutOrElse(orTookLonger(prefix, swapMsMax))
  return Effect.scoped(
    Effect.gen(function* () {
      const { run, commit } = yield* inTime(beginTransaction(sql, connectMs + swapMsMax))
      yield* keepUnverified(run, prefix, swapMsMax)
      yield* inTime(Effect.andThen(exchange(run), commit))
    })
  )
}

const orTookLonger = (prefix: string, swapMsMax: number) => ({
  duration: swapMsMax,
  orElse: () => {
    const reason = `exchanging the tables of ${prefix} with the rebuilt ones took longer than ${swapMsMax} ms`
    return Effect.fail(new StoreUnavailable({ store: "read model", reason }))
  }
})

/** The prefixes that were declared since the new tables were made are to be filled; those that are declared no more leave. */
const declareAgain = Effect.fnUntraced(function* (run: Run, { prefix, next }: Parts) {
  const [live, made] = [`${prefix}_${sumPrefixesTable}`, `${next}_${sumPrefixesTable}`]
  yield* run(`DELETE FROM ${made} WHERE prefix NOT IN (SELECT prefix FROM ${live})`)
  yield* run(`DELETE FROM ${next}_prefix_sums WHERE prefix NOT IN (SELECT prefix FROM ${live})`)
  yield* run(
    `INSERT INTO ${made} (prefix, filled) SELECT prefix, false FROM ${live} ON CONFLICT (prefix) DO NOTHING`
  )
})

const claim = (sql: PgClient, boundMs: number, prefix: string) =>
  Effect.gen(function* () {
    const { run } = yield* reserve(sql, boundMs)
    const ask = (call: string) =>
      run(`SELECT ${call}(hashtext($1))`, [PgTypes.text(`chronicle rebuild ${prefix}`)])
    const [row] = yield* ask("pg_try_advisory_lock")
    if (row?.[0] !== true) return yield* new RebuildRunning({ projection: prefix })
    yield* Effect.addFinalizer(() => Effect.ignore(ask("pg_advisory_unlock")))
  })
