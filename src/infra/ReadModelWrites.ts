/** Batches of the `books` projection enter PostgreSQL, each in one transaction that is guarded by versions. */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Data, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AccountId } from "../domain/Ids.ts"
import { Arrivals } from "./Arrivals.ts"
import { arrayOf, int8, int8Array, textArray, timestampArray, toInstant } from "./EventStoreRows.ts"
import { type BooksBatch, type Checkpoint, type ReadModelWrites, RowsRefused } from "./ReadModel.ts"
import {
  headColumns,
  lineColumns,
  lineParams,
  moveParams,
  toHead,
  transferColumns,
  transferParams
} from "./ReadModelRows.ts"
import { toUnavailable, valuesOf } from "./ReadModelSql.ts"
import { describeSqlError, isRolledBack, sqlStateOf } from "./SqlState.ts"
import type { StoreUnavailable } from "./StoreValues.ts"

const { OID } = PgTypes

/** An account of the batch was not at the version the batch starts from. */
class Moved extends Data.TaggedError("Moved") {}

const heads = `
  SELECT ${headColumns} FROM unnest($1::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT * FROM books_v1_balances b WHERE b.account = wanted.id LIMIT 1) AS found`

/** Rows are taken in order of account, so that two projectors on the same ones wait, and do not deadlock. */
const move = `
  WITH moves AS (
    SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::int8[],
      $8::text[], $9::timestamptz[], $10::text[], $11::int8[]) AS u(${headColumns}, was)
    ORDER BY account
  ), opened AS (
    INSERT INTO books_v1_balances (${headColumns})
    SELECT ${headColumns} FROM moves WHERE was = 0
    ON CONFLICT (account) DO NOTHING RETURNING 1
  ), moved AS (
    UPDATE books_v1_balances b SET version = m.version, status = m.status, balance = m.balance,
      recorded_at = m.recorded_at, hash = m.hash
    FROM moves m WHERE b.account = m.account AND b.version = m.was RETURNING 1
  )
  SELECT (SELECT count(*) FROM opened) + (SELECT count(*) FROM moved)`

const addLines = `
  INSERT INTO books_v1_statement_lines (${lineColumns})
  SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])`

const addTransfers = `
  INSERT INTO books_v1_transfers (${transferColumns})
  SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::int8[], $6::text[], $7::int8[],
    $8::text[], $9::timestamptz[], $10::timestamptz[])`

const addContras = `
  INSERT INTO books_v1_contra AS c (contra, asset, partition_id, balance)
  SELECT contra, asset, partition_id, sum(amount)
  FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[]) AS u(contra, asset, partition_id, amount)
  GROUP BY contra, asset, partition_id ORDER BY contra, asset, partition_id
  ON CONFLICT (contra, asset, partition_id) DO UPDATE SET balance = c.balance + excluded.balance`

const setCheckpoint = `
  INSERT INTO books_v1_checkpoints (partition_id, position, recorded_at, updated_at) VALUES ($1, $2, $3, $4)
  ON CONFLICT (partition_id) DO UPDATE SET position = excluded.position,
    recorded_at = GREATEST(books_v1_checkpoints.recorded_at, excluded.recorded_at),
    updated_at = excluded.updated_at`

const behind = `
  SELECT wanted.id, wanted.version, coalesce(found.version, 0)
  FROM unnest($1::text[], $2::int8[]) AS wanted(id, version)
  LEFT JOIN LATERAL (
    SELECT b.version FROM books_v1_balances b WHERE b.account = wanted.id LIMIT 1
  ) AS found ON true
  WHERE (found.version IS NULL OR found.version < wanted.version)
    AND NOT EXISTS (SELECT 1 FROM books_v1_parked_accounts p WHERE p.account = wanted.id)`

const moveSwept = `
  INSERT INTO books_v1_swept AS s (writer_id, seq)
  SELECT $1, $3::int8 WHERE $2::int8 = 0 OR EXISTS (SELECT 1 FROM books_v1_swept WHERE writer_id = $1)
  ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE s.seq = $2`

const park = `
  INSERT INTO books_v1_parked_accounts (account, version, reason, since)
  SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::timestamptz[])
  ON CONFLICT (account) DO UPDATE SET version = excluded.version, reason = excluded.reason`

