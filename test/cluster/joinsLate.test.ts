/** A node that is started while the log cannot be read waits, and joins the cluster only then: shards that it were given would wait with it. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { printed, start } from "../support/chronicle.ts"
import { OwnBus } from "../support/ownServers.ts"
import { freePorts, ownPort } from "../support/ports.ts"

const members = `SELECT to_regclass('chronicle_cluster_runners') IS NOT NULL`

it.live(
  "a member waits for the log before it joins",
  () =>
    Effect.gen(function* () {
      const { eventStoreUrl, readModelUrl, nats } = yield* OwnBus
      yield* LedgerNode.migrate({ eventStoreUrl, readModelUrl })
      const isLocked = yield* Deferred.make<void>()
      const isOver = yield* Deferred.make<void>()
      const lock = Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`LOCK TABLE commits IN ACCESS EXCLUSIVE MODE`
        yield* Deferred.succeed(isLocked, undefined)
        yield* Deferred.await(isOver)
      })
      const locked = yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(lock)).pipe(
        Effect.provide(PgClient.layer({ url: eventStoreUrl })),
        Effect.forkScoped
      )
      yield* Deferred.await(isLocked)
      const running = yield* start(["serve", "--role", "commands"], {
        env: {
          CHRONICLE_EVENT_STORE_URL: Redacted.value(eventStoreUrl),
          CHRONICLE_READ_MODEL_URL: Redacted.value(readModelUrl),
          CHRONICLE_NATS_URL: nats.url,
          CHRONICLE_NODE_NAME: "late",
          CHRONICLE_STORE_STATEMENT_MS: "1000",
          ...(yield* freePorts),
          CHRONICLE_CLUSTER_PORT: String(yield* ownPort)
        }
      })
      yield* printed(running, /the start of this node waits for the event store/)
      const [row] = yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(members, []).values).pipe(
        Effect.provide(PgClient.layer({ url: readModelUrl }))
      )
      assert.strictEqual(row?.[0], false, "no member yet")
      yield* Deferred.succeed(isOver, undefined)
      yield* Fiber.join(locked)
      yield* printed(running, /ready, RPC at/)
    }).pipe(Effect.scoped, Effect.provide(OwnBus.layer)),
  420_000
)
