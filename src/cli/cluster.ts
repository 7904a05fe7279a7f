/** How `chronicle cluster` is called. */
import { Command } from "effect/cli"
import { dataFlag, jsonFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = { data: dataFlag, json: jsonFlag }
export type ClusterFlags = Command.Command.Config.Infer<typeof flags>

export const cluster = Command.make(
  "cluster",
  flags,
  lazily(() => import("./remote/cluster.ts").then(({ cluster }) => cluster))
).pipe(
  Command.withDescription(
    "Show the nodes of the cluster, and which of them owns how many shards and which parts of the read side"
  )
)
