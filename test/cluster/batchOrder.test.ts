/** A batch over accounts of several nodes takes effect on every account in its order. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Placing } from "../../src/actors/accounts/Placement.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
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

it.live("a batch keeps its order where a shard leaves this node between two waves of it", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(2, 3)
    const placement = cluster.placementOf(0)
    let isMoving = false
    /** Group 0 leaves for the other node while the first wave is there; the message that follows it takes long. */
    const moving: Placing = {
      ...placement,
      dispatch: (account, commands) =>
        placement.dispatch(account, commands).pipe(
          Effect.tap(() => {
            if (!isMoving) return Effect.void
            isMoving = false
            cluster.script = () => "slow"
            return cluster.move(0, 1)
          })
        )
    }
    const node = yield* startNode("node-0", { placement: moving })
    cluster.join(0, node.dispatcher.localNode)
    const other = yield* startNode("node-1", { placement: cluster.placementOf(1) })
    cluster.join(1, other.dispatcher.localNode)
    yield* fund(node, ["p1", "x0", "y2", "z2"], 100n)
    isMoving = true
    // Each takes all that the one before brought: the first is of the other node, the others of this one at the beginning.
    const batch = [
      transfer("p1", "x0", 100n, "one"),
      transfer("x0", "y2", 200n, "two"),
      transfer("y2", "z2", 300n, "three")
    ].map(toCommand)
    const results = yield* node.dispatcher.dispatchMany(batch)
    assert.deepStrictEqual(results.map(outcomeOf), ["Accepted", "Accepted", "Accepted"])
    assert.strictEqual(cluster.ownerOf("x0"), 1)
    assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a batch of several chunks keeps its order where an account of another node comes late", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(2, 2)
    const started = yield* Effect.forEach([0, 1], (index) =>
      Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index) }), (node) =>
        Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    )
    const [node] = started
    if (node === undefined) return assert.fail("no node was started")
    yield* fund(node, ["a0", "z0", "far1"], 100n)
    cluster.script = () => "slow"
    // The last of the first thousand waits for an account of the other node, and takes all that the next one asks for.
    const batch = [
      ...Array.from({ length: 999 }, (_, nth) => deposit("a0", 1n, `d-${nth}`)),
      transfer("z0", "far1", 100n, "out"),
      withdraw("z0", 100n, "late")
    ].map(toCommand)
    const results = yield* node.dispatcher.dispatchMany(batch)
    assert.deepStrictEqual(results.slice(-2).map(outcomeOf), ["Accepted", "InsufficientFunds"])
    assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)
