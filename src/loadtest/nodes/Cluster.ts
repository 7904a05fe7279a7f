/** The services of a run enter; so many node processes that have shared the accounts among themselves leave. */
import { Clock, Effect, type Scope } from "effect"
import { clusterStatus } from "../../actors/cluster/ClusterStatus.ts"
import * as ClusterRunner from "../../infra/cluster/ClusterRunner.ts"
import type { DevStackError } from "../../infra/dev/DevStackErrors.ts"
import type { ServiceUrls } from "../Services.ts"
import { NodeFailed, type NodeProcess, startNodeProcess } from "./NodeProcess.ts"
import type { FromNode, NodeWork } from "./Protocol.ts"

/** How long the nodes may take to share the shards, and how long nothing may change before that counts as done. */
const settleWithinMs = 60_000
const quietMs = 1_500
const lookEveryMs = 200
/** How long a shard may take to say whose it is. */
const answerMs = 2_000

export interface Cluster {
  readonly nodes: ReadonlyArray<NodeProcess>
  /** Shards of each, by its name, when all were given. */
  readonly shards: ReadonlyMap<string, number>
}

export const nameOf = (nth: number): string => `node-${nth + 1}`

/** Ended with the scope. `onMessage` hears everything that any node tells. */
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
  return { nodes, shards: yield* awaitShared(urls, names) }
})

/** Waits until each shard has an owner, each node some, and nothing has changed for a while. `names`: as they are called in the cluster, and here. */
const awaitShared = (urls: ServiceUrls, names: ReadonlyMap<string, string>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    let last = ""
    let since = nowMs()
    for (;;) {
      const { nodes, unowned } = yield* clusterStatus(answerMs)
      const stranger = nodes.find(({ node }) => !names.has(node))
      if (stranger !== undefined) {
        const reason = "is a member of the cluster over this read model: a load needs one of its own"
        return yield* new NodeFailed({ node: stranger.node, reason })
      }
      const state = JSON.stringify(nodes.map(({ node, shards }) => [node, shards]))
      if (state !== last) since = nowMs()
      last = state
      const isShared = unowned.length === 0 && nodes.length === names.size
      if (isShared && nowMs() - since >= quietMs) {
        return new Map(nodes.map(({ node, shards }) => [names.get(node) ?? node, shards.length]))
      }
      yield* Effect.sleep(lookEveryMs)
    }
  }).pipe(
    Effect.timeoutOrElse({
      duration: settleWithinMs,
      orElse: () => {
        const reason = `did not share all shards within ${settleWithinMs} ms`
        return Effect.fail(new NodeFailed({ node: "the cluster", reason }))
      }
    }),
    Effect.provide(ClusterRunner.layerClient(urls.readModelUrl)),
    Effect.scoped
  )
