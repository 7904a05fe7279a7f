/** The contract of the event store on PostgreSQL, with broken connections, and the law that memory is the same. */

import { hash } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import type { AccountId } from "../../src/domain/Ids.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { CommitOutcome, EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { barrier, EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { execute, freshEventStore, TestDatabase } from "../support/databases.ts"
import { accountId, storedEvent, storedEvents } from "../support/storedEvents.ts"
import { eventStoreContract } from "./eventStoreContract.ts"
import { eventStoreFaults, holdKey } from "./eventStoreFaults.ts"
import { eventStoreLaw } from "./eventStoreLaw.ts"
import { askEverything, fillLog } from "./everyRead.ts"
import { twoClients } from "./twoClients.ts"

const serverUrl = inject("postgresUrl")

eventStoreContract("PostgreSQL", twoClients(serverUrl))
eventStoreFaults("PostgreSQL", serverUrl)
eventStoreLaw("PostgreSQL", serverUrl, 25)

describe("the event store on PostgreSQL alone", () => {
  const stores = (url: string) =>
    Layer.fresh(
      Layer.merge(EventStore.layer, Snapshots.layer).pipe(
        Layer.provide(EventStoreClient.layer(Redacted.make(url)))
      )
    )

  it.live("gives up a connection that leads to a read-only server after a failover", () =>
    Effect.gen(function* () {
      const url = yield* freshEventStore(serverUrl)
      const database = new URL(url).pathname.slice(1)
      yield* execute(url, `ALTER DATABASE ${database} SET default_transaction_read_only = on`)
      yield* Effect.gen(function* () {
        const store = yield* EventStore
        const commit = store.commit({ writerId: "moved", seq: 1, events: storedEvents("moved", 1, 1) })
        assert.strictEqual((yield* commit)._tag, "NotWritten")
        // As after a failover: a new connection to the address could write, the old one is not cut.
        yield* execute(
          url,
          "SET default_transaction_read_only = off",
          `ALTER DATABASE ${database} RESET default_transaction_read_only`
        )
        assert.deepStrictEqual(yield* commit, CommitOutcome.Committed())
      }).pipe(
        Effect.provide(stores(url)),
        Effect.provideService(LedgerConfig, { ...defaultLimits, storeConnectionMs: 1 })
      )
    })
  )

  it.effect("replaces connections that were opened together one after another", () =>
    Effect.gen(function* () {
      const { reads } = yield* EventStoreClient
      /** The connections of the pool, all in use at once. */
      const connections = Effect.gen(function* () {
        const pids = new Set<number>()
        for (let index = 0; index < defaultLimits.storeReaders; index++) {
          const connection = yield* reads.reserve
          const [row] = yield* connection.execute("SELECT pg_backend_pid() AS pid", [], undefined)
          pids.add(row?.pid)
        }
        return pids
      }).pipe(Effect.scoped)
      const first = yield* connections
      assert.strictEqual(first.size, defaultLimits.storeReaders)
      const { storeConnectionMs } = defaultLimits
      const kept: Array<number> = []
      for (let step = 1; step <= 20; step++) {
        yield* TestClock.adjust(storeConnectionMs / 20)
        const now = yield* connections
        kept.push([...now].filter((pid) => first.has(pid)).length)
      }
      assert.strictEqual(kept[12], first.size, "before they are old")
      assert.strictEqual(kept[19], 0, "at the age at which none may be kept")
      assert.isTrue(
        kept.some((count) => count > 0 && count < first.size),
        `kept by age: ${kept}`
      )
    }).pipe(
      Effect.provide(
        Layer.unwrap(
          Effect.map(freshEventStore(serverUrl), (url) => EventStoreClient.layer(Redacted.make(url)))
        )
      )
    )
  )

  it.live("writes nothing of a commit that is beyond a limit of the server, and says so", () =>
    Effect.gen(function* () {
      const url = yield* freshEventStore(serverUrl)
      yield* Effect.gen(function* () {
        const store = yield* EventStore
        // Longer than a row of an index may be, and without a pattern that PostgreSQL could compress.
        const account = Array.from({ length: 400 }, (_, nth) => hash("sha256", `${nth}`, "base64url")).join(
          ""
        )
        const event = { ...storedEvent({ account: "large", version: 1 }), accountId: account as AccountId }
        const outcome = yield* store.commit({ writerId: "large", seq: 1, events: [event] })
        assert.deepInclude(outcome, { _tag: "NotWritten" })
      }).pipe(Effect.provide(stores(url)))
    })
  )

  it.live("reads the answer of the barrier whatever place in the server's log it names", () =>
    Effect.gen(function* () {
      const { reads } = yield* EventStoreClient
      for (let times = 0; times < 300; times++) {
        const [row] = yield* reads.unsafe(barrier, []).values
        assert.match(String(row?.[0]), /^[0-9A-F]+\/[0-9A-F]+$/)
      }
    }).pipe(Effect.provide(EventStoreClient.layer(Redacted.make(serverUrl))))
  )

  it.live("scans no table of the log as a whole, even with plans from when it was small", () =>
    Effect.gen(function* () {
      const url = yield* freshEventStore(serverUrl)
      const counts = Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql<{ relname: string; seq_scan: bigint; idx_scan: bigint }>`
          SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables
          WHERE relname IN ('events', 'commits', 'snapshots') ORDER BY relname`
      ).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url) })))
      yield* Effect.gen(function* () {
        yield* fillLog(0)
        // Now the server knows how small the tables are.
        yield* execute(url, "VACUUM ANALYZE")
        const { listWriters } = yield* EventStore
        yield* Effect.repeat(Effect.andThen(askEverything, listWriters), { times: 19 })
      }).pipe(Effect.provide(stores(url)))
      // The server publishes a session's counts at the latest when the session ends.
      const found = yield* counts.pipe(
        Effect.delay("20 millis"),
        Effect.repeat({ until: (rows) => rows.every((row) => row.idx_scan >= 20n), times: 3_000 })
      )
      assert.deepStrictEqual(
        found.map((row) => row.relname),
        ["commits", "events", "snapshots"]
      )
      for (const row of found) {
        assert.isAtLeast(Number(row.idx_scan), 20)
        // The building of the indexes counts too, a few times.
        assert.isBelow(Number(row.seq_scan), 10)
      }
    })
  )

  it.live("gives Unknown when the server ends the session under a commit", () =>
    Effect.gen(function* () {
      const url = yield* freshEventStore(serverUrl)
      yield* Effect.gen(function* () {
        const store = yield* EventStore
        const holder = yield* holdKey("ended", 1)
        const commit = { writerId: "ended", seq: 1, events: storedEvents("ended", 1, 1) }
        const fiber = yield* Effect.forkChild(store.commit(commit), { startImmediately: true })
        const ended = yield* Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'chronicle commits'
            AND wait_event_type = 'Lock'`
        ).pipe(
          Effect.repeat({ until: (rows) => rows.length > 0 }),
          Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 }))
        )
        assert.strictEqual(ended.length, 1)
        const outcome = yield* Fiber.join(fiber)
        assert.strictEqual(outcome._tag, "Unknown")
        yield* holder.release
        assert.deepStrictEqual(yield* store.commit(commit), CommitOutcome.Committed())
      }).pipe(Effect.provide(stores(url)), Effect.provideService(TestDatabase, url))
    })
  )

  it.live("gives NotWritten for a text that PostgreSQL cannot hold", () =>
    Effect.gen(function* () {
      const url = yield* freshEventStore(serverUrl)
      yield* Effect.gen(function* () {
        const store = yield* EventStore
        const good = storedEvent({ account: "nul", version: 1 })
        const bad = storedEvent({ account: "nul", version: 2, payload: "\u0000" })
        const outcome = yield* store.commit({ writerId: "nul", seq: 1, events: [good, bad] })
        assert.strictEqual(outcome._tag, "NotWritten")
        const rows = yield* store.readStream({ account: accountId("nul"), after: 0, limit: 5 })
        assert.deepStrictEqual(rows, [])
      }).pipe(Effect.provide(stores(url)))
    })
  )

  it.live("says which table is missing when the database was not migrated, to the log alone", () =>
    Effect.gen(function* () {
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => said.push(String(message)))
      yield* Effect.gen(function* () {
        const store = yield* EventStore
        const { message, reason } = yield* Effect.flip(store.relayCursors)
        assert.match(message, /^event store: relation "relay_cursors" does not exist \(42P01/)
        yield* Effect.flip(store.relayCursors)
        assert.deepStrictEqual(said, [message])
        const outcome = yield* store.commit({ writerId: "w", seq: 1, events: storedEvents("a", 1, 1) })
        const detail = 'relation "commits" does not exist (42P01)'
        assert.deepStrictEqual(outcome, CommitOutcome.NotWritten({ reason, detail }))
        assert.strictEqual(reason, "a table, a column or a right is missing (42P01)")
      }).pipe(Effect.provide([stores(serverUrl), Logger.layer([logger])]))
    })
  )
})
