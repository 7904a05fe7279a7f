/** The URL of the read model's database enters; a bounded pool of connections to it, and its statements, leave. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { describeSqlError } from "../postgres/SqlState.ts"

/** A service of its own, so that the event store's client is never taken for this one. */
export class ReadModelSql extends Context.Service<ReadModelSql, PgClient.PgClient>()(
  "chronicle/infra/ReadModelSql"
) {
  /** Opens no connection before the first statement; an unreachable database shows there. */
  static readonly layer = (url: Redacted.Redacted) =>
    Layer.effect(
      ReadModelSql,
      Effect.gen(function* () {
        const limits = yield* ReadSideConfig
        const { storeConnectionMs } = yield* LedgerConfig
        return yield* PgClient.make({
          url,
          applicationName: "chronicle read model",
          maxConnections: limits.readModelConnections,
          connectTimeout: limits.connectMs,
          connectionTTL: storeConnectionMs,
          keepAlive: "5 seconds",
          idleTimeout: "5 minutes",
          startupParameters: {
            statement_timeout: String(limits.readModelStatementMs),
            // Nothing here is not in the log: a server that dies loses the last moments of it, rows, versions and
            // cursors alike, and they are projected again. What only a person knows asks for its sync itself.
            synchronous_commit: "off",
            // A plan made while a table was empty would read the whole of it for ever after.
            plan_cache_mode: "force_custom_plan"
          }
        })
      }).pipe(Effect.provide(Reactivity.layer), Effect.mapError(toUnavailable))
    )
}

export const toUnavailable = (error: SqlError): StoreUnavailable =>
  new StoreUnavailable({ store: "read model", reason: describeSqlError(error) })

/** Rows as columns in the order of the SELECT. */
export const valuesOf = (
  sql: PgClient.PgClient,
  text: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> => sql.unsafe(text, params).values