export const makeBooksWrites = Effect.fnUntraced(function* (sql: PgClient) {
  const arrivals = yield* Arrivals
  const query = (text: string, params: ReadonlyArray<unknown>) =>
    Effect.mapError(valuesOf(sql, text, params), toUnavailable)

  const write = Effect.fnUntraced(function* (batch: BooksBatch) {
    if (batch.moves.length > 0) {
      const rows = yield* valuesOf(sql, move, moveParams(batch.moves))
      if (Number(rows[0]?.[0]) !== batch.moves.length) return yield* new Moved()
      yield* valuesOf(sql, addLines, lineParams(batch.lines))
    }
    if (batch.transfers.length > 0) yield* valuesOf(sql, addTransfers, transferParams(batch.transfers))
    if (batch.contras.length > 0) yield* valuesOf(sql, addContras, contraParams(batch.contras))
    if (batch.checkpoint !== undefined) {
      yield* valuesOf(sql, setCheckpoint, checkpointParams(batch.checkpoint, yield* Clock.currentTimeMillis))
    }
  })

  return {
    heads: (accounts) =>
      Effect.map(query(heads, [textArray(accounts)]), (rows) => {
        const found = rows.map(toHead)
        return new Map(found.map((head) => [head.account.id, head]))
      }),
    apply: (batch) =>
      sql.withTransaction(write(batch)).pipe(
        Effect.map(() => {
          for (const { head } of batch.moves) arrivals.arrivedUnsafe(head.account.id, head.account.version)
          return true
        }),
        Effect.catchTag("Moved", () => Effect.succeed(false)),
        Effect.catchTag("SqlError", ending)
      ),
    checkpoints: Effect.map(
      query("SELECT partition_id, position, recorded_at FROM books_v1_checkpoints", []),
      (rows) =>
        new Map(
          rows.map((row): [number, Checkpoint] => {
            const partition = Number(row[0])
            return [partition, { partition, position: Number(row[1]), recordedAt: toInstant(row[2]) }]
          })
        )
    ),
    behind: (positions) =>
      Effect.map(
        query(behind, [
          textArray(positions.map((position) => position.account)),
          int8Array(positions.map((position) => position.version))
        ]),
        (rows) =>
          rows.map((row) => ({
            account: row[0] as AccountId, // one of `positions`
            version: Number(row[1]),
            reached: Number(row[2])
          }))
      ),
    swept: Effect.map(
      query("SELECT writer_id, seq FROM books_v1_swept", []),
      (rows) => new Map(rows.map((row) => [String(row[0]), Number(row[1])]))
    ),
    moveSwept: (writerId, from, to) =>
      Effect.asVoid(query(moveSwept, [PgTypes.text(writerId), int8(from), int8(to)])),
    parked: Effect.map(
      query("SELECT account, version, reason, since FROM books_v1_parked_accounts ORDER BY account", []),
      (rows) =>
        rows.map((row) => ({
          account: row[0] as AccountId, // branded when it was written
          version: Number(row[1]),
          reason: String(row[2]),
          since: toInstant(row[3])
        }))
    ),
    park: (parked) =>
      Effect.asVoid(
        query(park, [
          textArray(parked.map((one) => one.account)),
          int8Array(parked.map((one) => one.version)),
          textArray(parked.map((one) => one.reason)),
          timestampArray(parked.map((one) => one.since))
        ])
      ),
    unpark: (accounts) =>
      Effect.asVoid(
        query("DELETE FROM books_v1_parked_accounts WHERE account = ANY($1::text[])", [textArray(accounts)])
      )
  } satisfies ReadModelWrites
})

/** 22 is data that cannot be stored, 23 a constraint; a row that is there already is one of those. */
const ending = (error: SqlError): Effect.Effect<boolean, StoreUnavailable | RowsRefused> => {
  const state = sqlStateOf(error)
  if (isRolledBack(state)) return Effect.succeed(false)
  if (state !== undefined && /^2[23]/.test(state)) {
    return Effect.fail(new RowsRefused({ reason: describeSqlError(error) }))
  }
  return Effect.fail(toUnavailable(error))
}

const contraParams = (contras: BooksBatch["contras"]) => [
  textArray(contras.map((entry) => entry.contra)),
  textArray(contras.map((entry) => entry.asset)),
  arrayOf(
    contras.map((entry) => entry.partition),
    OID.int4
  ),
  arrayOf(
    contras.map((entry) => entry.amount),
    OID.int8
  )
]

const checkpointParams = ({ partition, position, recordedAt }: Checkpoint, now: number) => [
  PgTypes.int4(partition),
  int8(position),
  PgTypes.timestamptz(recordedAt),
  PgTypes.timestamptz(now)
]
