/** Batches of a projection enter PostgreSQL, each by one statement that is guarded by the accounts' versions. */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { arrayOf, int8Array, int8Value, textArray, timestampArray, toInstant } from "../postgres/Columns.ts"
import { describeSqlError, isRolledBack, sqlStateOf } from "../postgres/SqlState.ts"
import type { Projection } from "./Projection.ts"
import { ProjectionWaiters } from "./ProjectionWaiters.ts"
import {
  type BooksBatch,
  type Checkpoint,
  type CheckpointAt,
  type Parked,
  type ProjectionModel,
  RowsRefused
} from "./ReadModel.ts"
import { moveParams, toHead } from "./ReadModelRows.ts"
import { toUnavailable, valuesOf } from "./ReadModelSql.ts"
import { applyStatement, movedState, statementsOf } from "./ReadModelStatements.ts"

/** Over the tables of `prefix`; whoever waits for an account in this process is told through `Arrivals`. */
export const makeProjectionWrites = Effect.fnUntraced(function* (
  sql: PgClient,
  projection: Projection,
  prefix: string
) {
  const arrivals = yield* ProjectionWaiters
  const text = statementsOf(prefix)
  const query = (statement: string, params: ReadonlyArray<unknown>) =>
    Effect.mapError(valuesOf(sql, statement, params), toUnavailable)

  const checkpointed = Effect.fnUntraced(function* (checkpoints: ReadonlyArray<Checkpoint>) {
    return { text: text.setCheckpoint, params: checkpointParams(checkpoints, yield* Clock.currentTimeMillis) }
  })

  const write = Effect.fnUntraced(function* (batch: BooksBatch) {
    const { moves, checkpoints } = batch
    const also = checkpoints.length === 0 ? [] : [yield* checkpointed(checkpoints)]
    if (moves.length > 0) {
      const pieces = [...projection.write(prefix, batch), ...also]
      yield* valuesOf(sql, applyStatement(prefix, pieces), [
        ...moveParams(moves),
        int8Value(moves.length),
        PgTypes.text(prefix),
        batch.generation === undefined ? null : int8Value(batch.generation),
        ...pieces.flatMap((piece) => piece.params)
      ])
    } else for (const { text: alone, params } of also) yield* valuesOf(sql, alone, params)
  })

  /** What a person decided is nowhere else: unlike the rest, which the log has, it is on disk when this ends. */
  const writeDecision = Effect.fnUntraced(function* (batch: BooksBatch, skipped: Parked) {
    yield* valuesOf(sql, "SET LOCAL synchronous_commit = on", [])
    yield* write(batch)
    yield* valuesOf(sql, text.skip, skipParams(skipped))
  })

  return {
    look: (accounts) =>
      Effect.map(query(text.look, [textArray(accounts), PgTypes.text(prefix)]), (rows) => {
        const found = rows.flatMap((row) => (row[1] === null ? [] : [toHead(row.slice(1))]))
        return {
          generation: Number(rows[0]?.[0]),
          heads: new Map(found.map((head) => [head.account.id, head]))
        }
      }),
    apply: (batch) =>
      Effect.suspend(() =>
        batch.skipped === undefined ? write(batch) : sql.withTransaction(writeDecision(batch, batch.skipped))
      ).pipe(
        Effect.map(() => {
          for (const { head } of batch.moves) arrivals.arrivedUnsafe(head.account.id, head.account.version)
          return true
        }),
        Effect.catchTag("SqlError", ending)
      ),
    versions: (accounts) =>
      Effect.map(
        query(text.versions, [textArray(accounts)]),
        // One of `accounts`.
        (rows) => new Map(rows.map((row) => [row[0] as AccountId, Number(row[1])]))
      ),
    checkpoints: Effect.map(query(text.checkpoints, []), (rows) => new Map(rows.map(toCheckpoint))),
    behind: (positions) =>
      Effect.map(
        query(text.behind, [
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
      query(text.swept, []),
      (rows) => new Map(rows.map((row) => [String(row[0]), Number(row[1])]))
    ),
    moveSwept: (writerId, from, to) =>
      Effect.asVoid(query(text.moveSwept, [PgTypes.text(writerId), int8Value(from), int8Value(to)])),
    parked: Effect.map(query(text.parked, []), (rows) => rows.map(toParked)),
    park: (parked) =>
      Effect.asVoid(
        query(text.park, [
          textArray(parked.map((one) => one.account)),
          int8Array(parked.map((one) => one.version)),
          textArray(parked.map((one) => one.reason)),
          timestampArray(parked.map((one) => one.since))
        ])
      ),
    unpark: (accounts) => Effect.asVoid(query(text.unpark, [textArray(accounts)])),
    skipped: Effect.map(query(text.skipped, []), (rows) => rows.map(toParked))
  } satisfies ProjectionModel
})

/** 22 is data that cannot be stored, 23 a constraint; a row that is there already is one of those. */
const ending = (error: SqlError): Effect.Effect<boolean, StoreUnavailable | RowsRefused> => {
  const state = sqlStateOf(error)
  if (isRolledBack(state) || state === movedState) return Effect.succeed(false)
  if (state !== undefined && /^2[23]/.test(state)) {
    return Effect.fail(new RowsRefused({ reason: describeSqlError(error) }))
  }
  return Effect.fail(toUnavailable(error))
}

const toParked = (row: ReadonlyArray<unknown>): Parked => ({
  account: row[0] as AccountId, // branded when it was written
  version: Number(row[1]),
  reason: String(row[2]),
  since: toInstant(row[3])
})

const toCheckpoint = (row: ReadonlyArray<unknown>): [number, CheckpointAt] => {
  const partition = Number(row[0])
  const times = { recordedAt: toInstant(row[2]), updatedAt: toInstant(row[3]) }
  return [partition, { partition, position: Number(row[1]), ...times }]
}

const skipParams = ({ account, version, reason, since }: Parked) => [
  PgTypes.text(account),
  int8Value(version),
  PgTypes.text(reason),
  PgTypes.timestamptz(since)
]

/** In order of partition, so that two projectors on the same ones wait, and do not deadlock. */
const checkpointParams = (checkpoints: ReadonlyArray<Checkpoint>, now: number) => {
  const sorted = checkpoints.toSorted((a, b) => a.partition - b.partition)
  return [
    arrayOf(
      sorted.map((one) => one.partition),
      PgTypes.OID.int4
    ),
    int8Array(sorted.map((one) => one.position)),
    timestampArray(sorted.map((one) => one.recordedAt)),
    PgTypes.timestamptz(now)
  ]
}
