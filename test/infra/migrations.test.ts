/** The migrator on PostgreSQL, and on the CockroachDB that CHRONICLE_TEST_COCKROACH_URL names. */

import * as Net from "node:net"
import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Logger, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { awaitLogSchema } from "../../src/infra/eventstore/AwaitStore.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { splitStatements } from "../../src/infra/postgres/SqlStatements.ts"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import { freshReadModel, limitsOf } from "../support/readSides.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { eventually, until } from "../support/waiting.ts"
import { migrationsContract } from "./migrationsContract.ts"

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL

migrationsContract("PostgreSQL", inject("postgresUrl"))
if (cockroachUrl !== undefined) migrationsContract("CockroachDB", cockroachUrl)

/** With statements, not with connections, which are had. */
const impatient = limitsOf({ ledger: { storeConnectMs: 30_000, storeStatementMs: 300 } })

/** A server of PostgreSQL that fails over: it accepts connections and says nothing, cuts them, or refuses them with an SQLSTATE. */
const failingOver = Effect.acquireRelease(
  Effect.callback<{ says: string; readonly port: number; asked: () => number; close: () => void }>(
    (resume) => {
      const sockets = new Set<Net.Socket>()
      let asked = 0
      const server = Net.createServer((socket) => {
        sockets.add(socket.on("error", () => {}))
        socket.once("data", () => {
          asked++
          if (failing.says === "cut") return socket.destroy()
          if (failing.says === "") return
          const fields = Buffer.from(`SFATAL\0VFATAL\0C${failing.says}\0Mnot now\0\0`)
          const head = Buffer.from("E\0\0\0\0")
          head.writeInt32BE(fields.length + 4, 1)
          socket.end(Buffer.concat([head, fields]))
        })
      })
      const failing = {
        says: "",
        port: 0,
        asked: () => asked,
        close: () => {
          for (const socket of sockets) socket.destroy()
          server.close()
        }
      }
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        failing.port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed(failing))
      })
    }
  ),
  ({ close }) => Effect.sync(close)
)

/** A connection that holds a lock however far the test moves its clock. */
const holder = (url: Redacted.Redacted) => PgClient.layer({ url, maxConnections: 1, idleTimeout: "1 hour" })

