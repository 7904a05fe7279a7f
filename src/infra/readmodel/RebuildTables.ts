/** A projection enters; its tables are made a second time beside the live ones, filled by others, and exchanged. */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Data, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Instant } from "../../domain/Ids.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { type EventKey, StoreUnavailable, type WriterId } from "../eventstore/EventStoreTypes.ts"
import { int8Array, int8Value, textArray, toInstant } from "../postgres/Columns.ts"
import { describeSqlError } from "../postgres/SqlState.ts"
import { type Projection, prefixOf, tablesOf } from "./Projection.ts"
import { ReadModelSql, toUnavailable, valuesOf } from "./ReadModelSql.ts"

/** How far a rebuild has come. */
export interface RebuildProgress {
  readonly startedAt: Instant
  /** The whole log was read from its beginning; only the writers' tails are left. */
  readonly scanned: boolean
  /** Up to where it was read, in order of account and version. */
  readonly after: EventKey
  readonly events: number
}

/** Somebody else is rebuilding the same projection. */
export class RebuildRunning extends Data.TaggedError("RebuildRunning")<{ readonly projection: string }> {
  override get message() {
    return `projection ${this.projection} is being rebuilt by another process`
  }
}

/** What a table was told at its creation and LIKE does not copy. */
const options = `
  SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1) AND reloptions IS NOT NULL`

