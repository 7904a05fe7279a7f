/** The bounded pool of connections to the read model's database, and how its errors are told. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { describeSqlError } from "../postgres/SqlState.ts"

/** A service of its own, so that the event store's client cannot be taken for this one. */
export class ReadModelSql extends Context.Service<ReadModelSql, PgClient.PgClient>()(
  "chronicle/infra/ReadModelSql"
) {
  /** Opens no connection before the first statement, so an unreachable database is noticed only there. */
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
            // The log has everything: a server that dies loses rows, versions and cursors of the last moment together, and
            // they are projected again. Skipping an event is a person's decision, and asks for a synchronous commit.
            synchronous_commit: "off",
            // A plan that was made while a table was empty would go on reading the whole table.
            plan_cache_mode: "force_custom_plan"
          }
        })
      }).pipe(Effect.provide(Reactivity.layer), Effect.mapError(toUnavailable))
    )
}

export const toUnavailable = (error: SqlError): StoreUnavailable =>
  new StoreUnavailable({ store: "read model", reason: describeSqlError(error) })

/** Rows as arrays of values, in the order of the SELECT. */
export const valuesOf = (
  sql: PgClient.PgClient,
  text: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> => sql.unsafe(text, params).values
