/** `chronicle cluster`: the read model's database, where the nodes find each other, enters; the nodes leave. */
import { Data, Effect } from "effect"
import { Command } from "effect/cli"
import { clusterStatus } from "../actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../infra/ClusterRunner.ts"
import { limitsFromEnvironment } from "../infra/Environment.ts"
import { grouped, makeStory, printJson } from "./Terminal.ts"
import { dataFlag, jsonFlag, resolveStores } from "./Where.ts"

/** How long a shard may take to answer, in milliseconds. */
const patienceMs = 3_000

/** Accounts that no node serves just now. */
export class ShardsUnowned extends Data.TaggedError("ShardsUnowned")<{ readonly count: number }> {
  override get message() {
    return this.count === 1
      ? "one shard has no owner that answers"
      : `${this.count} shards have no owner that answers`
  }
}

export const cluster = Command.make(
  "cluster",
  { data: dataFlag, json: jsonFlag },
  Effect.fnUntraced(
    function* ({ data, json }) {
      const story = makeStory(json)
      const { readModelUrl } = yield* resolveStores(data)
      const status = yield* clusterStatus(patienceMs).pipe(
        Effect.provide(ClusterRunner.layerClient(readModelUrl)),
        Effect.scoped
      )
      for (const node of status.nodes) {
        yield* story.line(
          `${node.node}: ${node.shards.length} of ${status.shards} shards, ${grouped(node.actors)} accounts in memory, ` +
            `${grouped(node.inFlight)} commands under way, ${grouped(node.committed)} committed, ` +
            `${grouped(node.conflicts)} conflicts, ${grouped(node.lapsed)} leases lapsed`
        )
      }
      if (json) yield* printJson(status)
      if (status.unowned.length > 0) return yield* new ShardsUnowned({ count: status.unowned.length })
    },
    Effect.scoped,
    Effect.provide(limitsFromEnvironment)
  )
).pipe(Command.withDescription("Show the nodes of the cluster, and which of them owns how many shards"))
