/**
 * The statements by which a projection follows the log in PostgreSQL. Each batch is one statement, guarded by the
 * versions its accounts must be at, so that any number of projectors may work on the same tables at once.
 */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Effect, Random } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { AccountId } from "../../domain/Ids.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { int8Array, int8Value, textArray } from "../postgres/Columns.ts"
import { describeSqlError, isRolledBack, serverFieldOf, sqlStateOf } from "../postgres/SqlState.ts"
import { hasSums, type Projection, sumPrefixesTable, type Written } from "./Projection.ts"
import { ProjectedSignal } from "./ProjectionWaiters.ts"
import {
  type BooksBatch,
  type Checkpoint,
  type CheckpointAt,
  type HeldHead,
  type Parked,
  type ProjectionModel,
  ReloadUnsupported,
  RowsRefused
} from "./ReadModel.ts"
import {
  balanceColumns,
  balanceRowOf,
  checkpointColumns,
  moveColumns,
  parkedColumns,
  skippedColumns,
  toHead
} from "./ReadModelRows.ts"
import { boundOf, inTransactionRaw, makeQuery, makeRun, toUnavailable } from "./ReadModelSql.ts"

/** Over the tables of `prefix`. Queries of this process that wait for an account are woken when it was written. */
export const makeProjectionWrites = Effect.fnUntraced(function* (
  sql: PgClient,
  projection: Projection,
  prefix: string
) {
  const text = { ...statementsOf(prefix), look: lookAt(prefix, hasSums(projection)) }
  const query: Query = makeQuery(sql, yield* ReadSideConfig)
  return {
    ...makeHeadReads(query, text, prefix),
    ...(yield* makeBatches(sql, projection, prefix)),
    ...makeParking(query, text),
    checkpoints: Effect.map(query(text.checkpoints, []), (rows) => new Map(rows.map(toCheckpoint))),
    swept: Effect.map(
      query(text.swept, []),
      (rows) => new Map(rows.map((row) => [String(row[0]), Number(row[1])]))
    ),
    moveSwept: (writerId, from, to, generation) =>
      Effect.asVoid(
        query(text.moveSwept, [
          PgTypes.text(writerId),
          int8Value(from),
          int8Value(to),
          ...ofGeneration(generation, prefix)
        ])
      ),
    forgetSwept: (writers, generation) =>
      Effect.asVoid(query(text.forgetSwept, [textArray(writers), ...ofGeneration(generation, prefix)]))
  } satisfies ProjectionModel
})

