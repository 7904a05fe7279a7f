/** Starts the node processes of a run, and waits until they have divided all shards among themselves. */
import { Clock, Effect, Schedule, type Scope } from "effect"
import { clusterStatus } from "../../actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../../infra/cluster/ClusterRunner.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import type { DevStackError } from "../../infra/dev/DevStackErrors.ts"
import type { ServiceUrls } from "../Services.ts"
import { NodeFailed, type NodeProcess, startNodeProcess } from "./NodeProcess.ts"
import type { FromNode, NodeWork } from "./Protocol.ts"

/** How long the nodes may take to divide the shards, and how long nothing may change before that counts as done. */
const settleWithinMs = 60_000
const quietMs = 1_500
const pollEveryMs = 200
/** How long a node may take to say which shards it owns. */
const answerMs = 2_000

export interface Cluster {
  readonly nodes: ReadonlyArray<NodeProcess>
  /** The number of shards of each node, by its name, when all shards were owned. */
  readonly shards: ReadonlyMap<string, number>
}

export const nameOf = (nth: number): string => `node-${nth + 1}`

/** The nodes end with the scope. `onMessage` is called with every message of every node. */
export const startCluster = Effect.fn("LoadTest.startCluster")(function* (
  urls: ServiceUrls,
  work: Omit<NodeWork, "nth">,
  onMessage: (nth: number, message: FromNode) => void
): Effect.fn.Return<Cluster, NodeFailed | DevStackError, Scope.Scope> {
  const nodes = yield* Effect.forEach(
    Array.from({ length: work.nodes }, (_, nth) => nth),
    (nth) =>
      startNodeProcess({
        name: nameOf(nth),
        urls,
        work: { ...work, nth },
        onMessage: (message) => onMessage(nth, message)
      }),
    { concurrency: "unbounded" }
  )
  const names = new Map(nodes.map(({ name }, nth) => [`${work.run}-${nth + 1}`, name]))
  return { nodes, shards: yield* awaitDivided(urls, names) }
})

/**
 * Waits until every shard has an owner, every node owns some, and nothing has changed for a while. `names`: the names of
 * the nodes in the report, by their names in the cluster.
 */
const awaitDivided = (urls: ServiceUrls, names: ReadonlyMap<string, string>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const nowMs = () => elapsedMsUnsafe(clock)
    let last = ""
    let since = nowMs()
    const poll = Effect.gen(function* () {
      const { nodes, unowned } = yield* clusterStatus(answerMs)
      const stranger = nodes.find(({ node }) => !names.has(node))
      if (stranger !== undefined) {
        const reason =
          "is a member of the cluster over this read model, and a load needs a cluster of its own"
        return yield* new NodeFailed({ node: stranger.node, reason })
      }
      const state = JSON.stringify(nodes.map(({ node, shards }) => [node, shards]))
      if (state !== last) since = nowMs()
      last = state
      const isDivided = unowned.length === 0 && nodes.length === names.size && nowMs() - since >= quietMs
      return { nodes, isDivided }
    })
    const { nodes } = yield* Effect.repeat(poll, {
      schedule: Schedule.spaced(pollEveryMs),
      until: ({ isDivided }) => isDivided
    })
    return new Map(nodes.map(({ node, shards }) => [names.get(node) ?? node, shards.length]))
  }).pipe(
    Effect.timeoutOrElse({
      duration: settleWithinMs,
      orElse: () => {
        const reason = `did not divide all shards among its nodes within ${settleWithinMs} ms`
        return Effect.fail(new NodeFailed({ node: "the cluster", reason }))
      }
    }),
    Effect.provide(ClusterRunner.layerClient(urls.readModelUrl)),
    Effect.scoped
  )