/** The indexes of a table, as they were told, and the constraints they stand for. */
const indexes = `
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

export const makeRebuildTables = Effect.fnUntraced(function* (projection: Projection) {
  const sql = yield* ReadModelSql
  const { swapMsMax, rebuildIndexMsMax } = yield* ReadSideConfig
  const prefix = prefixOf(projection)
  const [next, old] = [`${prefix}_next`, `${prefix}_old`]
  const tables = tablesOf(projection)
  const named = (of: string) => tables.map((table) => `${of}_${table}`).join(", ")
  const run = (text: string, params: ReadonlyArray<unknown> = []) => valuesOf(sql, text, params)
  const answered = <A>(self: Effect.Effect<A, SqlError>) => Effect.mapError(self, toUnavailable)
  const drop = (of: string) => run(`DROP TABLE IF EXISTS ${named(of)}`)

  const progress = Effect.map(
    answered(
      run(
        "SELECT started_at, scanned, after_account, after_version, events FROM projection_rebuilds WHERE prefix = $1",
        [PgTypes.text(prefix)]
      )
    ),
    (rows) =>
      rows.map(
        (row): RebuildProgress => ({
          startedAt: toInstant(row[0]),
          scanned: row[1] === true,
          after: { account: String(row[2]), version: Number(row[3]) },
          events: Number(row[4])
        })
      )[0]
  )

  /** Empty tables, and the writers' tails of before the log is read: what comes later is found behind them. */
  const begin = Effect.fnUntraced(function* (tails: ReadonlyMap<WriterId, number>) {
    yield* drop(next)
    for (const table of tables) {
      const later = projection.appended?.includes(table) === true ? " EXCLUDING INDEXES" : ""
      yield* run(`CREATE TABLE ${next}_${table} (LIKE ${prefix}_${table} INCLUDING ALL${later})`)
      const [told] = yield* run(options, [PgTypes.text(`${prefix}_${table}`)])
      if (told !== undefined) yield* run(`ALTER TABLE ${next}_${table} SET (${String(told[0])})`)
    }
    yield* run(`INSERT INTO ${next}_swept (writer_id, seq) SELECT * FROM unnest($1::text[], $2::int8[])`, [
      textArray([...tails.keys()]),
      int8Array([...tails.values()])
    ])
    yield* run(
      `INSERT INTO projection_rebuilds (prefix, started_at, scanned, after_account, after_version, events)
       VALUES ($1, $2, false, '', 0, 0)
       ON CONFLICT (prefix) DO UPDATE SET started_at = excluded.started_at, scanned = false, after_account = '',
         after_version = 0, events = 0`,
      [PgTypes.text(prefix), PgTypes.timestamptz(yield* Clock.currentTimeMillis)]
    )
  })

  /** A table's indexes all together or none, so that one that has some has all. */
  const index = Effect.fnUntraced(function* (table: string) {
    if ((yield* run(indexes, [PgTypes.text(`${next}_${table}`)])).length > 0) return
    yield* run(`SET LOCAL statement_timeout = ${rebuildIndexMsMax}`)
    for (const told of yield* run(indexes, [PgTypes.text(`${prefix}_${table}`)])) {
      yield* run(indexOn(`${next}_${table}`, told))
    }
  })

  const scannedTo = ({ after, events, scanned }: Omit<RebuildProgress, "startedAt">) =>
    run(
      `UPDATE projection_rebuilds SET after_account = $2, after_version = $3, events = $4, scanned = $5
       WHERE prefix = $1`,
      [
        PgTypes.text(prefix),
        PgTypes.text(after.account),
        int8Value(after.version),
        int8Value(events),
        PgTypes.bool(scanned)
      ]
    )

  /**
   * In one transaction: projectors wait, `catchUp` brings the new tables to the end of the log, readers wait for as
   * long as the names change hands. Whoever comes after works on the new tables; nobody sees some of each.
   */
  const swap = <E>(catchUp: Effect.Effect<unknown, E>) =>
    sql
      .withTransaction(
        Effect.gen(function* () {
          yield* run(`SET LOCAL lock_timeout = ${swapMsMax}`)
          // A process that freezes in here would hold up everybody.
          yield* run(`SET LOCAL idle_in_transaction_session_timeout = ${swapMsMax * 2}`)
          yield* run(`LOCK TABLE ${named(prefix)} IN SHARE ROW EXCLUSIVE MODE`)
          yield* catchUp
          yield* run(`LOCK TABLE ${named(prefix)} IN ACCESS EXCLUSIVE MODE`)
          for (const table of tables) {
            yield* run(`ALTER TABLE ${prefix}_${table} RENAME TO ${old}_${table}`)
            yield* run(`ALTER TABLE ${next}_${table} RENAME TO ${prefix}_${table}`)
          }
          yield* run(
            `INSERT INTO projections AS p (prefix, generation, swapped_at) VALUES ($1, 1, $2)
             ON CONFLICT (prefix) DO UPDATE SET generation = p.generation + 1, swapped_at = excluded.swapped_at`,
            [PgTypes.text(prefix), PgTypes.timestamptz(yield* Clock.currentTimeMillis)]
          )
          yield* run("DELETE FROM projection_rebuilds WHERE prefix = $1", [PgTypes.text(prefix)])
        })
      )
      .pipe(
        Effect.timeoutOrElse({
          duration: swapMsMax,
          orElse: () =>
            Effect.fail(
              new StoreUnavailable({
                store: "read model",
                reason: "the exchange of the tables took too long"
              })
            )
        }),
        Effect.mapError((error) => (isOfSql(error) ? toUnavailable(error) : error))
      )

  return {
    progress,
    begin: (tails: ReadonlyMap<WriterId, number>) => answered(sql.withTransaction(begin(tails))),
    scannedTo: (to: Omit<RebuildProgress, "startedAt">) => answered(scannedTo(to)),
    /** What `begin` left out, once all rows are there; nothing where that was done. */
    index: Effect.forEach(projection.appended ?? [], (table) => answered(sql.withTransaction(index(table))), {
      discard: true
    }),
    /** Events in the live tables, about as many as there will be. */
    liveEvents: Effect.map(
      answered(run(`SELECT coalesce(sum(version), 0)::int8 FROM ${prefix}_balances`)),
      (rows) => Number(rows[0]?.[0])
    ),
    /** Statistics for the planner, which the tables lose otherwise with their names. */
    analyze: Effect.forEach(tables, (table) => answered(run(`ANALYZE ${next}_${table}`)), { discard: true }),
    swap,
    dropOld: answered(drop(old)),
    /** One rebuild of a projection at a time, on a connection of its own; free again when that breaks. */
    claim: claim(sql, prefix)
  }
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
