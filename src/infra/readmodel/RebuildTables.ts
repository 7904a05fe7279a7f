/**
 * The tables of a rebuild: a projection's tables are made a second time beside the live ones, filled by the rebuild, and
 * exchanged with them by name, so that readers and projectors never see half of each.
 */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Data, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Instant } from "../../domain/Ids.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { type EventKey, StoreUnavailable, type WriterId } from "../eventstore/EventStoreTypes.ts"
import { bool, columns, int8, int8Array, text, textArray, timestamptz } from "../postgres/Columns.ts"
import { describeSqlError } from "../postgres/SqlState.ts"
import { hasSums, type Projection, prefixOf, rebuildMarks, sumPrefixesTable, tablesOf } from "./Projection.ts"
import { ReadModelSql, toUnavailable, valuesOf } from "./ReadModelSql.ts"

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

const scanned = progressColumns.pick("prefix", "account", "version", "events", "scanned")
const noteScanned = `
  UPDATE projection_rebuilds SET after_account = $2, after_version = $3, events = $4, scanned = $5 WHERE prefix = $1`

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

/** What every step works on. */
interface Parts {
  readonly sql: PgClient
  readonly projection: Projection
  /** Prefixes of the live tables, of those that are filled, and of those that were exchanged. */
  readonly prefix: string
  readonly next: string
  readonly old: string
  readonly tables: ReadonlyArray<string>
  readonly run: (
    statement: string,
    params?: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
}

export const makeRebuildTables = Effect.fnUntraced(function* (projection: Projection) {
  const sql = yield* ReadModelSql
  const { swapMsMax, rebuildIndexMsMax } = yield* ReadSideConfig
  const prefix = prefixOf(projection)
  const parts: Parts = {
    sql,
    projection,
    prefix,
    next: `${prefix}_${rebuildMarks.next}`,
    old: `${prefix}_${rebuildMarks.old}`,
    tables: tablesOf(projection),
    run: (statement, params = []) => valuesOf(sql, statement, params)
  }
  const { run, next, old, tables } = parts
  const answered = <A>(self: Effect.Effect<A, SqlError>) => Effect.mapError(self, toUnavailable)
  /** A statement that takes the longer, the larger the tables are: the limit of others would end each rebuild of large ones. */
  const patiently = (statement: string) =>
    answered(
      sql.withTransaction(
        Effect.andThen(run(`SET LOCAL statement_timeout = ${rebuildIndexMsMax}`), run(statement))
      )
    )

  return {
    /** Of the rebuild that is under way or was broken off; none where there is none. */
    progress: Effect.map(answered(run(progressOf, [PgTypes.text(prefix)])), ([row]) =>
      row === undefined ? undefined : toProgress(row)
    ),
    /** Makes empty tables. The writers' tails must be from before the log is read: what is later is found behind them. */
    begin: (tails: ReadonlyMap<WriterId, number>) => answered(sql.withTransaction(begin(parts, tails))),
    scannedTo: (to: Omit<RebuildProgress, "startedAt">) =>
      answered(run(noteScanned, scanned.values({ ...to, ...to.after, prefix }))),
    /** Makes the indexes that `begin` left out, once all rows are there. Nothing to do where they were made. */
    index: Effect.forEach(
      projection.appended ?? [],
      (table) => answered(sql.withTransaction(makeIndexes(parts, table, rebuildIndexMsMax))),
      { discard: true }
    ),
    /** The number of events in the live tables: about as many as the rebuild will read. */
    liveEvents: Effect.map(
      patiently(`SELECT coalesce(sum(version), 0)::int8 FROM ${prefix}_balances`),
      (rows) => Number(rows[0]?.[0])
    ),
    /** Statistics for the planner, which belong to a table and are not exchanged with the names. */
    analyze: Effect.forEach(tables, (table) => patiently(`ANALYZE ${next}_${table}`), { discard: true }),
    swap: <E>(catchUp: Effect.Effect<unknown, E>) => swap(parts, swapMsMax, catchUp),
    dropOld: answered(drop(parts, old)),
    /** One rebuild of a projection at a time, on a connection of its own; free again when that connection breaks. */
    claim: claim(sql, prefix)
  }
})

const toProgress = (row: ReadonlyArray<unknown>): RebuildProgress => {
  const { startedAt, scanned, account, version, events } = progressColumns.decode(row)
  return { startedAt, scanned, after: { account, version }, events }
}

const namesOf = ({ tables }: Parts, of: string): string => tables.map((table) => `${of}_${table}`).join(", ")

const drop = (parts: Parts, of: string) => parts.run(`DROP TABLE IF EXISTS ${namesOf(parts, of)}`)

const begin = Effect.fnUntraced(function* (parts: Parts, tails: ReadonlyMap<WriterId, number>) {
  const { run, projection, prefix, next, tables } = parts
  yield* drop(parts, next)
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
})

/** The indexes of a table are made all together or not at all, so a table that has one has all. */
const makeIndexes = Effect.fnUntraced(function* (
  { run, prefix, next }: Parts,
  table: string,
  statementMsMax: number
) {
  if ((yield* run(indexesOf, [PgTypes.text(`${next}_${table}`)])).length > 0) return
  yield* run(`SET LOCAL statement_timeout = ${statementMsMax}`)
  for (const index of yield* run(indexesOf, [PgTypes.text(`${prefix}_${table}`)])) {
    yield* run(indexOn(`${next}_${table}`, index))
  }
})

/**
 * In one transaction: projectors are made to wait, `catchUp` brings the new tables to the end of the log, and readers wait
 * for as long as the names change hands. Projectors and readers that come later work on the new tables.
 */
const swap = <E>(parts: Parts, swapMsMax: number, catchUp: Effect.Effect<unknown, E>) => {
  const { sql, run, prefix, next, old, tables } = parts
  const names = namesOf(parts, prefix)
  return sql
    .withTransaction(
      Effect.gen(function* () {
        yield* run(`SET LOCAL lock_timeout = ${swapMsMax}`)
        // Otherwise a process that freezes in here would hold up all others.
        yield* run(`SET LOCAL idle_in_transaction_session_timeout = ${swapMsMax * 2}`)
        yield* run(`LOCK TABLE ${names} IN SHARE ROW EXCLUSIVE MODE`)
        yield* catchUp
        if (hasSums(parts.projection)) yield* declareAgain(parts)
        yield* run(`LOCK TABLE ${names} IN ACCESS EXCLUSIVE MODE`)
        for (const table of tables) {
          yield* run(`ALTER TABLE ${prefix}_${table} RENAME TO ${old}_${table}`)
          yield* run(`ALTER TABLE ${next}_${table} RENAME TO ${prefix}_${table}`)
        }
        const now = yield* Clock.currentTimeMillis
        yield* run(nextGeneration, [PgTypes.text(prefix), PgTypes.timestamptz(now)])
        yield* run(endProgress, [PgTypes.text(prefix)])
      })
    )
    .pipe(
      Effect.timeoutOrElse({
        duration: swapMsMax,
        orElse: () => {
          const reason = `exchanging the tables of ${prefix} with the rebuilt ones took longer than ${swapMsMax} ms`
          return Effect.fail(new StoreUnavailable({ store: "read model", reason }))
        }
      }),
      Effect.mapError((error) => (isOfSql(error) ? toUnavailable(error) : error))
    )
}

/** The prefixes that were declared since the new tables were made are to be filled; those that are declared no more leave. */
const declareAgain = Effect.fnUntraced(function* ({ run, prefix, next }: Parts) {
  const [live, made] = [`${prefix}_${sumPrefixesTable}`, `${next}_${sumPrefixesTable}`]
  yield* run(`DELETE FROM ${made} WHERE prefix NOT IN (SELECT prefix FROM ${live})`)
  yield* run(`DELETE FROM ${next}_prefix_sums WHERE prefix NOT IN (SELECT prefix FROM ${live})`)
  yield* run(
    `INSERT INTO ${made} (prefix, filled) SELECT prefix, false FROM ${live} ON CONFLICT (prefix) DO NOTHING`
  )
})

const isOfSql = <E>(error: E | SqlError): error is SqlError =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "SqlError"

const claim = (sql: PgClient, prefix: string) =>
  Effect.gen(function* () {
    const connection = yield* Effect.mapError(sql.reserve, toUnavailable)
    const ask = (call: string) =>
      Effect.mapError(
        connection.executeValues(`SELECT ${call}(hashtext($1))`, [
          PgTypes.text(`chronicle rebuild ${prefix}`)
        ]),
        (error) => new StoreUnavailable({ store: "read model", reason: describeSqlError(error) })
      )
    const [row] = yield* ask("pg_try_advisory_lock")
    if (row?.[0] !== true) return yield* new RebuildRunning({ projection: prefix })
    yield* Effect.addFinalizer(() => Effect.ignore(ask("pg_advisory_unlock")))
  })