/** Another connection to the same database waits for a lock of this type. */
const waitsForLock = (sql: SqlClient.SqlClient, type: string) => {
  const waiting = sql<{
    n: number
  }>`SELECT count(*)::int AS n FROM pg_locks WHERE locktype = ${type} AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
  const isWaiting = Effect.orDie(Effect.map(waiting, ([row]) => row?.n === 1))
  return TestClock.withLive(eventually(`a lock is waited for (${type})`, isWaiting))
}

/** Waits in real time, as servers do, where the bounds of the program are of a clock that the test moves. */
const live = (what: string, condition: () => boolean) => TestClock.withLive(until(what, condition))

describe("the migrator", () => {
  it.live("says that the database cannot be reached", () =>
    Effect.gen(function* () {
      const url = Redacted.make("postgresql://nobody@127.0.0.1:1/nowhere")
      const error = yield* Effect.flip(Migrations.migrate("event-store", url))
      assert.strictEqual(error._tag, "MigrationFailed")
      assert.match(error.message, /cannot connect: .*ECONNREFUSED/)
    })
  )

  it.effect("gives up where the host of the database died without a word", () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshEventStore(inject("postgresUrl")))
      const proxy = yield* tcpProxy(url.hostname, Number(url.port))
      url.port = String(proxy.port)
      const eventStoreUrl = Redacted.make(url.toString())
      const check = Migrations.checkAt("event-store", eventStoreUrl)
      yield* check
      for (const one of [check, Effect.asVoid(Migrations.migrate("event-store", eventStoreUrl))]) {
        proxy.silenceStatements()
        const before = proxy.swallowed()
        const asking = yield* Effect.forkChild(Effect.flip(one))
        yield* live("it is asked in vain", () => proxy.swallowed() > before)
        yield* TestClock.adjust("1 minute")
        // What was given up is waited for in real time before its connection is closed, unless that is cut.
        proxy.cut()
        const error = yield* Fiber.join(asking)
        assert.deepInclude(error, { _tag: "MigrationFailed", isUnanswered: true })
        assert.match(error.message, /no answer within \d+ ms/)
      }
      proxy.forward()
      yield* check
    }).pipe(Effect.scoped)
  )

  it.effect("gives up where its list is locked, for which a node that starts waits", () =>
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
        const checked = yield* Effect.flip(Migrations.checkAt("event-store", eventStoreUrl))
        const migrating = yield* Effect.forkChild(
          Effect.flip(Migrations.migrate("event-store", eventStoreUrl))
        )
        yield* waitsForLock(sql, "relation")
        yield* TestClock.adjust("1 minute")
        for (const error of [checked, yield* Fiber.join(migrating)]) {
          assert.deepInclude(error, { _tag: "MigrationFailed", isUnanswered: true })
          assert.match(error.message, /chronicle_migrations: /)
        }
        const starting = yield* Effect.forkChild(
          TestClock.withLive(Effect.provide(awaitLogSchema(eventStoreUrl), Logger.layer([logger])))
        )
        yield* live("the start says that it waits", () =>
          said.includes("the start of this node waits for the event store")
        )
        yield* sql`COMMIT`
        yield* Fiber.join(starting)
      }).pipe(Effect.provide(holder(eventStoreUrl)))
    }).pipe(Effect.scoped, Effect.provide(impatient))
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

  it.live("gives the read model the limits of the read side", () =>
    Effect.gen(function* () {
      const url = Redacted.make(yield* freshReadModel(inject("postgresUrl")))
      yield* Migrations.checkAt("read-model", url)
    }).pipe(Effect.provide(limitsOf({ ledger: { storeConnectMs: 1, storeStatementMs: 1 } })))
  )

  it.effect("is waited for by a start through all that a failover says, once the store did not answer", () =>
    Effect.gen(function* () {
      const server = yield* failingOver
      const url = Redacted.make(`postgresql://node@127.0.0.1:${server.port}/log?sslmode=disable`)
      const said: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => {
        said.push(Array.isArray(message) ? message.join(": ") : String(message))
      })
      const start = yield* Effect.forkChild(
        Effect.provide(Effect.flip(awaitLogSchema(url)), Logger.layer([logger]))
      )
      const warned = (times: number) =>
        live(`${times} warnings`, () => said.length === times || start.pollUnsafe() !== undefined)
      yield* live("the server is asked", () => server.asked() === 1)
      server.says = "cut"
      yield* TestClock.adjust(defaultLimits.storeConnectMs)
      yield* warned(1)
      yield* TestClock.adjust(1_000)
      yield* warned(2)
      server.says = "57P03"
      yield* TestClock.adjust(1_000)
      yield* warned(3)
      server.says = "28P01"
      yield* TestClock.adjust(1_000)
      const error = yield* Fiber.join(start)
      assert.include(error.message, "28P01")
      assert.strictEqual(server.asked(), 4)
      assert.match(said[0] ?? "", /connecting to .*: no answer within 3000 ms/)
      assert.match(said[1] ?? "", /cannot connect: /)
      assert.match(said[2] ?? "", /57P03/)
    }).pipe(Effect.scoped)
  )

  it.effect("leaves the statements of a migration as long as they take", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${path}/0001_slow.sql`, "SELECT pg_advisory_xact_lock(1)")
      const url = Redacted.make(yield* freshDatabase(inject("postgresUrl")))
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT pg_advisory_lock(1)`
        const migrating = yield* Effect.forkChild(Migrations.migrate("projection slow", url, path))
        yield* waitsForLock(sql, "advisory")
        yield* TestClock.adjust("1 minute")
        yield* sql`SELECT pg_advisory_unlock(1)`
        assert.deepStrictEqual(yield* Fiber.join(migrating), [1])
      }).pipe(Effect.provide(holder(url)))
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
