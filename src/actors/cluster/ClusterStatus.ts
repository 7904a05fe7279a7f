/** The shards of a cluster, and what its nodes do for all, enter; who has what, and how each node is, leave. */
import { Effect, Option, Schema } from "effect"
import { Sharding } from "effect/cluster"
import { SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { NodeStatus, ShardEntity, shardEntities } from "./ClusterShards.ts"

export const ClusterStatus = Schema.Struct({
  shards: Schema.Int,
  nodes: Schema.Array(NodeStatus),
  /** Shards that no node answered for. */
  unowned: Schema.Array(Schema.Int)
})
export type ClusterStatus = typeof ClusterStatus.Type

/** What one node does for all: a partition of a projection, a sweep, the look for tails of dead nodes. */
export const DutyStatus = Schema.Struct({
  duty: Schema.String,
  /** Who said last that it has it. */
  node: Schema.String,
  /** For how long, in milliseconds, … */
  heldMs: Schema.Finite,
  /** … and since when it did not say so. */
  silentMs: Schema.Finite,
  /** So long silent that nobody does it. */
  isNobodys: Schema.Boolean
})
export type DutyStatus = typeof DutyStatus.Type

/** What the nodes said last, in order of name. */
export const dutiesStatus = Effect.gen(function* () {
  const roster = yield* SingletonTable
  const { dutySilentMs } = yield* ClusterConfig
  return (yield* roster.all).map(({ duty, node, heldMs, silentMs }): DutyStatus => {
    const isNobodys = silentMs > dutySilentMs
    return { duty, node, heldMs, silentMs, isNobodys }
  })
})

/** Shards that are asked for at once. */
const asked = 16

/** Asks each shard's owner, once a node; a shard whose owner does not answer within `patienceMs` is not owned. */
export const clusterStatus = Effect.fn("ClusterStatus.of")(function* (patienceMs: number) {
  const sharding = yield* Sharding.Sharding
  const { shards } = yield* ClusterConfig
  const entity = yield* ShardEntity.client
  const names = shardEntities(sharding, shards)
  const nodes = new Map<string, NodeStatus>()
  const isAnswered = (shard: number) => [...nodes.values()].some((node) => node.shards.includes(shard))
  const ask = (shard: number) =>
    Effect.suspend(() =>
      // What its owner said when it was asked about another shard holds for this one too.
      isAnswered(shard)
        ? Effect.void
        : entity(names[shard] ?? "")
            .Status()
            .pipe(
              Effect.timeoutOption(patienceMs),
              Effect.catchCause(() => Effect.succeed(Option.none<NodeStatus>())),
              Effect.tap((status) =>
                Effect.sync(() => {
                  if (Option.isSome(status)) nodes.set(status.value.node, status.value)
                })
              )
            )
    )
  const numbers = Array.from({ length: shards }, (_, index) => index + 1)
  yield* Effect.forEach(numbers, ask, { concurrency: asked, discard: true })
  return {
    shards,
    nodes: [...nodes.values()].sort((a, b) => (a.node < b.node ? -1 : 1)),
    unowned: numbers.filter((shard) => !isAnswered(shard))
  } satisfies ClusterStatus
})
