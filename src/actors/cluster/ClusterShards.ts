/** Placement by the shards of Effect Cluster: which accounts this node owns for certain, and messages to the owners of others. */
import { Clock, Context, Effect, Layer, Schema } from "effect"
import { ClusterSchema, Entity, EntityId, Sharding } from "effect/cluster"
import { Rpc } from "effect/rpc"
import type { AccountId } from "../../domain/Ids.ts"
import { LockCertainty } from "../../infra/cluster/ClusterRunner.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { type Answer, NotMine, PeerBusy, Placement, type Placing } from "../accounts/Placement.ts"
import { makeSendToPeer, PeerReply, PeerRequest, type PeerResponse } from "./PeerMessages.ts"

const shardGroup = "default"
/** Replies that wait in this node to be read, of one message. */
const repliesMax = 500

/** What a node says of itself. */
export const NodeStatus = Schema.Struct({
  node: Schema.String,
  /** Shards it owns, by their numbers. */
  shards: Schema.Array(Schema.Int),
  /** Accounts in memory. */
  actors: Schema.Int,
  inFlight: Schema.Int,
  /** Accounts of others that it decides on just now. */
  borrowed: Schema.Int,
  /** Accounts it lent and did not get back in time. */
  lapsed: Schema.Int,
  committed: Schema.Int,
  /** Accounts that another writer wrote to while this node believed to own them. */
  conflicts: Schema.Int
})
export type NodeStatus = typeof NodeStatus.Type

/** One entity a shard, not one an account: it carries what comes from other nodes, and is bounded in number. */
export const ShardEntity = Entity.make("chronicle-shard", [
  Rpc.make("Letter", { payload: { letter: PeerRequest }, success: PeerReply }),
  /** Each reply as soon as it is there: no letter waits for another's answer. */
  Rpc.make("Letters", { payload: { letters: Schema.Array(PeerRequest) }, success: PeerReply, stream: true }),
  Rpc.make("Status", { success: NodeStatus })
  // A command carries its own trace; a span a message would cost more than the message.
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
  }
>()("chronicle/actors/ClusterShards") {
  static readonly layer = Layer.effect(
    ClusterShards,
    Effect.gen(function* () {
      const { shards } = yield* ClusterConfig
      const owned = new Array<boolean>(shards + 1).fill(false)
      return {
        entities: shardEntities(yield* Sharding.Sharding, shards),
        owned,
        set: (shard, isOwned) => {
          owned[shard] = isOwned
        }
      }
    })
  )
}

const makePlacing = Effect.gen(function* () {
  const sharding = yield* Sharding.Sharding
  const certainty = yield* LockCertainty
  const wall = yield* Clock.Clock
  const { entities, owned } = yield* ClusterShards
  const { leaseMs } = yield* ClusterConfig
  const entity = yield* ShardEntity.client
  const groupOf = (account: AccountId): number => sharding.getShardId(EntityId.make(account), shardGroup).id
  const owner = (shard: number) => entity(entities[shard] ?? "")
  const post = yield* makeSendToPeer({
    one: (shard, letter) => owner(shard).Letter({ letter }),
    many: (shard, letters) => owner(shard).Letters({ letters }, { streamBufferSize: repliesMax })
  })
  const write = (account: AccountId, letter: PeerRequest) => post(groupOf(account), letter)
  /** Where the cluster does not deliver, or the owner is losing the shard, the account is moving: nothing was done. */
  const moving = Effect.fail(new NotMine())
  const refusalOf = (said: PeerResponse) => (said._tag === "Refused" ? Effect.fail(said.error) : moving)

  return {
    owns: (account) => owned[groupOf(account)] === true && wall.currentTimeMillisUnsafe() < certainty.untilMs,
    groupOf,
    dispatch: (account, commands) => {
      const unknown = (): ReadonlyArray<Answer> => commands.map(() => ({ _tag: "Unknown" }))
      return write(account, { _tag: "Dispatch", commands }).pipe(
        Effect.map((said) => (said._tag === "Answers" ? said.answers : unknown())),
        Effect.catch(({ isFull }) => (isFull ? Effect.fail(new PeerBusy()) : Effect.succeed(unknown())))
      )
    },
    head: (account) =>
      write(account, { _tag: "Head", account }).pipe(
        Effect.catch(() => moving),
        Effect.flatMap((said) => (said._tag === "Head" ? Effect.succeed(said.head) : refusalOf(said))),
        // The union of refusals has it, but no node refuses a head for want of memory.
        Effect.catchTag("Overloaded", () => moving)
      ),
    borrow: (account, lease) =>
      write(account, { _tag: "Borrow", account, lease }).pipe(
        Effect.catch(() => moving),
        Effect.flatMap((said) => (said._tag === "Lent" ? Effect.succeed(said.loan) : refusalOf(said)))
      ),
    giveBack: (account, lease, given) =>
      write(account, { _tag: "GiveBack", account, lease, given }).pipe(
        Effect.timeoutOption(leaseMs),
        Effect.catchCause((cause) => Effect.logDebug("an account was not given back", cause)),
        Effect.asVoid
      )
  } satisfies Placing
})

/** This node's place among those that share its shards. */
export const layerPlacement = Layer.effect(Placement, makePlacing)
