/** Makes a node a member of the cluster: it serves what other nodes ask, and takes and gives up shards of accounts. */
import { Effect, Layer } from "effect"
import { Sharding } from "effect/cluster"
import * as ClusterRunner from "../../infra/cluster/ClusterRunner.ts"
import { LockCertainty } from "../../infra/cluster/LockCertainty.ts"
import { memberOf } from "../../infra/cluster/MemberSessions.ts"
import { ShardTenures } from "../../infra/cluster/ShardTenures.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { Dispatcher } from "../commands/Dispatcher.ts"
import { layerPlacement } from "./ClusterPlacement.ts"
import { ClusterShards, type NodeStatus, ShardEntity } from "./ClusterShards.ts"
import { Peers } from "./Peers.ts"

/**
 * Opens the node to the cluster. At the end of its scope it settles what it has, then lets go of its shards: this
 * must be built last, so that the others take over while the rest of the node is still closing.
 */
export const layer = (node: string, address: string) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sharding = yield* Sharding.Sharding
      const shards = yield* ClusterShards
      const tenures = yield* ShardTenures
      const certainty = yield* LockCertainty
      const limits = yield* ClusterConfig
      const dispatcher = yield* Dispatcher
      const peers = yield* Peers
      const here = dispatcher.localNode
      peers.serve(here)

      const status = Effect.sync((): NodeStatus => {
        const { committed, conflicts, inFlight, residents } = dispatcher.stats()
        const { held, expired } = here.leases()
        const owned = shards.owned.flatMap((isOwned, shard) => (isOwned ? [shard] : []))
        return {
          node,
          address,
          shards: owned,
          actors: residents,
          inFlight,
          committed,
          conflicts,
          borrowed: held,
          lapsed: expired
        }
      })

      yield* sharding.registerEntity(
        ShardEntity,
        Effect.succeed(
          ShardEntity.of({
            Status: () => status
          })
        ),
        { concurrency: "unbounded", mailboxCapacity: limits.mailboxMax, disableFatalDefects: true }
      )

      /** Runs where the shard is, from its arrival until it leaves; its lock is not let go of before it has ended. */
      const residence = (shard: number) =>
        Effect.acquireRelease(
          Effect.map(tenures.takeOver(shard), (former) => {
            here.enter(shard, former)
            shards.set(shard, true)
            peers.tellShards()
          }),
          () => {
            shards.set(shard, false)
            peers.tellShards()
            // Where the locks are no longer certain, another node may hold the shard, which is what a clean one is not.
            const wasHeld = certainty.isCertain()
            return Effect.flatMap(here.leave(new Set([shard])), (isClean) =>
              isClean && wasHeld && certainty.isCertain() ? tenures.leaveClean(shard) : Effect.void
            )
          },
          { interruptible: true }
        )
      for (const [shard, name] of shards.entities.entries()) {
        if (shard > 0) yield* sharding.registerSingleton(name, Effect.asVoid(residence(shard)))
      }
      yield* Effect.addFinalizer(() => here.close)
    })
  )

/**
 * Makes a node a member: what decides commands comes with it, and ends after the others have taken over its shards.
 * The door is built last, so that it ends first.
 */
export const member =
  (node: string, place: ClusterRunner.ClusterPlace) =>
  <A, E, R>(inner: Layer.Layer<A | Dispatcher, E, R>) => {
    const shards = Peers.layer(node).pipe(
      Layer.provideMerge(Layer.merge(ClusterShards.layer, ShardTenures.layer(node, place.locksUrl))),
      Layer.provideMerge(ClusterRunner.layer(place))
    )
    // Out to the doors as well, which tell callers which shards this node owns.
    return layer(node, memberOf(place)).pipe(
      Layer.provideMerge(Layer.provideMerge(inner, layerPlacement)),
      Layer.provide(shards)
    )
  }
