/** `chronicle cluster`: the read model's database, where the nodes find each other, enters; the nodes leave. */
import { Data, Effect, Layer } from "effect"
import { Command } from "effect/cli"
import {
  type ClusterStatus,
  clusterStatus,
  type DutyStatus,
  dutiesStatus
} from "../actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../infra/cluster/ClusterRunner.ts"
import { SingletonTable } from "../infra/cluster/SingletonTable.ts"
import { limitsFromEnvironment } from "../infra/config/Environment.ts"
import { ReadModelSql } from "../infra/readmodel/ReadModelSql.ts"
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

/** Parts of the read side that no node does just now. */
export class DutiesUnowned extends Data.TaggedError("DutiesUnowned")<{
  readonly duties: ReadonlyArray<string>
}> {
  override get message() {
    return `no node does ${this.duties.join(", ")}`
  }
}

/** `books_v1: 0, 3, sweep; orphans`. */
const describeDuties = (duties: ReadonlyArray<string>): string => {
  const groups = Map.groupBy(duties, (duty) => duty.split("/")[0] ?? duty)
  return [...groups]
    .map(([group, all]) => {
      const parts = all.flatMap((duty) => duty.split("/").slice(1))
      const sorted = parts.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))
      return sorted.length === 0 ? group : `${group}: ${sorted.join(", ")}`
    })
    .join("; ")
}

const linesOf = (
  { nodes, shards }: ClusterStatus,
  duties: ReadonlyArray<DutyStatus>
): ReadonlyArray<string> =>
  nodes.map((node) => {
    const own = duties.filter((one) => one.node === node.node && !one.isNobodys).map((one) => one.duty)
    return (
      `${node.node}: ${node.shards.length} of ${shards} shards, ${grouped(node.actors)} accounts in memory, ` +
      `${grouped(node.inFlight)} commands under way, ${grouped(node.committed)} committed, ` +
      `${grouped(node.conflicts)} conflicts, ${grouped(node.lapsed)} leases lapsed` +
      (own.length === 0 ? "" : `; read side: ${describeDuties(own)}`)
    )
  })

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
      const duties = yield* dutiesStatus.pipe(
        Effect.provide(SingletonTable.layer.pipe(Layer.provide(ReadModelSql.layer(readModelUrl))))
      )
      for (const line of linesOf(status, duties)) yield* story.line(line)
      if (json) yield* printJson({ ...status, duties })
      if (status.unowned.length > 0) return yield* new ShardsUnowned({ count: status.unowned.length })
      const nobodys = duties.filter(({ isNobodys }) => isNobodys).map(({ duty }) => duty)
      if (nobodys.length > 0) return yield* new DutiesUnowned({ duties: nobodys })
    },
    Effect.scoped,
    Effect.provide(limitsFromEnvironment)
  )
).pipe(
  Command.withDescription(
    "Show the nodes of the cluster, and which of them owns how many shards and which parts of the read side"
  )
)
