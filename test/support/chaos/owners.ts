/** The database of the locks enters; which node owns which account, asked of the nodes by a stranger, leaves. */
import { Effect, Layer, type Redacted } from "effect"
import { EntityId, Sharding } from "effect/cluster"
import { type ClusterStatus, clusterStatus } from "../../../src/actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../../../src/infra/cluster/ClusterRunner.ts"
import { ClusterConfig, type ClusterLimits } from "../../../src/infra/config/ClusterConfig.ts"
import { eventually } from "../waiting.ts"

const patienceMs = 2_000
/** Longer than the nodes take to notice that one of them is back. */
const calmMs = 2_000

/** Exactly these nodes own everything, each shard once. */
const isSettled = ({ nodes, unowned, shards }: ClusterStatus, names: ReadonlyArray<string>) =>
  unowned.length === 0 &&
  nodes.map(({ node }) => node).join() === [...names].sort().join() &&
  nodes.reduce((sum, node) => sum + node.shards.length, 0) === shards

export const makeOwners = Effect.fnUntraced(function* (locksUrl: Redacted.Redacted, limits: ClusterLimits) {
  const client = ClusterRunner.layerClient(locksUrl).pipe(Layer.provide(Layer.succeed(ClusterConfig, limits)))
  const context = yield* Layer.build(client)
  const sharding = yield* Effect.provide(Sharding.Sharding, context)
  const status = clusterStatus(patienceMs).pipe(
    Effect.provide(context),
    Effect.provideService(ClusterConfig, limits)
  )
  /** Who owns what, as long as exactly these nodes own everything. */
  const placed = (names: ReadonlyArray<string>) =>
    Effect.map(status, (one) =>
      isSettled(one, names) ? JSON.stringify(one.nodes.map(({ node, shards }) => [node, shards])) : undefined
    )
  const shardOf = (account: string) => sharding.getShardId(EntityId.make(account), "default").id
  return {
    /** Waits until exactly these nodes own all accounts, and no account has moved for a while; dies after so many seconds. */
    settled: (names: ReadonlyArray<string>, seconds: number) =>
      Effect.suspend(() => {
        let last: string | undefined
        let since = 0
        const isLasting = Effect.map(placed(names), (now) => {
          if (now === undefined || now !== last) since = performance.now()
          last = now
          return now !== undefined && performance.now() - since > calmMs
        })
        return eventually(`${names.join(", ")} own all accounts`, seconds, isLasting)
      }),
    /** Those of the accounts that the node says it owns. */
    ownedBy: (name: string, accounts: ReadonlyArray<string>) =>
      Effect.map(status, ({ nodes }) => {
        const shards = new Set(nodes.find(({ node }) => node === name)?.shards)
        return accounts.filter((account) => shards.has(shardOf(account)))
      })
  }
})

export type Owners = Effect.Success<ReturnType<typeof makeOwners>>
