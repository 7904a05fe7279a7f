/**
 * A store that stands still, with real processes: nothing that was accepted is missing from what the owners tell and decide
 * afterwards, and nothing lands that was refused for good. One length and place for each way in which accounts change
 * hands; `bench/cluster/standstill.ts` runs all lengths at all places.
 */
import { assert, describe, inject, it } from "@effect/vitest"
import { Array, Effect } from "effect"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import { type Place, scenarios } from "../support/standstill.ts"

const cases: ReadonlyArray<readonly [what: string, millis: number, place: Place]> = [
  ["leases outlasted", 500, "middle"],
  ["leases outlasted", 5_000, "begin"],
  ["leases outlasted", 2_000, "end"],
  ["shards moved to a node that joins", 2_000, "middle"],
  ["a node ended", 5_000, "begin"],
  ["a node killed", 5_000, "end"],
  ["ids refused by the next owner", 5_000, "middle"],
  ["readings outlived by a shard that came back", 5_000, "begin"]
]

/** Two at once: most of the time of each the log stands still. */
const onStore = (store: string, url: string) => {
  for (const pair of Array.chunksOf(cases, 2)) {
    describe("a store that stands still", () => {
      it.live.each(pair)(
        `%s, the log standing still for %i ms at the %s of commits: owners know what landed (${store})`,
        ([what, millis, place]) =>
          Effect.gen(function* () {
            const eventStoreUrl = yield* freshEventStore(url)
            const locksUrl = yield* freshDatabase(inject("postgresUrl"))
            const scenario = scenarios[what] ?? assert.fail(`no scenario is called ${what}`)
            const { accepted, faults } = yield* scenario({ eventStoreUrl, locksUrl }, { millis, place })
            assert.isAbove(accepted, 0)
            assert.deepStrictEqual(faults, [])
          }),
        { concurrent: true }
      )
    })
  }
}

onStore("PostgreSQL", inject("postgresUrl"))

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL
if (cockroachUrl !== undefined) onStore("CockroachDB", cockroachUrl)
