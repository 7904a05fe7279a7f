/** Fresh databases of random names for tests, dropped with the scope. */
import { randomBytes } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"

type Kind = "event-store" | "read-model"

const urlOf = (server: string, name: string): string => {
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.toString()
}

const connectionTo = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })

/** Runs statements on a connection of their own. */
export const execute = (url: string, ...statements: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    for (const statement of statements) yield* sql.unsafe(statement).unprepared
  }).pipe(Effect.provide(connectionTo(url)), Effect.orDie)

const templateOf = (kind: Kind): string => `chronicle_template_${kind.replace("-", "_")}`

/** Makes the databases at the current schema that fresh ones are copies of: a copy takes a fraction of what all migrations take. */
export const makeTemplates = (server: string) =>
  Effect.forEach(
    ["event-store", "read-model"] as const,
    (kind) =>
      Effect.andThen(
        execute(server, `CREATE DATABASE ${templateOf(kind)}`),
        Migrations.migrate(kind, Redacted.make(urlOf(server, templateOf(kind))))
      ),
    { concurrency: "unbounded", discard: true }
  )

/** Half of what PostgreSQL takes for a copy by its log; unknown to CockroachDB and to PostgreSQL before 15. */
const byFiles = " STRATEGY FILE_COPY"

/** A database of this name: a copy of the template where one is wanted and the server has it, else an empty one. */
const create = (server: string, name: string, template: Kind | undefined) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const make = (how: string) => sql.unsafe(`CREATE DATABASE ${name}${how}`).unprepared
    const isCopy =
      template !== undefined &&
      (yield* make(` TEMPLATE ${templateOf(template)}${byFiles}`).pipe(
        Effect.as(true),
        Effect.orElseSucceed(() => false)
      ))
    if (!isCopy) yield* Effect.catch(make(byFiles), () => make(""))
    return { name, url: urlOf(server, name), isCopy }
  }).pipe(Effect.provide(connectionTo(server)), Effect.orDie)

const fresh = (server: string, template?: Kind) =>
  Effect.acquireRelease(
    Effect.suspend(() => create(server, `chronicle_test_${randomBytes(6).toString("hex")}`, template)),
    // Connections of a failed test may still be open; only PostgreSQL minds, and knows FORCE.
    ({ name }) =>
      execute(server, `DROP DATABASE ${name} WITH (FORCE)`).pipe(
        Effect.catchDefect(() => execute(server, `DROP DATABASE ${name} CASCADE`))
      )
  )

/** The URL of a new, empty database beside the one named in `url`. */
export const freshDatabase = (url: string) => Effect.map(fresh(url), (database) => database.url)

/** The URL of a database at the current schema of this kind. */
export const freshAtSchema = (kind: Kind) => (server: string) =>
  fresh(server, kind).pipe(
    Effect.tap(({ isCopy, url }) => (isCopy ? Effect.void : Migrations.migrate(kind, Redacted.make(url)))),
    Effect.map(({ url }) => url)
  )

/** The URL of an event-store database at the current schema. */
export const freshEventStore = freshAtSchema("event-store")

/** The same for layers that need it. */
export class TestDatabase extends Context.Service<TestDatabase, string>()("chronicle/test/TestDatabase") {
  static readonly eventStore = (url: string) => Layer.effect(TestDatabase, freshEventStore(url))
}

/** The event store's connections to `TestDatabase`. */
export const testClient = Layer.unwrap(
  Effect.map(TestDatabase, (url) => EventStoreClient.layer(Redacted.make(url)))
)
