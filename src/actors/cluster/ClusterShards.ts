/**
 * The shards of the cluster as this node has them: shares of the accounts that Effect Cluster gives to one node at a time, and
 * the answer of a node that is asked about its own.
 */
import { Context, Effect, Layer, Schema } from "effect"
import { ClusterSchema, Entity, EntityId, Sharding } from "effect/cluster"
import { Rpc } from "effect/rpc"
import type { OwnedShards } from "../../domain/Shard.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"

const shardGroup = "default"

/** What a node says of itself. */
export const NodeStatus = Schema.Struct({
  node: Schema.String,
  /** Shards it owns, by their numbers. */
  shards: Schema.Array(Schema.Int),
  /** Accounts in memory. */
  actors: Schema.Int,
  inFlight: Schema.Int,
  /** Accounts that it holds on lease from others, or has asked for. */
  borrowed: Schema.Int,
  /** Accounts it leased to others that were not returned in time. */
  lapsed: Schema.Int,
  committed: Schema.Int,
  /** Accounts that another writer wrote to while this node believed to own them. */
  conflicts: Schema.Int,
  /** Where the others reach it, `host:port`, by which two nodes of one name are told apart; a node of an earlier version does not say. */
  address: Schema.optionalKey(Schema.String)
})
export type NodeStatus = typeof NodeStatus.Type

/** One entity a shard, which tells who owns it; what is asked about accounts goes another way (Peers.ts). */
export const ShardEntity = Entity.make("chronicle-shard", [
  Rpc.make("Status", { success: NodeStatus })
]).annotate(ClusterSchema.ClientTracingEnabled, false)

/** The entity of each shard, by the shard's number; index 0 is none. */
export const shardEntities = (
  sharding: Sharding.Sharding["Service"],
  shards: number
): ReadonlyArray<string> => {
  const names = new Array<string>(shards + 1).fill("")
  // The first name that falls into a shard speaks for it, on every node the same.
  for (let nth = 0, found = 0; found < shards; nth++) {
    const name = `shard-${nth}`
    const { id } = sharding.getShardId(EntityId.make(name), shardGroup)
    if (names[id] !== "") continue
    names[id] = name
    found++
  }
  return names
}

/** The shards of this node, which the cluster gives and takes. */
export class ClusterShards extends Context.Service<
  ClusterShards,
  {
    /** The entity (and the singleton) of each shard, by the shard's number from 1. */
    readonly entities: ReadonlyArray<string>
    /** True from when the shard was given to this node until it is taken. */
    readonly owned: ReadonlyArray<boolean>
    readonly set: (shard: number, isOwned: boolean) => void
    /** What callers are told. */
    readonly told: () => OwnedShards
  }
>()("chronicle/actors/ClusterShards") {
  static readonly layer = Layer.effect(
    ClusterShards,
    Effect.gen(function* () {
      const { shards, affinitySegments } = yield* ClusterConfig
      const owned = new Array<boolean>(shards + 1).fill(false)
      let change = 0
      return {
        entities: shardEntities(yield* Sharding.Sharding, shards),
        owned,
        set: (shard, isOwned) => {
          if (owned[shard] === isOwned) return
          owned[shard] = isOwned
          change++
        },
        told: () => {
          const numbers = owned.flatMap((isOwned, shard) => (isOwned ? [shard] : []))
          return { change, rule: { shards, affinitySegments }, owned: numbers }
        }
      }
    })
  )
}
