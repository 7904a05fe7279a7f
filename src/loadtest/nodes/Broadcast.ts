/** Requests to all nodes of a run at once: prepare, load, end. Says which nodes failed, and how. */
import { Clock, Effect, Option, Schedule } from "effect"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import type { LoadSettings } from "../Settings.ts"
import type { ReceivedAcks } from "./AckJournal.ts"
import type { NodeProcess } from "./NodeProcess.ts"
import type { NodeReports } from "./NodeReports.ts"

/** How long a node may take to prepare its accounts, and how long after its load to have every answer, in milliseconds. */
const preparedWithinMs = 1_200_000
const answeredWithinMs = 240_000
/** Longer than a warm-up may take before the node itself gives it up. */
const warmWithinMs = 400_000
const shareEveryMs = 200

type Nodes = ReadonlyArray<NodeProcess>

/** Each node prepares its part of the accounts `from` … `to - 1`. */
export const prepareAll = (nodes: Nodes, from: number, to: number) => {
  const startOf = (nth: number) => from + Math.floor(((to - from) * nth) / nodes.length)
  return Effect.forEach(
    nodes,
    (node, nth) => {
      const request = { _tag: "Prepare", from: startOf(nth), to: startOf(nth + 1) } as const
      return node.ask(request, preparedWithinMs)
    },
    { concurrency: "unbounded", discard: true }
  )
}

/** Each node runs its warm-up; those that are warm earlier wait for the others. */
export const warmUpAll = (nodes: Nodes) =>
  Effect.forEach(nodes, (node) => node.ask({ _tag: "WarmUp" }, warmWithinMs), {
    concurrency: "unbounded",
    discard: true
  })

/** Tells each node which versions were acknowledged on others, so that its callers expect to come after them. Until interrupted. */
export const shareAcks = (acks: ReceivedAcks, nodes: Nodes) =>
  Effect.sync(() => {
    const versions = acks.takeVersions()
    if (versions === undefined) return
    for (const node of nodes) node.send({ _tag: "Versions", versions })
  }).pipe(Effect.schedule(Schedule.spaced(shareEveryMs)))

/** Every node runs its part of the load. The answer names the nodes that did not finish, and why. */
export const loadAll = Effect.fn("LoadTest.loadAll")(function* (
  nodes: Nodes,
  settings: LoadSettings,
  reports: NodeReports
) {
  const clock = yield* Clock.Clock
  const startMs = elapsedMsUnsafe(clock)
  const failures: Array<string> = []
  const failed = (nth: number, name: string, reason: string): void => {
    const seconds = (elapsedMsUnsafe(clock) - startMs) / 1_000
    const how = `${reason} after ${seconds.toFixed(1)} s of load`
    reports.ended(nth, how)
    failures.push(`${name} ${how}`)
  }
  yield* Effect.forEach(
    nodes,
    (node, nth) =>
      Effect.match(node.ask({ _tag: "Load" }, settings.seconds * 1_000 + answeredWithinMs), {
        onFailure: ({ reason }) => failed(nth, node.name, reason),
        onSuccess: ({ seconds }) => reports.finished(nth, seconds ?? 0)
      }),
    { concurrency: "unbounded", discard: true }
  )
  return failures
})

/** Ends all nodes at once. The answer names those that died after the load, or did not end in order. */
export const endAll = Effect.fn("LoadTest.endAll")(function* (nodes: Nodes, reports: NodeReports) {
  const endings = yield* Effect.forEach(nodes, (node) => node.end, { concurrency: "unbounded" })
  return endings.flatMap((ending, nth) => {
    const name = nodes[nth]?.name ?? ""
    if (Option.isNone(ending) || reports.hasEnded(nth)) return []
    reports.ended(nth, ending.value)
    return [`${name} ${ending.value}`]
  })
})
