/** Fresh databases of random names for tests, dropped with the scope. */
import { randomBytes } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"

/** Runs statements on a connection of their own. */
export const execute = (url: string, ...statements: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    for (const statement of statements) yield* sql.unsafe(statement).unprepared
  }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })), Effect.orDie)

/** The URL of a new, empty database beside the one named in `url`. */
export const freshDatabase = (url: string) =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const name = `chronicle_test_${randomBytes(6).toString("hex")}`
      yield* execute(url, `CREATE DATABASE ${name}`)
      const fresh = new URL(url)
      fresh.pathname = `/${name}`
      return { url: fresh.toString(), name }
    }),
    // Connections of a failed test may still be open; only PostgreSQL minds, and knows FORCE.
    ({ name }) =>
      execute(url, `DROP DATABASE ${name} WITH (FORCE)`).pipe(
        Effect.catchDefect(() => execute(url, `DROP DATABASE ${name} CASCADE`))
      )
  ).pipe(Effect.map((database) => database.url))

/** The URL of an event-store database at the current schema. */
export const freshEventStore = (url: string) =>
  Effect.tap(freshDatabase(url), (fresh) => Migrations.migrate("event-store", Redacted.make(fresh)))

/** The same for layers that need it. */
export class TestDatabase extends Context.Service<TestDatabase, string>()("chronicle/test/TestDatabase") {
  static readonly eventStore = (url: string) => Layer.effect(TestDatabase, freshEventStore(url))
}

/** The event store's connections to `TestDatabase`. */
export const testClient = Layer.unwrap(
  Effect.map(TestDatabase, (url) => EventStoreClient.layer(Redacted.make(url)))
)
