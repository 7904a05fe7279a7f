/** The contract of the migrator, which it must keep on PostgreSQL and on CockroachDB alike. */

import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, FileSystem, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { freshDatabase } from "../support/databases.ts"

class Server extends Context.Service<Server, string>()("chronicle/test/Server") {}

/** A folder of migrations with these texts, by file name. */
const folder = (files: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* fs.makeTempDirectoryScoped()
    for (const [name, text] of Object.entries(files)) yield* fs.writeFileString(`${path}/${name}`, text)
    return path
  })

/** A fresh database and a client of it. */
const fresh = Effect.gen(function* () {
  const url = yield* freshDatabase(yield* Server)
  const client = yield* Layer.build(
    Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 }))
  )
  return { url, client, sql: Context.get(client, SqlClient.SqlClient) }
})

const one = {
  "0001_first.sql": "-- first\nCREATE TABLE IF NOT EXISTS one (id int8 PRIMARY KEY);",
  "notes.txt": "no migration"
}

export const migrationsContract = (name: string, serverUrl: string) => {
  const shared = Layer.merge(Layer.succeed(Server, serverUrl), NodeFileSystem.layer)

  layer(shared, { excludeTestServices: true, timeout: "4 minutes" })(`the migrator (${name})`, (it) => {
    it.effect("brings an empty database to the program's schema, in one run", () =>
      Effect.gen(function* () {
        const { client, url } = yield* fresh
        const before = yield* Effect.flip(Effect.provide(Migrations.check("event-store"), client))
        assert.strictEqual(before._tag, "SchemaTooOld")
        const applied = yield* Migrations.migrate("event-store", Redacted.make(url))
        assert.isAbove(applied.length, 0)
        assert.deepStrictEqual(yield* Migrations.migrate("event-store", Redacted.make(url)), [])
        yield* Effect.provide(Migrations.check("event-store"), client)
      })
    )

    it.effect("lets many nodes start at once on an empty database", () =>
      Effect.gen(function* () {
        const { client, sql, url } = yield* fresh
        yield* Effect.forEach([1, 2, 3, 4], () => Migrations.migrate("event-store", Redacted.make(url)), {
          concurrency: "unbounded"
        })
        yield* Effect.provide(Migrations.check("event-store"), client)
        const rows = yield* sql<{
          id: bigint
        }>`SELECT id FROM chronicle_migrations WHERE kind = 'event-store'`
        assert.strictEqual(new Set(rows.map((row) => row.id)).size, rows.length)
        assert.deepStrictEqual(yield* sql`SELECT * FROM events`, [])
      })
    )

    it.effect("refuses a database that a newer program has migrated", () =>
      Effect.gen(function* () {
        const { client, sql } = yield* fresh
        const path = yield* folder(one)
        yield* Effect.provide(Migrations.run("event-store", path), client)
        yield* sql`INSERT INTO chronicle_migrations (kind, id, name, checksum, applied_at)
          VALUES ('event-store', 7, 'later', 'x', now())`
        for (const act of [Migrations.run, Migrations.check]) {
          const error = yield* Effect.flip(Effect.provide(act("event-store", path), client))
          assert.deepInclude(error, { _tag: "SchemaTooNew", found: 7, known: 1 })
        }
      })
    )

    it.effect(
      "refuses a migration that was changed after it had been applied, but not a changed comment",
      () =>
        Effect.gen(function* () {
          const { client } = yield* fresh
          yield* Effect.provide(Migrations.run("event-store", yield* folder(one)), client)
          const comment = yield* folder({ "0001_first.sql": `/* better words */ ${one["0001_first.sql"]}` })
          assert.deepStrictEqual(yield* Effect.provide(Migrations.run("event-store", comment), client), [])
          const changed = yield* folder({ "0001_first.sql": "CREATE TABLE IF NOT EXISTS two (id int8)" })
          for (const act of [Migrations.run, Migrations.check]) {
            const error = yield* Effect.flip(Effect.provide(act("event-store", changed), client))
            assert.deepInclude(error, { _tag: "SchemaChanged", id: 1, name: "first" })
          }
        })
    )

    it.effect("goes on from a migration that failed once it is mended", () =>
      Effect.gen(function* () {
        const { client, sql } = yield* fresh
        const second = "CREATE TABLE IF NOT EXISTS two (id int8 PRIMARY KEY);"
        const broken = yield* folder({
          ...one,
          "0002_second.sql": `${second}\nINSERT INTO nowhere VALUES (1);`
        })
        const error = yield* Effect.flip(Effect.provide(Migrations.run("event-store", broken), client))
        assert.strictEqual(error._tag, "MigrationFailed")
        assert.match(error.message, /migration 2 \(second\): .*nowhere.*42P01/)
        const mended = yield* folder({ ...one, "0002_second.sql": second })
        assert.deepStrictEqual(yield* Effect.provide(Migrations.run("event-store", mended), client), [2])
        assert.deepStrictEqual(yield* sql`SELECT * FROM two`, [])
      })
    )

    it.effect("keeps the two kinds apart in one database", () =>
      Effect.gen(function* () {
        const { client } = yield* fresh
        const other = yield* folder({ "0001_other.sql": "CREATE TABLE IF NOT EXISTS other (id int8)" })
        assert.deepStrictEqual(
          yield* Effect.provide(Migrations.run("event-store", yield* folder(one)), client),
          [1]
        )
        assert.deepStrictEqual(yield* Effect.provide(Migrations.run("read-model", other), client), [1])
        yield* Effect.provide(Migrations.check("read-model", other), client)
      })
    )
  })
}
