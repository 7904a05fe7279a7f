/** PostgreSQL with a synchronous standby that does not answer: what no standby has is not durable, and proves nothing. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { CommitOutcome, EventStore, type StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { execute } from "../support/databases.ts"
import { deposit, open, outcomeOf, quiet, startNode } from "../support/ledgerWorld.ts"
import { OwnServers } from "../support/ownServers.ts"
import { accountId, commandId, storedEvents } from "../support/storedEvents.ts"

/** Short, so that waits for the standby are given up soon. */
const limits = {
  ...defaultLimits,
  storeStatementMs: 500,
  storeConnectMs: 1_500,
  storeConnectionMs: 600_000,
  storeReaders: 20,
  commandDeadlineMs: 6_000
}

const storesAt = (url: Redacted.Redacted) =>
  Layer.fresh(Layer.merge(EventStore.layer, Snapshots.layer).pipe(Layer.provide(EventStoreClient.layer(url))))

const awaitStandby = (url: string) =>
  execute(
    url,
    "ALTER SYSTEM SET synchronous_standby_names = 'the_standby'",
    "SELECT pg_reload_conf()",
    // A session of before takes the setting over before its next statement; this one would wait with its own.
    "SET synchronous_commit = local",
    "SELECT pg_sleep(0.5)"
  )
const awaitNoStandby = (url: string) =>
  execute(
    url,
    "SET synchronous_commit = local",
    "ALTER SYSTEM RESET synchronous_standby_names",
    "SELECT pg_reload_conf()",
    "SELECT pg_sleep(0.5)"
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
