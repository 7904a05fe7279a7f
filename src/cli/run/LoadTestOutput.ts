/** Prints the outcome of a load test as a table; `--json` prints the outcome itself. */
import { Effect } from "effect"
import type { NodeFigures } from "../../loadtest/NodeFigures.ts"
import type { LoadOutcome } from "../../loadtest/Outcome.ts"
import { grouped, makeOutput } from "../Output.ts"

const rowOf = (node: NodeFigures): [string, string] => {
  const { here, borrowing, forwarded } = node.ways
  const sent = Math.max(1, here + borrowing + forwarded)
  const percent = (part: number) => `${Math.round((100 * part) / sent)} %`
  return [
    node.name,
    `${grouped(node.committedPerSecond)} a second; ${percent(here)} here, ${percent(borrowing)} with borrowed accounts, ` +
      `${percent(forwarded)} sent on; ${node.cpuSeconds} s of processor time, ${node.rssMiB} MiB` +
      (node.ended === null ? "" : `; ${node.ended}`)
  ]
}

/** Of both threads, after the collections of each quarter of the load: what grows there is kept. */
const heapRows = ({ heapMiB }: LoadOutcome): ReadonlyArray<[string, string]> => {
  if (heapMiB === undefined || heapMiB === null) return []
  const { commands, readSide } = heapMiB
  const beside = readSide === null ? "" : `; read side ${readSide.join(", ")}`
  return [["heaps", `least of each quarter, MiB: commands ${commands.join(", ")}${beside}`]]
}

export const printOutcome = Effect.fnUntraced(function* (outcome: LoadOutcome) {
  const output = makeOutput(false)
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const { latencyMs, batch, projection, invariants } = outcome
  const broken = Object.entries(invariants).flatMap(([name, held]) => (held ? [] : [name]))
  const lag = projection.lagMsP99 === null ? "" : `, lag p99 ${projection.lagMsP99} ms`
  yield* output.table([
    [
      "committed",
      `${grouped(outcome.committed)} in ${outcome.seconds} s: ${grouped(outcome.committedPerSecond)} a second`
    ],
    ["latency", `p50 ${ms(latencyMs.p50)}, p99 ${ms(latencyMs.p99)}, max ${ms(latencyMs.max)}`],
    ["one client", `p50 ${ms(outcome.soloMs.p50)}; the store alone ${ms(outcome.storeCommitMs.p50)}`],
    ["refused", `${grouped(outcome.rejected)} by the rules, ${grouped(outcome.overloaded)} for overload`],
    ["batches", `${batch.meanRows} rows on average, ${outcome.conflicts} conflicts`],
    ["read model", `caught up after ${projection.caughtUpAfterSeconds ?? "never"} s${lag}`],
    ["memory", `${outcome.rssMiB} MiB at most, ${outcome.cpuUsPerCommand} µs of processor time a command`],
    ...heapRows(outcome),
    ["event store", outcome.eventStore],
    ...(outcome.nodes.length > 1 ? outcome.nodes.map(rowOf) : []),
    ["invariants", broken.length === 0 ? "all hold" : `BROKEN: ${broken.join(", ")}`]
  ])
})
