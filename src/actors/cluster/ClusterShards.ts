/** Effect Cluster's shards enter; which accounts this node owns for certain, and messages to the owners of others, leave. */
import { Cause, Clock, Context, Effect, Layer, Option, Schema } from "effect"
import { type ClusterError, ClusterSchema, Entity, EntityId, Sharding } from "effect/cluster"
import { Rpc } from "effect/rpc"
import { Command } from "../../domain/Command.ts"
import { Overloaded, Unavailable } from "../../domain/Errors.ts"
import { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/ClusterConfig.ts"
import { LockCertainty } from "../../infra/ClusterRunner.ts"
import { Answer, GivenBack, HeadSent, Loan, NotLent, NotMine, Placement, type Placing } from "../Placement.ts"

const shardGroup = "default"

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
  Rpc.make("Dispatch", { payload: { commands: Schema.Array(Command) }, success: Schema.Array(Answer) }),
  Rpc.make("Head", {
    payload: { account: AccountId },
    success: HeadSent,
    error: Schema.Union([NotMine, Unavailable])
  }),
  Rpc.make("Borrow", {
    payload: { account: AccountId, lease: Schema.String },
    success: Loan,
    error: NotLent
  }),
  Rpc.make("GiveBack", { payload: { account: AccountId, lease: Schema.String, given: GivenBack } }),
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

/** Where the cluster does not deliver, or the owner is losing the shard, the account is moving: nothing was done. */
const orMoving = <A, E extends { readonly _tag: string }>(
  asked: Effect.Effect<A, E | SendError>
): Effect.Effect<A, Exclude<E, SendError> | NotMine> =>
  Effect.catchCause(asked, (cause): Effect.Effect<never, Exclude<E, SendError> | NotMine> => {
    const error = Cause.findErrorOption(cause)
    return Option.isSome(error) && !isSendError(error.value)
      ? // What is no error of sending is one of the answer.
        Effect.fail(error.value as Exclude<E, SendError>)
      : Effect.fail(new NotMine())
  })

type SendError =
  | ClusterError.MailboxFull
  | ClusterError.AlreadyProcessingMessage
  | ClusterError.PersistenceError
  | ClusterError.EntityNotAssignedToRunner

const isSendError = (error: { readonly _tag: string }): error is SendError =>
  error._tag === "MailboxFull" ||
  error._tag === "AlreadyProcessingMessage" ||
  error._tag === "PersistenceError" ||
  error._tag === "EntityNotAssignedToRunner"

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
  const shardOf = (account: AccountId) => entity(entities[groupOf(account)] ?? "")

  return {
    owns: (account) => owned[groupOf(account)] === true && wall.currentTimeMillisUnsafe() < certainty.untilMs,
    groupOf,
    dispatch: (account, commands) =>
      shardOf(account)
        .Dispatch({ commands })
        .pipe(
          Effect.catchTag("MailboxFull", () => {
            const error = new Overloaded({ what: "the node of the account", retryAfterMs: leaseMs })
            return Effect.succeed(commands.map((): Answer => ({ _tag: "Failed", error })))
          }),
          // A node that loses the shard interrupts what it does there; one that failed logged why.
          Effect.catchCause(() => Effect.succeed(commands.map((): Answer => ({ _tag: "Unknown" }))))
        ),
    head: (account) => orMoving(shardOf(account).Head({ account })),
    borrow: (account, lease) => orMoving(shardOf(account).Borrow({ account, lease })),
    giveBack: (account, lease, given) =>
      shardOf(account)
        .GiveBack({ account, lease, given })
        .pipe(
          Effect.timeoutOption(leaseMs),
          Effect.catchCause((cause) => Effect.logDebug("an account was not given back", cause)),
          Effect.asVoid
        )
  } satisfies Placing
})

/** This node's place among those that share its shards. */
export const layerPlacement = Layer.effect(Placement, makePlacing)
