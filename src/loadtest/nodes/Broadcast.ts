/** Nodes that are up enter; what is done with all of them at once, and who did not come through it, leave. */
import { Clock, Effect, Option } from "effect"
import type { LoadSettings } from "../Settings.ts"
import type { ReceivedAcks } from "./AckJournal.ts"
import type { NodeProcess } from "./NodeProcess.ts"
import type { NodeReports } from "./NodeReports.ts"

/** How long a node may take to prepare its accounts, and how much longer than its load until all is answered, in milliseconds. */
const preparedWithinMs = 1_200_000
const answeredWithinMs = 240_000
const passOnEveryMs = 200

type Nodes = ReadonlyArray<NodeProcess>

/** Each prepares its part of accounts `from` … `to - 1`. */
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

/** What one node told is known to all soon: their callers then expect to come after it. Until interrupted. */
export const shareAcks = (told: ReceivedAcks, nodes: Nodes) =>
  Effect.sync(() => {
    const versions = told.takeKnown()
    if (versions === undefined) return
    for (const node of nodes) node.tell({ _tag: "Known", versions })
  }).pipe(Effect.delay(passOnEveryMs), Effect.forever)

/** Every node under its share of the load; answers which did not come to its end, and why. */
export const loadAll = Effect.fn("LoadTest.loadAll")(function* (
  nodes: Nodes,
  settings: LoadSettings,
  gathered: NodeReports
) {
  const clock = yield* Clock.Clock
  const start = clock.monotonicTimeNanosUnsafe()
  const failures: Array<string> = []
  const lost = (nth: number, name: string, reason: string): void => {
    const seconds = Number(clock.monotonicTimeNanosUnsafe() - start) / 1e9
    const how = `${reason} after ${seconds.toFixed(1)} s of load`
    gathered.ended(nth, how)
    failures.push(`${name} ${how}`)
  }
  yield* Effect.forEach(
    nodes,
    (node, nth) =>
      Effect.match(node.ask({ _tag: "Load" }, settings.seconds * 1_000 + answeredWithinMs), {
        onFailure: ({ reason }) => lost(nth, node.name, reason),
        onSuccess: ({ seconds }) => gathered.finished(nth, seconds ?? 0)
      }),
    { concurrency: "unbounded", discard: true }
  )
  return failures
})

/** In order, all at once; answers which had ended since the load, or did not end well. */
export const endAll = Effect.fn("LoadTest.endAll")(function* (nodes: Nodes, gathered: NodeReports) {
  const endings = yield* Effect.forEach(nodes, (node) => node.end, { concurrency: "unbounded" })
  return endings.flatMap((ending, nth) => {
    const name = nodes[nth]?.name ?? ""
    if (Option.isNone(ending) || gathered.hasEnded(nth)) return []
    gathered.ended(nth, ending.value)
    return [`${name} ${ending.value}`]
  })
})
