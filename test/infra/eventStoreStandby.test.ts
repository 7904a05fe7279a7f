/** PostgreSQL with a synchronous standby that does not answer: what no standby has is not durable, and proves nothing. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { CommitOutcome, EventStore, type StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { execute } from "../support/databases.ts"
import { deposit, open, outcomeOf, quiet, startNode } from "../support/ledgerWorld.ts"
import { OwnServers } from "../support/ownServers.ts"
import { accountId, commandId, storedEvents } from "../support/storedEvents.ts"
import { eventually } from "../support/waiting.ts"

/** Short, so that waits for the standby are given up soon; a commit that got no connection would not have been written at all. */
const limits = {
  ...defaultLimits,
  storeStatementMs: 500,
  storeConnectMs: 5_000,
  storeConnectionMs: 600_000,
  storeReaders: 20,
  commandDeadlineMs: 10_000
}

const storesAt = (url: Redacted.Redacted) =>
  Layer.fresh(Layer.merge(EventStore.layer, Snapshots.layer).pipe(Layer.provide(EventStoreClient.layer(url))))

/** A transaction that writes, if only to the log. */
const writing = "SELECT pg_logical_emit_message(true, 'standby', '')::text"

/** Whether one that writes waits for the standby, which is then cancelled; it ends of itself where none waits. */
const isAwaited = (url: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const waits = sql`SELECT pg_cancel_backend(pid) FROM pg_stat_activity
      WHERE wait_event = 'SyncRep' AND query = ${writing}`
    const probe = yield* Effect.forkChild(execute(url, "SET synchronous_commit = on", writing))
    let isWaiting = false
    const isOver = Effect.map(waits, (rows) => {
      isWaiting ||= rows.length > 0
      return isWaiting || probe.pollUnsafe() !== undefined
    })
    yield* eventually("the probe waits or has ended", Effect.orDie(isOver))
    yield* Fiber.join(probe)
    return isWaiting
  }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })), Effect.orDie)

// The setting counts once the checkpointer has taken it over, which is told of it after all sessions.
const awaitStandby = (url: string) =>
  Effect.andThen(
    execute(
      url,
      "ALTER SYSTEM SET synchronous_standby_names = 'the_standby'",
      "SELECT pg_reload_conf()",
      // This session would wait with its own.
      "SET synchronous_commit = local"
    ),
    eventually("a write waits for the standby", isAwaited(url))
  )
const awaitNoStandby = (url: string) =>
  execute(
    url,
    "SET synchronous_commit = local",
    "ALTER SYSTEM RESET synchronous_standby_names",
    "SELECT pg_reload_conf()",
    // Until then it waits, and is let go.
    "SET synchronous_commit = on",
    writing
  )

it.live("believes nothing that no standby has, until one has it", () =>
  Effect.gen(function* () {
    const { eventStoreUrl } = yield* OwnServers
    yield* Migrations.migrate("event-store", eventStoreUrl)
    const url = Redacted.value(eventStoreUrl)

    yield* Effect.gen(function* () {
      const node = yield* startNode("node", { limits })
      yield* node.send(open("a"))
      const store = yield* EventStore
      const commit = { writerId: "w", seq: 1, events: storedEvents("b", 1, 2) }
      const read: ReadonlyArray<Effect.Effect<ReadonlyArray<unknown>, StoreUnavailable>> = [
        store.findCommands([commandId("b-1")]),
        store.readStreams([{ account: accountId("b"), after: 0 }], 10),
        store.readStream({ account: accountId("b"), after: 0, limit: 10 }),
        store.readEvents([{ account: accountId("b"), version: 1 }]),
        store.readTail({ writerId: "w", after: 0, limit: 10 })
      ]

      yield* awaitStandby(url)
      const sending = yield* Effect.forkChild(Effect.result(node.send(deposit("a", 100n))))
      // The first sending ends by our own cancel, which leaves the rows visible; the second finds them.
      assert.strictEqual((yield* store.commit(commit))._tag, "Unknown")
      assert.strictEqual((yield* store.commit(commit))._tag, "Unknown")
      // Each waits for the standby on a connection of its own, of which there are more.
      const questions: ReadonlyArray<Effect.Effect<unknown, StoreUnavailable>> = [
        ...read,
        store.fenceWriter("w"),
        store.listWriters
      ]
      const refused = yield* Effect.forEach(questions, (one) => Effect.flip(one), {
        concurrency: "unbounded"
      })
      for (const { _tag } of refused) assert.strictEqual(_tag, "StoreUnavailable")
      assert.strictEqual(outcomeOf(yield* Fiber.join(sending)), "Indeterminate")

      yield* awaitNoStandby(url)
      // A connection whose statement was given up may answer one more time that it does not know: then the identical
      // commit, or the read, is sent again, as the pipeline and the loaders do.
      const definite = Effect.repeat(store.commit(commit), {
        until: ({ _tag }) => _tag !== "Unknown",
        times: limits.storeReaders
      })
      assert.deepStrictEqual(yield* definite, CommitOutcome.Committed())
      for (const one of read)
        assert.isAtLeast((yield* Effect.retry(one, { times: limits.storeReaders })).length, 1)
      assert.strictEqual(yield* store.fenceWriter("w"), 2)
    }).pipe(
      Effect.scoped,
      Effect.provide(storesAt(eventStoreUrl)),
      Effect.provideService(LedgerConfig, limits)
    )
  }).pipe(Effect.provide([OwnServers.layer, quiet]))
)
