/** What `chronicle cluster` shows: which node owns which shards and runs which singletons, as far as nodes answer. */
import { Effect, Schedule, Schema } from "effect"
import { Sharding } from "effect/cluster"
import { SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { NodeStatus, ShardEntity, shardEntities } from "./ClusterShards.ts"

export const ClusterStatus = Schema.Struct({
  shards: Schema.Int,
  nodes: Schema.Array(NodeStatus),
  /** Shards whose owner is not known, because no node answered for them in time. */
  unowned: Schema.Array(Schema.Int)
})
export type ClusterStatus = typeof ClusterStatus.Type

/** One singleton of the cluster: a partition of a projection, a reconciler, the search for tails of dead nodes. */
export interface SingletonStatus {
  readonly name: string
  /** The last reported owner. */
  readonly node: string
  /** Milliseconds since it became the owner, and since its last report. */
  readonly heldMs: number
  readonly silentMs: number
  /** The last report is so old that no node can be running it. */
  readonly isUnowned: boolean
}

/** As the owners last reported, in order of name. */
export const singletonsStatus = Effect.gen(function* () {
  const table = yield* SingletonTable
  const { dutySilentMs } = yield* ClusterConfig
  return (yield* table.all).map(
    ({ name, node, heldMs, silentMs }): SingletonStatus => ({
      name,
      node,
      heldMs,
      silentMs,
      isUnowned: silentMs > dutySilentMs
    })
  )
})

/** In order of name, then of address. */
const keyOf = ({ node, address = "" }: NodeStatus): string => `${node} ${address}`

/** Shards that are asked for at once. */
const concurrentAsks = 16

/** Asks each shard's owner, once a node, until it answers or `patienceMs` have passed. */
export const clusterStatus = Effect.fn("ClusterStatus.of")(function* (patienceMs: number) {
  const sharding = yield* Sharding.Sharding
  const { shards, retryMs } = yield* ClusterConfig
  const entity = yield* ShardEntity.client
  const names = shardEntities(sharding, shards)
  /** By address: a node may run twice under one name, as where a frozen one came back beside the one that took its place. */
  const nodes = new Map<string, NodeStatus>()
  const isAnswered = (shard: number) => [...nodes.values()].some((node) => node.shards.includes(shard))
  const ask = (shard: number) =>
    Effect.suspend(() =>
      // The answer of a node that was asked about another shard names this one too.
      isAnswered(shard) ? Effect.void : Effect.map(entity(names[shard] ?? "").Status(), remember)
    )
  const remember = (status: NodeStatus): void => {
    nodes.set(status.address ?? status.node, status)
  }
  const numbers = Array.from({ length: shards }, (_, index) => index + 1)
  yield* Effect.forEach(
    numbers,
    (shard) =>
      ask(shard).pipe(
        Effect.sandbox,
        // A shard that is moving between two nodes has no owner for a moment.
        Effect.retry(Schedule.spaced(retryMs)),
        Effect.timeoutOption(patienceMs),
        Effect.ignore
      ),
    { concurrency: concurrentAsks, discard: true }
  )
  return {
    shards,
    nodes: [...nodes.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)),
    unowned: numbers.filter((shard) => !isAnswered(shard))
  } satisfies ClusterStatus
})
