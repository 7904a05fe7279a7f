/** A batch over accounts of several nodes takes effect on every account in its order. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

const nodes = 3

it.live("a chain of transfers over three nodes is accepted in one batch", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const cluster = new SimulatedCluster(nodes, nodes)
    const started = yield* Effect.forEach([0, 1, 2], (index) =>
      Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index) }), (node) =>
        Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    )
    const accounts = Array.from({ length: 9 }, (_, nth) => `a${nth}`)
    // Each command but the first needs what the one before it did, on an account of another node.
    const batch = [
      ...accounts.map((account) => open(account)),
      deposit("a0", 100n, "in"),
      ...accounts
        .slice(1)
        .flatMap((to, nth) => [
          transfer(`a${nth}`, to, 100n, `on-${nth}`),
          withdraw(to, 1n, `fee-${nth}`),
          deposit(to, 1n, `back-${nth}`)
        ]),
      withdraw("a8", 100n, "out")
    ].map(toCommand)
    for (const [nth, { dispatcher }] of started.entries()) {
      const results = yield* dispatcher.dispatchMany(batch)
      const expected = nth === 0 ? "Accepted" : "Replayed"
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { [expected]: batch.length })
    }
    assert.lengthOf(yield* readStream(store, "a4"), 5)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)
