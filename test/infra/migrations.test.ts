/** The migrator on PostgreSQL, and on the CockroachDB that CHRONICLE_TEST_COCKROACH_URL names. */

import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Logger, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { awaitLogSchema } from "../../src/infra/eventstore/AwaitStore.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { splitStatements } from "../../src/infra/postgres/SqlStatements.ts"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import { limitsOf } from "../support/readSides.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { until } from "../support/waiting.ts"
import { migrationsContract } from "./migrationsContract.ts"

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL

migrationsContract("PostgreSQL", inject("postgresUrl"))
if (cockroachUrl !== undefined) migrationsContract("CockroachDB", cockroachUrl)

const impatient = limitsOf({ ledger: { storeConnectMs: 1_000, storeStatementMs: 1_000 } })

describe("the migrator", () => {
  it.live("says that the database cannot be reached", () =>
    Effect.gen(function* () {
      const url = Redacted.make("postgresql://nobody@127.0.0.1:1/nowhere")
      const error = yield* Effect.flip(Migrations.migrate("event-store", url))
      assert.strictEqual(error._tag, "MigrationFailed")
      assert.match(error.message, /cannot connect: .*ECONNREFUSED/)
    })
  )

  it.live("gives up where the host of the database died without a word", () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshEventStore(inject("postgresUrl")))
      const proxy = yield* tcpProxy(url.hostname, Number(url.port))
      url.port = String(proxy.port)
      const eventStoreUrl = Redacted.make(url.toString())
      const check = Migrations.checkAt("event-store", eventStoreUrl)
      yield* check
      proxy.silenceStatements()
      const migrate = Effect.asVoid(Migrations.migrate("event-store", eventStoreUrl, undefined, 500))
      const errors = yield* Effect.all([check, migrate].map(Effect.flip), { concurrency: "unbounded" })
      for (const error of errors) {
        assert.deepInclude(error, { _tag: "MigrationFailed", isUnanswered: true })
        assert.match(error.message, /no answer within \d+ ms/)
      }
      proxy.forward()
      yield* check
    }).pipe(Effect.scoped, Effect.provide(impatient), Effect.timeout("60 seconds"))
  )

  it.live("gives up where its list is locked, for which a node that starts waits", () =>
    Effect.gen(function* () {
      const eventStoreUrl = Redacted.make(yield* freshEventStore(inject("postgresUrl")))
      const said: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => {
        said.push(String(Array.isArray(message) ? message[0] : message))
      })
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`BEGIN`
        yield* sql`LOCK TABLE chronicle_migrations IN ACCESS EXCLUSIVE MODE`
        const asked = [
          Migrations.checkAt("event-store", eventStoreUrl),
          Migrations.migrate("event-store", eventStoreUrl, undefined, 500)
        ]
        for (const one of asked) {
          const error = yield* Effect.flip(Effect.asVoid(one))
          assert.deepInclude(error, { _tag: "MigrationFailed", isUnanswered: true })
          assert.match(error.message, /chronicle_migrations: /)
        }
        const starting = yield* Effect.forkChild(
          Effect.provide(awaitLogSchema(eventStoreUrl), Logger.layer([logger]))
        )
        yield* until("the start says that it waits", () =>
          said.includes("the start of this node waits for the event store")
        )
        yield* sql`COMMIT`
        yield* Fiber.join(starting)
      }).pipe(Effect.provide(PgClient.layer({ url: eventStoreUrl, maxConnections: 1 })))
    }).pipe(Effect.scoped, Effect.provide(impatient), Effect.timeout("60 seconds"))
  )

  it.live("is waited for by no start where the schema is another, or nothing can be connected to", () =>
    Effect.gen(function* () {
      const empty = Redacted.make(yield* freshDatabase(inject("postgresUrl")))
      const nowhere = Redacted.make("postgresql://nobody@127.0.0.1:1/nowhere")
      const tags = yield* Effect.forEach([empty, nowhere], (eventStoreUrl) =>
        Effect.map(Effect.flip(awaitLogSchema(eventStoreUrl)), ({ _tag }) => _tag)
      )
      assert.deepStrictEqual(tags, ["SchemaTooOld", "MigrationFailed"])
    }).pipe(Effect.timeout("60 seconds"))
  )

  it.live("leaves the statements of a migration as long as they take", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${path}/0001_slow.sql`, "SELECT pg_sleep(1)")
      const url = Redacted.make(yield* freshDatabase(inject("postgresUrl")))
      assert.deepStrictEqual(yield* Migrations.migrate("projection slow", url, path, 500), [1])
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
  )

  it.live("orders ids by their bytes in any database of PostgreSQL", () =>
    Effect.gen(function* () {
      const url = yield* freshEventStore(inject("postgresUrl"))
      const rows = yield* Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql`SELECT table_name, column_name FROM information_schema.columns
          WHERE table_schema = 'public' AND column_name IN ('account_id', 'command_id', 'writer_id')
          AND collation_name IS DISTINCT FROM 'C'`
      ).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url) })))
      assert.deepStrictEqual(rows, [])
    })
  )

  it.live("widens the amounts of every projection that an older version left, and keeps them", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const sql = yield* SqlClient.SqlClient
      const all = new URL("../../migrations/read-model", import.meta.url).pathname
      const older = yield* fs.makeTempDirectoryScoped()
      for (const file of yield* fs.readDirectory(all))
        if (file < "0004") yield* fs.copyFile(`${all}/${file}`, `${older}/${file}`)
      yield* Migrations.run("read-model", older)
      yield* sql`CREATE TABLE totals_v1_balances (LIKE books_v1_balances INCLUDING ALL)`
      for (const table of ["balances", "statement_lines", "transfers", "contra"])
        yield* sql.unsafe(`CREATE TABLE books_v1_next_${table} (LIKE books_v1_${table} INCLUDING ALL)`)
      yield* sql`INSERT INTO totals_v1_balances
        VALUES ('a', 1, 'open', 'USD/2', 'Ada', 9223372036854775807, -5, '{}', now(), '')`
      yield* Migrations.run("read-model", all)
      const narrow = yield* sql`SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type <> 'numeric'
        AND column_name IN ('amount', 'balance', 'overdraft_limit')`
      assert.deepStrictEqual(narrow, [])
      const rows = yield* sql`SELECT overdraft_limit::text, balance::text FROM totals_v1_balances`
      assert.deepStrictEqual(rows, [{ overdraft_limit: "9223372036854775807", balance: "-5" }])
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.unwrap(
          Effect.map(freshDatabase(inject("postgresUrl")), (url) =>
            PgClient.layer({ url: Redacted.make(url) })
          )
        )
      ),
      Effect.provide(NodeFileSystem.layer)
    )
  )

  it.live("refuses two files of one number", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${path}/0001_a.sql`, "SELECT 1")
      yield* fs.writeFileString(`${path}/0001_b.sql`, "SELECT 2")
      const error = yield* Effect.flip(
        Effect.provide(
          Migrations.run("event-store", path),
          PgClient.layer({ url: Redacted.make(inject("postgresUrl")) })
        )
      )
      assert.match(error.message, /two files have the same number/)
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})

describe("splitting SQL into statements", () => {
  const cases: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
    ["ends statements at semicolons", "SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]],
    ["leaves out empty ones", ";; SELECT 1;\n;", ["SELECT 1"]],
    ["leaves out comments", "SELECT 1 -- a; b\n; /* c; d */ SELECT 2", ["SELECT 1", "SELECT 2"]],
    ["keeps strings", "SELECT 'a;''b--c'; SELECT 2", ["SELECT 'a;''b--c'", "SELECT 2"]],
    ["keeps quoted names", 'SELECT "a;b"; SELECT 2', ['SELECT "a;b"', "SELECT 2"]],
    ["keeps bodies", "DO $$ BEGIN a; b; END $$; SELECT 2", ["DO $$ BEGIN a; b; END $$", "SELECT 2"]],
    ["keeps tagged bodies", "DO $f$ a; $$ b; $$ $f$;", ["DO $f$ a; $$ b; $$ $f$"]]
  ]
  it.each(cases)("%s", (_, text, statements) => {
    assert.deepStrictEqual(splitStatements(text), statements)
  })
})
