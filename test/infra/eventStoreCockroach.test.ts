/** The same as on PostgreSQL, on the CockroachDB that CHRONICLE_TEST_COCKROACH_URL names. */
import { describe, it } from "@effect/vitest"
import { eventStoreContract } from "./eventStoreContract.ts"
import { eventStoreFaults } from "./eventStoreFaults.ts"
import { eventStoreLaw } from "./eventStoreLaw.ts"
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
}
