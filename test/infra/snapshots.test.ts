/** The contract of the snapshots in memory, on PostgreSQL, and on CockroachDB where its URL is given. */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { accountSchemaVersion } from "../../src/domain/Account.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { execute, freshEventStore, TestDatabase, testClient } from "../support/databases.ts"
import { accountId } from "../support/storedEvents.ts"
import { snapshotsContract } from "./snapshotsContract.ts"

const onDatabase = (url: string) =>
  Layer.fresh(Snapshots.layer.pipe(Layer.provide(testClient), Layer.provide(TestDatabase.eventStore(url))))

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL

snapshotsContract("memory", Snapshots.layerMemory)
snapshotsContract("PostgreSQL", onDatabase(inject("postgresUrl")))
if (cockroachUrl !== undefined) snapshotsContract("CockroachDB", onDatabase(cockroachUrl))

it.live("snapshots of another schema version and broken ones are as good as none", () =>
  Effect.gen(function* () {
    const url = yield* freshEventStore(inject("postgresUrl"))
    const insert = (id: string, schemaVersion: number, state: string) =>
      `INSERT INTO snapshots (account_id, schema_version, version, recorded_at, state, hash)
       VALUES ('${id}', ${schemaVersion}, 7, now(), '${state}', 'h')`
    const absent = (id: string) => JSON.stringify({ _tag: "Absent", id, version: 7 })
    yield* execute(
      url,
      insert("newer", accountSchemaVersion + 1, absent("newer")),
      insert("broken", accountSchemaVersion, "{}"),
      insert("good", accountSchemaVersion, absent("good"))
    )
    const ids = ["newer", "broken", "good"].map((id) => accountId(id))
    const found = yield* Effect.flatMap(Snapshots, (store) => store.latest(ids)).pipe(
      Effect.provide(
        Layer.fresh(Snapshots.layer.pipe(Layer.provide(EventStoreClient.layer(Redacted.make(url)))))
      )
    )
    assert.deepStrictEqual(
      found.map((head) => head.account.id),
      [accountId("good")]
    )
  })
)
