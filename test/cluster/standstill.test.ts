/**
 * A store that stands still, with real processes: nothing that was accepted is missing from what the owners tell and
 * decide afterwards. `bench/cluster/standstill.ts` runs all lengths of a standstill.
 */
import { assert, inject, it } from "@effect/vitest"
import { Effect } from "effect"
import { freshDatabase, freshEventStore } from "../support/databases.ts"
import {
  accountsTakenOver,
  type Faults,
  leasesOutlasted,
  type StandstillServices
} from "../support/standstill.ts"

const run = (
  scenario: (
    services: StandstillServices
  ) => Effect.Effect<
    { readonly accepted: number; readonly faults: Faults },
    never,
    Effect.Services<ReturnType<typeof leasesOutlasted>>
  >
) =>
  Effect.gen(function* () {
    const eventStoreUrl = yield* freshEventStore(inject("postgresUrl"))
    const locksUrl = yield* freshDatabase(inject("postgresUrl"))
    const { accepted, faults } = yield* scenario({ eventStoreUrl, locksUrl })
    assert.isAbove(accepted, 5)
    assert.deepStrictEqual(faults, [])
  })

it.live.each([500, 5_000])(
  "a transfer whose commit outlasts its lease is known to the receiver's owner (%i ms)",
  (ms) => run((services) => leasesOutlasted(services, ms)),
  120_000
)

it.live.each(["SIGTERM", "SIGKILL"] as const)(
  "accounts are served with what their former node was writing when it went (%s)",
  (signal) => run((services) => accountsTakenOver(services, 5_000, signal)),
  120_000
)
