/** What a node says of a bus that keeps less than it could; over real servers see busNatsCluster.test.ts. */
import { assert, it } from "@effect/vitest"
import { type BusSeen, doubtsOf } from "../../src/infra/bus/BusDoubts.ts"

const shipped: BusSeen = {
  version: "2.14.7",
  cluster: "chronicle",
  isLoopback: false,
  stream: "EVENTS",
  replicas: 3,
  replicasWanted: 3
}

it("says nothing of the servers as they are shipped, and of a single one of today", () => {
  assert.deepStrictEqual(doubtsOf(shipped), [])
  assert.deepStrictEqual(doubtsOf({ ...shipped, cluster: undefined, replicas: 1, replicasWanted: 1 }), [])
})

it("says that a server cannot sync, unless it is a development stack's", () => {
  for (const version of ["2.9.25", "1.4.1"]) {
    const [doubt = "", ...others] = doubtsOf({ ...shipped, version })
    assert.include(doubt, `nats-server ${version} cannot sync`)
    assert.deepStrictEqual(others, [])
    assert.deepStrictEqual(doubtsOf({ ...shipped, version, isLoopback: true }), [])
  }
  for (const version of ["2.10.0", "2.10.0-beta.1", "3.0.0"]) {
    assert.deepStrictEqual(doubtsOf({ ...shipped, version }), [])
  }
})

it("says that a stream is on other than the wanted number of servers, with the command that mends it", () => {
  for (const [replicas, replicasWanted] of [
    [1, 3],
    [3, 1],
    [3, 5]
  ] as const) {
    const doubts = doubtsOf({ ...shipped, replicas, replicasWanted })
    assert.strictEqual(doubts.length, 1)
    assert.include(
      doubts[0],
      `on ${replicas} of the servers, but CHRONICLE_NATS_REPLICAS is ${replicasWanted}`
    )
    assert.include(doubts[0], `nats stream edit EVENTS --replicas ${replicasWanted}`)
  }
})

it("says that a stream is on one server of a cluster", () => {
  const [doubt = "", ...others] = doubtsOf({ ...shipped, replicas: 1, replicasWanted: 1 })
  assert.include(doubt, "on one server of the cluster chronicle")
  assert.deepStrictEqual(others, [])
})
