/** What the members of a cluster say of themselves, gathered: each of them once, also where two have one name. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { ShardId, Sharding } from "effect/cluster"
import type { NodeStatus } from "../../src/actors/cluster/ClusterShards.ts"
import { clusterStatus } from "../../src/actors/cluster/ClusterStatus.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"

const shards = 4
const ofNode = (node: string, own: ReadonlyArray<number>, address?: string): NodeStatus => ({
  node,
  shards: own,
  actors: 0,
  inFlight: 0,
  borrowed: 0,
  lapsed: 0,
  committed: 0,
  conflicts: 0,
  ...(address === undefined ? {} : { address })
})

/** All of the cluster that the question uses: the shard `n` of the entity `shard-<n - 1>`, and who answers for it. */
const statusOver = (nodes: ReadonlyArray<NodeStatus>) => {
  const numberOf = (entity: string) => Number(entity.split("-")[1]) + 1
  const sharding = {
    getShardId: (entity: string) => ShardId.make("default", numberOf(entity)),
    makeClient: () =>
      Effect.succeed((entity: string) => ({
        Status: () => {
          const owner = nodes.find((one) => one.shards.includes(numberOf(entity)))
          return owner === undefined ? Effect.never : Effect.succeed(owner)
        }
      }))
  } as never
  return clusterStatus(50).pipe(
    Effect.provideService(Sharding.Sharding, sharding),
    Effect.provideService(ClusterConfig, { ...defaultClusterLimits, shards })
  )
}

it.live("two nodes of one name are two, and the shards of both have an owner", () =>
  Effect.gen(function* () {
    const first = ofNode("node-0", [1, 3], "10.0.0.2:7")
    const second = ofNode("node-0", [2], "10.0.0.1:7")
    const status = yield* statusOver([first, second])
    assert.deepStrictEqual(status.nodes, [second, first])
    assert.deepStrictEqual(status.unowned, [4])
  })
)

it.live("a node of an earlier version, which does not say its address, is told by its name", () =>
  Effect.gen(function* () {
    const status = yield* statusOver([ofNode("node-1", [1, 2]), ofNode("node-0", [3, 4], "10.0.0.1:7")])
    assert.deepStrictEqual(
      status.nodes.map(({ node }) => node),
      ["node-0", "node-1"]
    )
    assert.deepStrictEqual(status.unowned, [])
  })
)
