/**
 * Connections to the event store's database: one pool for commits, one for everything else, so that a slow read never
 * delays a commit. Here too is what makes the answer of a read a proof: see `StoreQueries.proven`.
 */
import { PgClient } from "@effect/sql-pg"
import { Clock, Context, Effect, Layer, type Redacted } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { columnTypes, unevenAges } from "../postgres/Driver.ts"
import { sqlStateOf, troubleOf } from "../postgres/SqlState.ts"
import { makeFailureLog } from "../telemetry/GoesOn.ts"
import { StoreUnavailable } from "./EventStoreTypes.ts"

/** A service of its own, so that the read model's client is never taken for this one. */
export class EventStoreClient extends Context.Service<
  EventStoreClient,
  {
    /** One connection a commit lane. */
    readonly commits: PgClient.PgClient
    readonly reads: PgClient.PgClient
  }
>()("chronicle/infra/EventStoreClient") {
  /** Opens no connection before the first statement; an unreachable database shows there. */
  static readonly layer = (url: Redacted.Redacted) =>
    Layer.effect(
      EventStoreClient,
      Effect.gen(function* () {
        const limits = yield* LedgerConfig
        const { connectionTTL, unevenly } = unevenAges(limits.storeConnectionMs)
        const options = {
          url,
          types: columnTypes,
          connectTimeout: limits.storeConnectMs,
          connectionTTL,
          keepAlive: "5 seconds",
          idleTimeout: "5 minutes"
        } as const
        // I6 must not depend on how the server was set up. Fences, and the proof of what was read, are written by the
        // pool of reads.
        const durable = { statement_timeout: String(limits.storeStatementMs), synchronous_commit: "on" }
        // PostgreSQL compiles what it thinks costly, as every plan that has to read a whole table where that is switched off, each time
        // anew, for longer than our statements run. CockroachDB knows no such setting, and passes over it.
        const notCompiled = { jit: "off" }
        const commits = yield* PgClient.make({
          ...options,
          // A commit chained behind another leaves a transaction open while it waits. If the node freezes then, its
          // locks must not outlive two statements.
          startupParameters: {
            ...durable,
            ...notCompiled,
            idle_in_transaction_session_timeout: durable.statement_timeout
          },
          applicationName: "chronicle commits",
          maxConnections: limits.lanes
        }).pipe(unevenly)
        const reads = yield* PgClient.make({
          ...options,
          // PostgreSQL keeps plans from the time when a table was small, which would read all of it for each key.
          startupParameters: { ...durable, ...notCompiled, enable_seqscan: "off" },
          applicationName: "chronicle reads",
          maxConnections: limits.storeReaders
        }).pipe(unevenly)
        return { commits, reads }
      }).pipe(
        Effect.provide(Reactivity.layer),
        Effect.mapError((error) => new StoreUnavailable({ store: "event store", ...troubleOf(error) }))
      )
    )
}

/** Runs one statement of the read pool, bounded, and logs why it failed; answers rows of columns in the order of the SELECT. */
type Query = (
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, StoreUnavailable>

export interface StoreQueries {
  readonly query: Query
  /**
   * The same, and everything that was answered is as durable as a commit. PostgreSQL shows a row whose commit no
   * synchronous standby has, once the wait for the standby was cancelled (our own timeout does that) or the server was
   * restarted meanwhile. A conclusion from such a row ("my commit landed", "this account is at version 7", "this
   * writer is fenced") is wrong after a failover to the standby.
   */
  readonly proven: Query
}

/** How long an answer about synchronous standbys counts, in milliseconds: shorter than any wait for a standby that is cancelled. */
const standbysMs = 1_000

/** No setting of this name on CockroachDB, whose rows are replicated before they can be read. */
const standbys = "SELECT coalesce(current_setting('synchronous_standby_names', true), '')"

/**
 * Writes to PostgreSQL's log and nowhere else. Its commit waits for the synchronous standbys, which have everything
 * before it then, since they receive the log in order. It answers a place in the log, a type that the driver does not know and
 * takes for text: as eight raw bytes that is mostly none, and a connection ends that cannot read its answer. So it is cast.
 */
export const barrier = "SELECT pg_logical_emit_message(true, 'chronicle', '')::text"

export const makeQueries = Effect.gen(function* () {
  const { reads } = yield* EventStoreClient
  const clock = yield* Clock.Clock
  const { storeConnectMs, storeStatementMs } = yield* LedgerConfig
  const boundMs = storeConnectMs + storeStatementMs
  const tell = makeFailureLog()
  const query: Query = (text, params) =>
    reads.unsafe(text, params).values.pipe(
      Effect.mapError(
        (error) =>
          new StoreUnavailable({
            store: "event store",
            ...troubleOf(error),
            state: sqlStateOf(error)
          })
      ),
      Effect.timeoutOrElse({
        duration: boundMs,
        orElse: () =>
          Effect.fail(
            new StoreUnavailable({ store: "event store", reason: `no answer within ${boundMs} ms` })
          )
      }),
      Effect.tapError(tell)
    )

  let hasStandbys = false
  let askedAtMs = Number.NEGATIVE_INFINITY
  const prove = Effect.gen(function* () {
    const nowMs = elapsedMsUnsafe(clock)
    if (nowMs - askedAtMs >= standbysMs) {
      const [row] = yield* query(standbys, [])
      hasStandbys = String(row?.[0] ?? "") !== ""
      askedAtMs = nowMs
    }
    if (hasStandbys) yield* query(barrier, [])
  })
  return {
    query,
    proven: (text, params) => Effect.tap(query(text, params), () => prove)
  } satisfies StoreQueries
})
