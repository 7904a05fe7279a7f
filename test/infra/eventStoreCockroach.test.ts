/** The same as on PostgreSQL, on the CockroachDB that CHRONICLE_TEST_COCKROACH_URL names, and what holds there alone. */
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { execute, freshEventStore } from "../support/databases.ts"
import { eventStoreContract } from "./eventStoreContract.ts"
import { eventStoreFaults } from "./eventStoreFaults.ts"
import { eventStoreLaw } from "./eventStoreLaw.ts"
import { askEverything, fillLog } from "./everyRead.ts"
import { twoClients } from "./twoClients.ts"

const url = process.env.CHRONICLE_TEST_COCKROACH_URL

if (url === undefined) {
  describe("the event store (CockroachDB)", () => {
    it.skip("runs when CHRONICLE_TEST_COCKROACH_URL is set", () => {})
  })
} else {
  eventStoreContract("CockroachDB", twoClients(url))
  eventStoreFaults("CockroachDB", url)
  eventStoreLaw("CockroachDB", url, 10)

  it.live("scans no table of the log as a whole (CockroachDB)", () =>
    Effect.gen(function* () {
      const fresh = yield* freshEventStore(url)
      yield* Effect.gen(function* () {
        yield* fillLog(2_000)
        yield* execute(
          fresh,
          "CREATE STATISTICS of_events FROM events",
          "CREATE STATISTICS of_snapshots FROM snapshots"
        )
        const { reads } = yield* EventStoreClient
        // Of the only session of this pool: the server refuses a statement then that it would answer by a scan of all.
        yield* reads.unsafe("SET disallow_full_table_scans = on")
        yield* askEverything
      }).pipe(
        Effect.provide(
          Layer.fresh(
            Layer.provideMerge(
              Layer.merge(EventStore.layer, Snapshots.layer),
              EventStoreClient.layer(Redacted.make(fresh))
            )
          )
        ),
        Effect.provideService(LedgerConfig, { ...defaultLimits, storeReaders: 1 })
      )
    })
  )
}
