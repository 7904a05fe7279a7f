/** Tells which node owns which account, by asking the nodes as a client of the cluster that owns nothing itself. */
import { Effect, Layer, type Redacted } from "effect"
import { type ClusterStatus, clusterStatus } from "../../../src/actors/cluster/ClusterStatus.ts"
import type { AccountId } from "../../../src/domain/Ids.ts"
import { shardOf } from "../../../src/domain/Shard.ts"
import * as ClusterRunner from "../../../src/infra/cluster/ClusterRunner.ts"
import { ClusterConfig, type ClusterLimits } from "../../../src/infra/config/ClusterConfig.ts"
import { eventually } from "../waiting.ts"
import type { ServedNode } from "./servedNode.ts"

const answerMs = 2_000
/** Longer than the nodes take to notice that one of them has come back. */
const calmMs = 2_000

/** Whether exactly these nodes own all shards, each shard once. */
const isSettled = ({ nodes, unowned, shards }: ClusterStatus, names: ReadonlyArray<string>) =>
  unowned.length === 0 &&
  nodes.map(({ node }) => node).join() === [...names].sort().join() &&
  nodes.reduce((sum, node) => sum + node.shards.length, 0) === shards

export const makeAccountOwners = Effect.fnUntraced(function* (
  locksUrl: Redacted.Redacted,
  limits: ClusterLimits
) {
  const client = ClusterRunner.layerClient(locksUrl).pipe(Layer.provide(Layer.succeed(ClusterConfig, limits)))
  const context = yield* Layer.build(client)
  const status = clusterStatus(answerMs).pipe(
    Effect.provide(context),
    Effect.provideService(ClusterConfig, limits)
  )
  /** The shards of each node as text, or undefined unless exactly these nodes own all shards. */
  const placement = (names: ReadonlyArray<string>) =>
    Effect.map(status, (current) =>
      isSettled(current, names)
        ? JSON.stringify(current.nodes.map(({ node, shards }) => [node, shards]))
        : undefined
    )
  return {
    /**
     * Waits until those of these nodes that take commands, and no other, own all accounts and no account has moved for a while.
     * Dies after `seconds`.
     */
    awaitSettled: (nodes: ReadonlyArray<Pick<ServedNode, "name" | "role">>, seconds: number) =>
      Effect.suspend(() => {
        const names = nodes.flatMap(({ name, role }) => (role === "read-side" ? [] : [name]))
        let last: string | undefined
        let since = 0
        const isLasting = Effect.map(placement(names), (now) => {
          if (now === undefined || now !== last) since = performance.now()
          last = now
          return now !== undefined && performance.now() - since > calmMs
        })
        return eventually(`${names.join(", ")} own all accounts`, isLasting, seconds)
      }),
    /** The accounts among these that the node says it owns. */
    ownedBy: (name: string, accounts: ReadonlyArray<string>) =>
      Effect.map(status, ({ nodes }) => {
        const shards = new Set(nodes.find(({ node }) => node === name)?.shards)
        return accounts.filter((account) => shards.has(shardOf(account as AccountId, limits)))
      })
  }
})

export type AccountOwners = Effect.Success<ReturnType<typeof makeAccountOwners>>
