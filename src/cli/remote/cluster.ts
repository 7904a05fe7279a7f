/** `chronicle cluster`: the nodes and what each of them owns, as one of them knows it; as the database has it where none is asked. */
import { Effect } from "effect"
import type { QueryMethods } from "../../QueryMethods.ts"
import type { ClusterFlags } from "../cluster.ts"
import { grouped, makeOutput, printJson } from "../Output.ts"
import { askingNode } from "./ask.ts"

/** `books_v1: 0, 3, sweep; orphans`. */
export const describeSingletons = (names: ReadonlyArray<string>): string => {
  const groups = Map.groupBy(names, (name) => name.split("/")[0] ?? name)
  return [...groups]
    .map(([group, all]) => {
      const parts = all.flatMap((name) => name.split("/").slice(1))
      const sorted = parts.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))
      return sorted.length === 0 ? group : `${group}: ${sorted.join(", ")}`
    })
    .join("; ")
}

type Told = Effect.Success<QueryMethods["nodes"]>

const linesOf = ({ duties = [], nodes, shards, unowned }: Told): ReadonlyArray<string> => [
  ...nodes.map(({ isAsked, node, shards: own }) => {
    const parts = duties.filter((one) => one.node === node && !one.isUnowned).map(({ duty }) => duty)
    return (
      `${node}${isAsked ? " (which answers)" : ""}: ${own.length} of ${shards} shards` +
      (parts.length === 0 ? "" : `; read side: ${describeSingletons(parts)}`)
    )
  }),
  ...(unowned.length === 0
    ? []
    : [
        `The owner of ${unowned.length} of ${shards} shards is not known to this node: they are moving, or it is not connected with their node.`
      ]),
  ...duties
    .filter(({ isUnowned }) => isUnowned)
    .map(
      ({ duty, node, silentMs }) =>
        `No node does ${duty}: ${node ?? "none"} had it, and last reported it ${grouped(silentMs)} ms ago.`
    )
]

export const cluster = Effect.fnUntraced(function* (flags: ClusterFlags) {
  const onDatabase = Effect.flatMap(
    Effect.promise(() => import("../run/cluster.ts")),
    ({ clusterOnDatabase }) => clusterOnDatabase(flags)
    // Whatever it is, the program reports it; its type cannot be named here.
  ).pipe(Effect.mapError((error): unknown => error))
  const show = Effect.fnUntraced(function* (books: QueryMethods) {
    const told = yield* books.nodes
    const output = makeOutput(flags.json)
    for (const line of linesOf(told)) yield* output.line(line)
    if (flags.json) yield* printJson(told)
  })
  yield* askingNode(flags.data, show, onDatabase)
})
