/**
 * `chronicle cluster` where no node is asked: shows the nodes of the cluster, found by the read model's database, and what each of
 * them owns and does.
 */
import { Data, Effect, Layer } from "effect"
import {
  type ClusterStatus,
  clusterStatus,
  type SingletonStatus,
  singletonsStatus
} from "../../actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../../infra/cluster/ClusterRunner.ts"
import { SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { ReadModelSql } from "../../infra/readmodel/ReadModelSql.ts"
import type { ClusterFlags } from "../cluster.ts"
import { grouped, makeOutput, printJson } from "../Output.ts"
import { describeSingletons } from "../remote/cluster.ts"
import { resolveStores } from "./services.ts"

/** How long each shard's owner may take to answer, in milliseconds. */
const patienceMs = 3_000

/** Nothing is known of the cluster: it may not run at all. */
class NoNodeAnswers extends Data.TaggedError("NoNodeAnswers")<{ readonly patienceMs: number }> {
  override get message() {
    return (
      `no node of the cluster answered within ${this.patienceMs} ms: none runs, ` +
      "or none can be reached at the address that it registered (CHRONICLE_CLUSTER_HOST, CHRONICLE_CLUSTER_PORT)"
    )
  }
}

const nodeLines = (
  { nodes, shards }: ClusterStatus,
  singletons: ReadonlyArray<SingletonStatus>
): ReadonlyArray<string> =>
  nodes.map((node) => {
    const own = singletons.filter((one) => one.node === node.node && !one.isUnowned).map(({ name }) => name)
    const isTwice = nodes.some((other) => other !== node && other.node === node.node)
    return (
      `${node.node}${isTwice ? ` at ${node.address ?? "an address it does not say"}` : ""}: ${node.shards.length} of ${shards} shards, ${grouped(node.actors)} accounts in memory, ` +
      `${grouped(node.inFlight)} commands under way, ${grouped(node.committed)} committed, ` +
      `${grouped(node.conflicts)} conflicts, ${grouped(node.lapsed)} leases lapsed` +
      (own.length === 0 ? "" : `; read side: ${describeSingletons(own)}`)
    )
  })

/** What the report does not know, and what no node does. While shards move between nodes either is normal. */
const doubtLines = (
  { unowned, shards }: ClusterStatus,
  singletons: ReadonlyArray<SingletonStatus>
): ReadonlyArray<string> => [
  ...(unowned.length === 0
    ? []
    : [
        `The owner of ${unowned.length} of ${shards} shards is not known: no node answered for them within ${patienceMs} ms.`
      ]),
  ...singletons
    .filter(({ isUnowned }) => isUnowned)
    .map(
      ({ name, node, silentMs }) =>
        `No node does ${name}: ${node} had it, and last reported it ${grouped(silentMs)} ms ago.`
    )
]

/** A singleton under the names that `--json` prints. */
const toJson = ({ name, ...status }: SingletonStatus) => ({ duty: name, ...status })

export const clusterOnDatabase = Effect.fnUntraced(
  function* ({ data, json }: ClusterFlags) {
    const output = makeOutput(json)
    const { readModelUrl } = yield* resolveStores(data)
    const status = yield* clusterStatus(patienceMs).pipe(
      Effect.provide(ClusterRunner.layerClient(readModelUrl)),
      Effect.scoped
    )
    const singletons = yield* singletonsStatus.pipe(
      Effect.provide(SingletonTable.layer.pipe(Layer.provide(ReadModelSql.layer(readModelUrl))))
    )
    for (const line of nodeLines(status, singletons)) yield* output.line(line)
    for (const line of doubtLines(status, singletons)) yield* output.line(line)
    if (json) yield* printJson({ ...status, duties: singletons.map(toJson) })
    if (status.nodes.length === 0) return yield* new NoNodeAnswers({ patienceMs })
  },
  Effect.scoped,
  Effect.provide(limitsFromEnvironment)
)
