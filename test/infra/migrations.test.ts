/** The migrator on PostgreSQL, and on the CockroachDB that CHRONICLE_TEST_COCKROACH_URL names. */

import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { splitStatements } from "../../src/infra/postgres/SqlStatements.ts"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import { migrationsContract } from "./migrationsContract.ts"

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL

migrationsContract("PostgreSQL", inject("postgresUrl"))
if (cockroachUrl !== undefined) migrationsContract("CockroachDB", cockroachUrl)

describe("the migrator", () => {
  it.live("says that the database cannot be reached", () =>
    Effect.gen(function* () {
      const url = Redacted.make("postgresql://nobody@127.0.0.1:1/nowhere")
      const error = yield* Effect.flip(Migrations.migrate("event-store", url))
      assert.strictEqual(error._tag, "MigrationFailed")
      assert.match(error.message, /cannot connect: .*ECONNREFUSED/)
    })
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