type Query = (
  statement: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, StoreUnavailable>
/** Runs one statement, in a transaction or by itself. */
type Run = ReturnType<typeof makeRun>
type Statements = ReturnType<typeof statementsOf> & { readonly look: string }

const makeHeadReads = (query: Query, text: Statements, prefix: string) =>
  ({
    look: (accounts) =>
      Effect.map(query(text.look, [textArray(accounts), PgTypes.text(prefix)]), (rows) => {
        const found = rows.flatMap((row) => (row[2] === null ? [] : [toHead(row, 2)]))
        const [generation, sumPrefixes] = rows[0] ?? []
        return {
          generation: Number(generation),
          sumPrefixes: sumPrefixes as ReadonlyArray<string>, // an array of texts
          heads: new Map(found.map((head) => [head.account.id, head]))
        }
      }),
    versions: (accounts) =>
      Effect.map(
        query(text.versions, [textArray(accounts)]),
        // One of `accounts`.
        (rows) => new Map(rows.map((row) => [row[0] as AccountId, Number(row[1])]))
      ),
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
    heldHeads: ({ after, limit }) =>
      Effect.map(query(text.heldHeads, [PgTypes.text(after), int8Value(limit)]), (rows) =>
        rows.map((row) => ({
          account: row[0] as AccountId, // branded when it was written
          version: Number(row[1]),
          hash: String(row[2])
        }))
      )
  }) satisfies Pick<ProjectionModel, "look" | "versions" | "behind" | "heldHeads">

const makeParking = (query: Query, text: Statements) =>
  ({
    parked: Effect.map(query(text.parked, []), toParked),
    // Each reason has the empty beginning.
    firstParked: (limit, beginning = "") =>
      Effect.map(query(text.firstParked, [int8Value(limit), PgTypes.text(beginning)]), toParked),
    parkedAmong: (accounts) =>
      accounts.length === 0
        ? Effect.succeed([])
        : Effect.map(query(text.parkedAmong, [textArray(accounts)]), toParked),
    parkedNow: (known) =>
      Effect.map(query(text.parkedNow, [PgTypes.text(known)]), (rows) => {
        const digest = String(rows[0]?.[0])
        const told = rows.filter((row) => row[1] !== null)
        const accountsOf = (some: typeof told) => some.map((row) => row[1] as AccountId) // branded when it was written
        return {
          digest,
          accounts: digest === known ? undefined : accountsOf(told),
          past: accountsOf(told.filter((row) => row[2] === true))
        }
      }),
    park: (parked) => Effect.asVoid(query(text.park, parkedColumns.arrays(parked))),
    beginRelease: (accounts) => Effect.asVoid(query(text.beginRelease, [textArray(accounts)])),
    unpark: (accounts) => Effect.asVoid(query(text.unpark, [textArray(accounts)])),
    skipped: Effect.map(query(text.skipped, []), (rows) => rows.map((row) => skippedColumns.decode(row)))
  }) satisfies Pick<
    ProjectionModel,
    "parked" | "firstParked" | "parkedAmong" | "parkedNow" | "park" | "beginRelease" | "unpark" | "skipped"
  >

const toParked = (rows: ReadonlyArray<ReadonlyArray<unknown>>): ReadonlyArray<Parked> =>
  rows.map((row) => parkedColumns.decode(row))

const makeBatches = Effect.fnUntraced(function* (sql: PgClient, projection: Projection, prefix: string) {
  const { reachedUnsafe } = yield* ProjectedSignal
  const text = statementsOf(prefix)
  const signal = yield* makeMovedSignal
  const limits = yield* ReadSideConfig
  // The reconciler catches up accounts one page after another: one that hung would keep it from all others.
  const run = makeRun(sql, limits)
  /** Rows whose `texts` and parameters are guarded: the statement fails with the signal where the guard says so. */
  const guarded = (own: Run, { text: guard, params, holds }: Guard, pieces: ReadonlyArray<Written>) =>
    own(guardedStatement(guard, holds, params.length, pieces), [
      ...params,
      PgTypes.text(signal.text),
      ...pieces.flatMap((piece) => piece.params)
    ])

  const write = Effect.fnUntraced(function* (own: Run, batch: BooksBatch) {
    const checkpoints =
      batch.checkpoints.length === 0
        ? []
        : [{ text: text.setCheckpoint, params: checkpointParams(batch.checkpoints) }]
    if (batch.moves.length > 0) {
      yield* guarded(own, moveGuard(prefix, batch), [...projection.write(prefix, batch), ...checkpoints])
    } else for (const { text: alone, params } of checkpoints) yield* own(alone, params)
  })

  /** A person's decision is nowhere else: unlike all other rows, which the log has, it is on disk when this ends. */
  const writeDecision = Effect.fnUntraced(function* (own: Run, batch: BooksBatch, skipped: Parked) {
    yield* own("SET LOCAL synchronous_commit = on", [])
    yield* write(own, batch)
    yield* own(text.skip, skippedColumns.values(skipped))
  })

  const outcome = <E>(self: Effect.Effect<unknown, SqlError | E>, batch: BooksBatch) =>
    Effect.map(self, () => {
      for (const { head } of batch.moves) reachedUnsafe(head.account.id, head.account.version)
      return true
    }).pipe(Effect.catchIf(isSqlError, (error) => failureOf(error, signal)))

  return {
    apply: (batch) => {
      const { skipped } = batch
      return outcome(
        Effect.suspend(() =>
          skipped === undefined
            ? write(run, batch)
            : inTransactionRaw(sql, boundOf(limits), (own) => writeDecision(own, batch, skipped))
        ),
        batch
      )
    },
    reload: (
      held,
      partition,
      batch
    ): Effect.Effect<boolean, StoreUnavailable | RowsRefused | ReloadUnsupported> => {
      const { erase } = projection
      if (erase === undefined) return Effect.fail(new ReloadUnsupported({ projection: prefix }))
      return outcome(
        inTransactionRaw(sql, boundOf(limits), (own) =>
          Effect.andThen(
            guarded(own, eraseGuard(prefix, held), erase(prefix, { account: held.account, partition })),
            write(own, batch)
          )
        ),
        batch
      )
    }
  } satisfies Pick<ProjectionModel, "apply" | "reload">
})

/** A statement that takes rows, and the condition under which all that is written with it may stand. */
interface Guard {
  /** `WITH …`, the rows it takes. */
  readonly text: string
  readonly params: ReadonlyArray<unknown>
  readonly holds: string
}

/**
 * The rows of a batch as one statement: seven round trips would cost a busy process seven turns of its event loop,
 * with the rows locked meanwhile. Where the condition does not hold, the statement fails by casting the signal to a
 * number, and nothing of it was written.
 */
const guardedStatement = (
  guard: string,
  holds: string,
  guardParams: number,
  pieces: ReadonlyArray<Written>
): string => {
  let params = guardParams + 1
  const written = pieces.map(({ text, params: own }, index) => {
    const first = params
    params += own.length
    return `, written_${index} AS (${text.replaceAll(/\$(\d+)/g, (_, number) => `$${first + Number(number)}`)})`
  })
  return `${guard}${written.join("")}
    SELECT (CASE WHEN ${holds} THEN '1' ELSE $${guardParams + 1}::text END)::int8`
}

/** What the server says when a guard does not hold. */
interface MovedSignal {
  readonly text: string
  readonly isIn: (error: SqlError) => boolean
}

/**
 * A projection of the host may raise every SQLSTATE there is, so none of them can say that an account was moved. The
 * text of the signal is drawn at random: no SQL but ours knows it, and the server repeats it in its error.
 */
const makeMovedSignal = Effect.gen(function* () {
  const drawn = yield* Effect.all([Random.nextIntBetween(0, 2 ** 48), Random.nextIntBetween(0, 2 ** 48)])
  const text = `moved-${drawn.map((one) => one.toString(36)).join("-")}`
  const isIn = (error: SqlError) =>
    sqlStateOf(error) === "22P02" && serverFieldOf(error, "message")?.includes(text) === true
  return { text, isIn } satisfies MovedSignal
})

/**
 * Moves the accounts of a batch. Rows are taken in order of account, so that two projectors on the same ones wait for
 * each other and do not deadlock.
 */
const moveGuard = (prefix: string, { moves, generation }: BooksBatch): Guard => ({
  text: `
    WITH moves AS (
      SELECT * FROM ${moveColumns.unnest("u")} ORDER BY account
    ), opened AS (
      INSERT INTO ${prefix}_balances (${balanceColumns.list})
      SELECT ${balanceColumns.list} FROM moves WHERE was = 0
      ON CONFLICT (account) DO NOTHING RETURNING 1
    ), moved AS (
      UPDATE ${prefix}_balances b SET version = m.version, status = m.status, owner = m.owner,
        overdraft_limit = m.overdraft_limit, balance = m.balance, metadata = m.metadata, holds = m.holds,
        recorded_at = m.recorded_at, hash = m.hash
      FROM moves m WHERE b.account = m.account AND b.version = m.was RETURNING 1
    )`,
  params: [
    ...moveColumns.arrays(moves.map(({ from, head }) => ({ ...balanceRowOf(head), was: from }))),
    int8Value(moves.length),
    PgTypes.text(prefix),
    generation === undefined ? null : int8Value(generation)
  ],
  holds: `(SELECT count(*) FROM opened) + (SELECT count(*) FROM moved) = $${moveColumns.size + 1}::int8
      AND (SELECT coalesce(max(generation), 0) = coalesce($${moveColumns.size + 3}::int8, max(generation), 0)
        FROM projections WHERE prefix = $${moveColumns.size + 2})`
})

/** Deletes the row of an account, if it stands for the event that it is told to stand for. */
const eraseGuard = (prefix: string, { account, version, hash }: HeldHead): Guard => ({
  text: `
    WITH erased AS (
      DELETE FROM ${prefix}_balances WHERE account = $1 AND version = $2 AND hash = $3 RETURNING 1
    )`,
  params: [PgTypes.text(account), int8Value(version), PgTypes.text(hash)],
  holds: "EXISTS (SELECT 1 FROM erased)"
})

/**
 * `false` where another projector was faster; `RowsRefused` where the rows are at fault, so that the same batch would
 * fail for ever; otherwise the database is, and the batch is tried again.
 */
const failureOf = (
  error: SqlError,
  signal: MovedSignal
): Effect.Effect<boolean, StoreUnavailable | RowsRefused> => {
  if (signal.isIn(error)) return Effect.succeed(false)
  const refused = new RowsRefused({ reason: describeSqlError(error) })
  // Before its SQLSTATE is looked at, which a procedure chooses freely.
  if (isRaisedByProcedure(error)) return Effect.fail(refused)
  const state = sqlStateOf(error)
  if (isRolledBack(state)) return Effect.succeed(false)
  return Effect.fail(state !== undefined && isFaultOfRows.test(state) ? refused : toUnavailable(error))
}

/**
 * Classes of SQLSTATE that say something of the rows: 21 cardinality, 22 data, 23 constraints, 27 triggers, 2F, 38 and
 * 39 routines, 44 views, 54 limits of the server (a row too long for its index), P0 PL/pgSQL.
 */
const isFaultOfRows = /^(2[1237F]|38|39|44|54|P0)/

/** Whether a function or trigger in a procedural language said it; the server names the source file that reported. */
const isRaisedByProcedure = (error: SqlError): boolean =>
  /^(pl_exec|plpy_\w+|plperl|pltcl)\.c$/.test(serverFieldOf(error, "file") ?? "")

/** One row even where no account is found: the generation and the declared prefixes are told by it. */
const lookAt = (prefix: string, withSums: boolean) => `
  SELECT g.generation, g.prefixes, ${balanceColumns.list} FROM (
    SELECT coalesce(max(generation), 0) AS generation,
      ${withSums ? `ARRAY(SELECT prefix FROM ${prefix}_${sumPrefixesTable} ORDER BY prefix)` : "ARRAY[]::text[]"} AS prefixes
    FROM projections WHERE prefix = $2
  ) AS g LEFT JOIN (
    SELECT found.* FROM unnest($1::text[]) AS wanted(id)
    CROSS JOIN LATERAL (SELECT * FROM ${prefix}_balances b WHERE b.account = wanted.id LIMIT 1) AS found
  ) AS heads ON true`

const statementsOf = (prefix: string) => ({
  versions: `
    SELECT wanted.id, found.version FROM unnest($1::text[]) AS wanted(id)
    CROSS JOIN LATERAL (SELECT b.version FROM ${prefix}_balances b WHERE b.account = wanted.id LIMIT 1) AS found`,

  checkpoints: `
    SELECT ${checkpointColumns.list}, (extract(epoch FROM clock_timestamp() - updated_at) * 1000)::int8
    FROM ${prefix}_checkpoints`,

  setCheckpoint: `
    INSERT INTO ${prefix}_checkpoints AS c (${checkpointColumns.list}, updated_at)
    SELECT *, clock_timestamp() FROM unnest(${checkpointColumns.casts()})
    ON CONFLICT (partition_id) DO UPDATE SET position = excluded.position,
      recorded_at = GREATEST(c.recorded_at, excluded.recorded_at), updated_at = excluded.updated_at`,

  behind: `
    SELECT wanted.id, wanted.version, coalesce(found.version, 0)
    FROM unnest($1::text[], $2::int8[]) AS wanted(id, version)
    LEFT JOIN LATERAL (
      SELECT b.version FROM ${prefix}_balances b WHERE b.account = wanted.id LIMIT 1
    ) AS found ON true
    WHERE (found.version IS NULL OR found.version < wanted.version)
      AND NOT EXISTS (
        SELECT 1 FROM ${prefix}_parked_accounts p WHERE p.account = wanted.id AND p.version > coalesce(found.version, 0)
      )`,

  heldHeads: `SELECT account, version, hash FROM ${prefix}_balances WHERE account > $1 ORDER BY account LIMIT $2`,

  swept: `SELECT writer_id, seq FROM ${prefix}_swept`,

  moveSwept: `
    INSERT INTO ${prefix}_swept AS s (writer_id, seq)
    SELECT $1, $3::int8 WHERE ($2::int8 = 0 OR EXISTS (SELECT 1 FROM ${prefix}_swept WHERE writer_id = $1)) AND ${isOfGeneration("$4", "$5")}
    ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE s.seq = $2`,

  forgetSwept: `DELETE FROM ${prefix}_swept WHERE writer_id = ANY($1::text[]) AND ${isOfGeneration("$2", "$3")}`,

  parked: `SELECT ${parkedColumns.list} FROM ${prefix}_parked_accounts ORDER BY account`,

  firstParked: `SELECT ${parkedColumns.list} FROM ${prefix}_parked_accounts WHERE reason ^@ $2 ORDER BY account LIMIT $1`,

  parkedAmong: `
    SELECT ${parkedColumns.list} FROM ${prefix}_parked_accounts WHERE account = ANY($1::text[]) ORDER BY account`,

  parkedNow: `
    SELECT whole.digest, p.account, p.version <= ${versionIn(prefix)} FROM (
      SELECT count(*) || ' ' || coalesce(sum(hashtextextended(account, 0)), 0) AS digest FROM ${prefix}_parked_accounts
    ) AS whole
    LEFT JOIN ${prefix}_parked_accounts p ON whole.digest <> $1 OR p.version <= ${versionIn(prefix)}`,

  park: `
    INSERT INTO ${prefix}_parked_accounts (${parkedColumns.list})
    SELECT * FROM ${parkedColumns.unnest("u")}
    WHERE NOT EXISTS (SELECT 1 FROM ${prefix}_balances b WHERE b.account = u.account AND b.version >= u.version)
    ON CONFLICT (account) DO UPDATE SET version = excluded.version, reason = excluded.reason`,

  beginRelease: `
    UPDATE ${prefix}_parked_accounts p SET version = ${versionIn(prefix)}
    WHERE p.account = ANY($1::text[]) AND p.version > ${versionIn(prefix)}`,

  unpark: `
    DELETE FROM ${prefix}_parked_accounts p
    WHERE p.account = ANY($1::text[]) AND p.version <= ${versionIn(prefix)}`,

  skipped: `SELECT ${skippedColumns.list} FROM ${prefix}_skipped ORDER BY account, version`,

  skip: `
    INSERT INTO ${prefix}_skipped (${skippedColumns.list}) VALUES (${skippedColumns.placeholders()})
    ON CONFLICT (account, version) DO NOTHING`
})

/** The tables of `prefix` are of the generation, where one is given. */
const isOfGeneration = (generation: string, prefix: string) => `
  (SELECT coalesce(max(generation), 0) = coalesce(${generation}::int8, max(generation), 0) FROM projections WHERE prefix = ${prefix})`

/** The parameters of that. */
const ofGeneration = (generation: number | undefined, prefix: string) => [
  generation === undefined ? null : int8Value(generation),
  PgTypes.text(prefix)
]

/** The version that a parked account is at. */
const versionIn = (prefix: string) =>
  `coalesce((SELECT b.version FROM ${prefix}_balances b WHERE b.account = p.account), 0)`

const toCheckpoint = (row: ReadonlyArray<unknown>): [number, CheckpointAt] => {
  const checkpoint = checkpointColumns.decode(row)
  return [checkpoint.partition, { ...checkpoint, quietMs: Number(row[checkpointColumns.size]) }]
}

/** In order of partition, so that two projectors on the same ones wait for each other and do not deadlock. */
const checkpointParams = (checkpoints: ReadonlyArray<Checkpoint>) =>
  checkpointColumns.arrays(checkpoints.toSorted((a, b) => a.partition - b.partition))
