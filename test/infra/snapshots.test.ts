/** The contract of the snapshots in memory, on PostgreSQL, and on CockroachDB where its URL is given. */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import type { Head } from "../../src/domain/Head.ts"
import { Asset } from "../../src/domain/Money.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { execute, freshEventStore, TestDatabase, testClient } from "../support/databases.ts"
import { fund, outcomeOf, quiet, startNode, withdraw } from "../support/ledgerWorld.ts"
import { accountId } from "../support/storedEvents.ts"
import { snapshotsContract } from "./snapshotsContract.ts"

const onDatabase = (url: string) =>
  Layer.fresh(Snapshots.layer.pipe(Layer.provide(testClient), Layer.provide(TestDatabase.eventStore(url))))

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL

snapshotsContract("memory", Snapshots.layerMemory)
snapshotsContract("PostgreSQL", onDatabase(inject("postgresUrl")))
if (cockroachUrl !== undefined) snapshotsContract("CockroachDB", onDatabase(cockroachUrl))

it.effect("two stores of snapshots in memory share no row", () =>
  Effect.gen(function* () {
    const own = Layer.fresh(Snapshots.layerMemory)
    yield* Effect.flatMap(Snapshots, ({ save }) => save([opened("alice", 3, 5n)])).pipe(Effect.provide(own))
    const others = Effect.flatMap(Snapshots, ({ latest }) => latest([accountId("alice")]))
    assert.deepStrictEqual(yield* Effect.provide(others, own), [])
  })
)

/** Snapshots over a fresh database, and the means to change their rows by hand. */
const scene = Effect.gen(function* () {
  const url = yield* freshEventStore(inject("postgresUrl"))
  const stores = Layer.fresh(
    Layer.merge(EventStore.layer, Snapshots.layer).pipe(
      Layer.provide(EventStoreClient.layer(Redacted.make(url)))
    )
  )
  return { stores, change: (...statements: ReadonlyArray<string>) => execute(url, ...statements) }
})

const opened = (id: string, version: number, balance: bigint): Head => ({
  account: {
    _tag: "Opened",
    id: accountId(id),
    version,
    status: "open",
    asset: Asset.make("USD/2"),
    owner: "Ada",
    overdraftLimit: 0n,
    balance,
    held: 0n,
    holds: [],
    metadata: {}
  },
  hash: `hash-${version}`,
  recordedAt: 1_000 * version
})

it.live("reads past snapshots that are not whole, of another schema version, or without a digest", () =>
  Effect.gen(function* () {
    const { change, stores } = yield* scene
    yield* Effect.gen(function* () {
      const store = yield* Snapshots
      const ids = ["state", "place", "broken", "newer", "bare", "good"]
      yield* store.save(ids.flatMap((id) => [opened(id, 5, 100n), opened(id, 7, 100n)]))
      yield* change(
        `UPDATE snapshots SET state = replace(state, '"100"', '"5000"') WHERE account_id = 'state' AND version = 7`,
        `UPDATE snapshots SET version = 9 WHERE account_id = 'place' AND version = 7`,
        `UPDATE snapshots SET state = '{}' WHERE account_id = 'broken' AND version = 7`,
        `UPDATE snapshots SET schema_version = schema_version + 1 WHERE account_id = 'newer' AND version = 7`,
        `UPDATE snapshots SET digest = NULL WHERE account_id = 'bare' AND version = 7`
      )
      const found = yield* store.latest(ids.map(accountId))
      assert.deepStrictEqual(Object.fromEntries(found.map(({ account }) => [account.id, account.version])), {
        state: 5,
        place: 5,
        broken: 5,
        newer: 5,
        bare: 5,
        good: 7
      })
      assert.deepStrictEqual(
        yield* store.before(accountId("state"), { version: 8 }),
        opened("state", 5, 100n)
      )
      assert.deepStrictEqual(
        yield* store.before(accountId("state"), { recordedAt: 7_000 }),
        opened("state", 5, 100n)
      )
      // The next fold of the account saves it once more.
      yield* store.save([opened("state", 7, 100n)])
      assert.deepStrictEqual(yield* store.latest([accountId("state")]), [opened("state", 7, 100n)])
    }).pipe(Effect.provide(stores))
  }).pipe(Effect.provide(quiet))
)

it.live("refuses a withdrawal that only a changed snapshot would cover", () =>
  Effect.gen(function* () {
    const { change, stores } = yield* scene
    yield* Effect.gen(function* () {
      const limits = { snapshotEvery: 2 }
      const first = yield* startNode("first", { limits })
      yield* fund(first, ["a"], 10_000n)
      const snapshots = yield* Snapshots
      yield* snapshots
        .latest([accountId("a")])
        .pipe(Effect.delay("20 millis"), Effect.repeat({ until: (found) => found.length > 0 }))
      yield* first.stop
      yield* change(`UPDATE snapshots SET state = replace(state, '"10000"', '"500000"')`)
      const second = yield* startNode("second", { limits })
      assert.strictEqual(
        outcomeOf(yield* Effect.result(second.send(withdraw("a", 500_000n)))),
        "InsufficientFunds"
      )
      assert.strictEqual(outcomeOf(yield* Effect.result(second.send(withdraw("a", 10_000n)))), "Accepted")
      const past = yield* second.travel.at(accountId("a"), { _tag: "Version", version: 2 })
      assert.deepInclude(past.head.account, { balance: 10_000n })
    }).pipe(Effect.scoped, Effect.provide(stores))
  }).pipe(Effect.provide(quiet))
)
