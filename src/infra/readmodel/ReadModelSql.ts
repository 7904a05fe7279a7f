/** The bounded pools of connections to the read model's database, and how its errors are told. */
import { PgClient, type PgConnection, PgTypes } from "@effect/sql-pg"
import { Context, Effect, Layer, type Redacted } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { ReadSideConfig, type ReadSideLimits } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { columnTypes, unevenAges } from "../postgres/Driver.ts"
import { troubleOf } from "../postgres/SqlState.ts"
import { makeFailureLog } from "../telemetry/GoesOn.ts"

/** The connections that projections follow the log by. */
export class ProjectionSql extends Context.Service<ProjectionSql, PgClient.PgClient>()(
  "chronicle/infra/ProjectionSql"
) {}

/**
 * PostgreSQL compiles a statement anew each time it thinks it costly: longer than nearly all of ours run. And costly it thinks every plan
 * that has to read a table as a whole where that is switched off.
 */
const notCompiled = { jit: "off" }

/** A service of its own, so that the event store's client cannot be taken for this one. */
export class ReadModelSql extends Context.Service<ReadModelSql, PgClient.PgClient>()(
  "chronicle/infra/ReadModelSql"
) {
  /** Opens no connection before the first statement, so an unreachable database is noticed only there. */
  static readonly layer = (url: Redacted.Redacted) =>
    Layer.effectContext(
      Effect.gen(function* () {
        const reads = yield* makePool(url, {
          // A plan that was made while a table was empty would go on reading the whole table.
          plan_cache_mode: "force_custom_plan",
          ...notCompiled
        })
        const projections = yield* makePool(url, byKeys)
        return Context.make(ReadModelSql, reads).pipe(Context.add(ProjectionSql, projections))
      }).pipe(Effect.provide(Reactivity.layer), Effect.mapError(toUnavailable))
    )
}

const makePool = Effect.fnUntraced(function* (
  url: Redacted.Redacted,
  planner: Readonly<Record<string, string>>
) {
  const limits = yield* ReadSideConfig
  const { connectionTTL, unevenly } = unevenAges((yield* LedgerConfig).storeConnectionMs)
  return yield* PgClient.make({
    url,
    types: columnTypes,
    applicationName: "chronicle read model",
    maxConnections: limits.readModelConnections,
    connectTimeout: limits.connectMs,
    connectionTTL,
    keepAlive: "5 seconds",
    idleTimeout: "5 minutes",
    startupParameters: {
      statement_timeout: String(limits.readModelStatementMs),
      // The log has everything: a server that dies loses rows, versions and cursors of the last moment together, and
      // they are projected again. Skipping an event is a person's decision, and asks for a synchronous commit.
      synchronous_commit: "off",
      ...planner
    }
  }).pipe(unevenly)
})

/**
 * A projection finds each of its rows by a key. So one plan is made for all batches, and it may not read a whole table: for a batch
 * of fifty events the planner would read every balance rather than look up fifty, and its planning cost as much as the writing.
 */
export const byKeys = {
  plan_cache_mode: "force_generic_plan",
  enable_seqscan: "off",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  ...notCompiled
}

export const toUnavailable = (error: SqlError): StoreUnavailable =>
  new StoreUnavailable({ store: "read model", ...troubleOf(error) })

/** Rows as arrays of values, in the order of the SELECT. */
const valuesOf = (
  sql: PgClient.PgClient,
  text: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> => sql.unsafe(text, params).values

/** Runs one statement on a connection, of a transaction or not; fails with E where the database refuses it, or does not answer in time. */
type RunOnConnection<E> = (
  text: string,
  params?: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, E>

/** A connection of its own until the scope ends. Each statement on it is given up after so many milliseconds. */
const reserveRaw = Effect.fnUntraced(function* (sql: PgClient.PgClient, boundMs: number) {
  const inTime = givenUpAfter(boundMs)
  const connection = yield* inTime(sql.reserve)
  const run: RunOnConnection<SqlError | StoreUnavailable> = (text, params = []) =>
    inTime(
      params.length === 0
        ? connection.executeValuesUnprepared(text, [])
        : connection.executeValues(text, params)
    )
  return { connection, inTime, run }
})

/** Holds an advisory lock of this name, beside others that do, until the scope ends; free again when the connection breaks. */
const holdShared = Effect.fnUntraced(function* (
  run: RunOnConnection<SqlError | StoreUnavailable>,
  name: string
) {
  const ask = (call: string) => run(`SELECT ${call}(hashtext($1))`, [PgTypes.text(name)])
  // Before it is asked for: it may be had although no answer came in time.
  yield* Effect.addFinalizer(() => Effect.ignore(ask("pg_advisory_unlock_shared")))
  yield* ask("pg_advisory_lock_shared")
})

/**
 * Begins a transaction, which is rolled back with the scope unless it was committed by then. Each statement of it is given up after so many
 * milliseconds, the first and the last as well: those that effect sends itself for a transaction it waits for, however long that takes.
 * Its errors are as the database tells them. The shared lock is had before it begins, so that it takes no snapshot while it waits for that.
 */
const beginRaw = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  boundMs: number,
  mode = "",
  sharedLock?: string
) {
  const { connection, inTime, run } = yield* reserveRaw(sql, boundMs)
  if (sharedLock !== undefined) yield* holdShared(run, sharedLock)
  let isOpen = true
  yield* Effect.addFinalizer(() => (isOpen ? Effect.ignore(run("ROLLBACK")) : Effect.void))
  yield* run(`BEGIN ${mode}`)
  const commit = Effect.flatMap(inTime(connection.executeRaw("COMMIT", [])), (answer) => {
    isOpen = false
    const { command } = answer as PgConnection.Result // the driver's type
    // The server answers ROLLBACK where a statement had failed.
    return command === "COMMIT"
      ? Effect.void
      : Effect.fail(
          new StoreUnavailable({
            store: "read model",
            reason: "the transaction was rolled back, because a statement of it had failed"
          })
        )
  })
  return { run, commit }
})

