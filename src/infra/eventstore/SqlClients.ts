/** The URL of the event store's database enters; two pools of connections to it, for commits and for the rest, leave. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { describeSqlError } from "../postgres/SqlState.ts"
import { StoreUnavailable } from "./EventStoreTypes.ts"

/** A service of its own, so that the read model's client is never taken for this one. */
export class EventStoreClient extends Context.Service<
  EventStoreClient,
  {
    /** One connection a lane: a slow read never stands before a commit. */
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
        const options = {
          url,
          connectTimeout: limits.storeConnectMs,
          connectionTTL: limits.storeConnectionMs,
          keepAlive: "5 seconds",
          idleTimeout: "5 minutes"
        } as const
        const statement_timeout = String(limits.storeStatementMs)
        const commits = yield* PgClient.make({
          ...options,
          // I6 does not hang on how the server was set up. What a node that froze left open (a commit behind another)
          // stands in nobody's way for longer than a statement may before it, and once more as long.
          startupParameters: {
            statement_timeout,
            synchronous_commit: "on",
            idle_in_transaction_session_timeout: statement_timeout
          },
          applicationName: "chronicle commits",
          maxConnections: limits.lanes
        })
        const reads = yield* PgClient.make({
          ...options,
          // A plan that PostgreSQL keeps from the time when a table was small would read all of it for each key.
          startupParameters: { statement_timeout, enable_seqscan: "off" },
          applicationName: "chronicle reads",
          maxConnections: limits.storeReaders
        })
        return { commits, reads }
      }).pipe(
        Effect.provide(Reactivity.layer),
        Effect.mapError(
          (error) => new StoreUnavailable({ store: "event store", reason: describeSqlError(error) })
        )
      )
    )
}

/** Runs one statement of the read pool, bounded; answers rows of columns in the order of the SELECT. */
export type Query = (
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, StoreUnavailable>

export const makeQuery = Effect.gen(function* () {
  const { reads } = yield* EventStoreClient
  const { storeConnectMs, storeStatementMs } = yield* LedgerConfig
  const boundMs = storeConnectMs + storeStatementMs
  const query: Query = (text, params) =>
    reads.unsafe(text, params).values.pipe(
      Effect.mapError(
        (error) => new StoreUnavailable({ store: "event store", reason: describeSqlError(error) })
      ),
      Effect.timeoutOrElse({
        duration: boundMs,
        orElse: () =>
          Effect.fail(
            new StoreUnavailable({ store: "event store", reason: `no answer within ${boundMs} ms` })
          )
      })
    )
  return query
})