const inWords = <A, E, R>(
  self: Effect.Effect<A, SqlError | E, R>
): Effect.Effect<A, StoreUnavailable | E, R> =>
  Effect.mapError(self, (error) => (isSqlError(error) ? toUnavailable(error) : error))

const runInWords =
  (run: RunOnConnection<SqlError | StoreUnavailable>): RunOnConnection<StoreUnavailable> =>
  (text, params) =>
    inWords(run(text, params))

/** `reserveRaw` for who need not know what went wrong. */
export const reserve = (sql: PgClient.PgClient, boundMs: number) =>
  Effect.map(inWords(reserveRaw(sql, boundMs)), ({ run }) => ({ run: runInWords(run) }))

/** `beginRaw` for those. */
export const begin = (sql: PgClient.PgClient, boundMs: number, mode?: string, sharedLock?: string) =>
  Effect.map(inWords(beginRaw(sql, boundMs, mode, sharedLock)), ({ run, commit }) => ({
    run: runInWords(run),
    commit: inWords(commit)
  }))

/** A transaction around what it is begun for. Its errors are as the database tells them. */
export const inTransactionRaw = <A, E>(
  sql: PgClient.PgClient,
  boundMs: number,
  use: (run: RunOnConnection<SqlError | StoreUnavailable>) => Effect.Effect<A, E>
): Effect.Effect<A, E | SqlError | StoreUnavailable> =>
  beginRaw(sql, boundMs).pipe(
    Effect.flatMap(({ run, commit }) => Effect.tap(use(run), commit)),
    Effect.scoped
  )

/** The same for who need not know what went wrong. */
export const inTransaction = <A, E>(
  sql: PgClient.PgClient,
  boundMs: number,
  use: (run: RunOnConnection<StoreUnavailable>) => Effect.Effect<A, E>
): Effect.Effect<A, E | StoreUnavailable> =>
  inWords(inTransactionRaw(sql, boundMs, (run) => use(runInWords(run))))

/**
 * What the database does not answer is given up at this end too. Its own limit on a statement does not help where it is not reached, and
 * what was sent to a host that died without a word is given up by TCP only after a quarter of an hour.
 */
const givenUpAfter =
  (boundMs: number) =>
  <A, E, R>(asked: Effect.Effect<A, E, R>): Effect.Effect<A, E | StoreUnavailable, R> =>
    Effect.timeoutOrElse(asked, {
      duration: boundMs,
      orElse: () =>
        Effect.fail(new StoreUnavailable({ store: "read model", reason: `no answer within ${boundMs} ms` }))
    })

type Patience = Pick<ReadSideLimits, "connectMs" | "readModelStatementMs">

/** As long as opening a connection and a statement may take, in milliseconds. */
export const boundOf = ({ connectMs, readModelStatementMs }: Patience): number =>
  connectMs + readModelStatementMs

/** Runs one statement, for as long as opening a connection and the statement itself may take. Its errors are as the database tells them. */
export const makeRun = (sql: PgClient.PgClient, limits: Patience) => {
  const inTime = givenUpAfter(boundOf(limits))
  return (text: string, params: ReadonlyArray<unknown>) => inTime(valuesOf(sql, text, params))
}

/** The same for who need not know what went wrong; the log is told. */
export const makeQuery = (sql: PgClient.PgClient, limits: Patience) => {
  const run = makeRun(sql, limits)
  const tell = makeFailureLog()
  return (text: string, params: ReadonlyArray<unknown> = []) =>
    Effect.tapError(inWords(run(text, params)), tell)
}
