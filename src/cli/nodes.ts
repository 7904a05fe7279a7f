/** How `chronicle migrate`, `serve` and `dev` are called. */
import { Command, Flag } from "effect/cli"
import { jsonFlag, migratedDataFlag, pathFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const migrateFlags = { data: migratedDataFlag, json: jsonFlag }
export type MigrateFlags = Command.Command.Config.Infer<typeof migrateFlags>

export const migrate = Command.make(
  "migrate",
  migrateFlags,
  lazily(() => import("./run/nodes.ts").then(({ migrate }) => migrate))
).pipe(
  Command.withDescription(
    "Bring both databases to the current schema; safe to run twice and by two nodes at once"
  )
)

const serveFlags = {
  role: Flag.Literals("role", ["all", "commands", "read-side"]).pipe(
    Flag.withDescription(
      "all; commands: decide and publish, and leave projecting to others; read-side: project what others commit"
    ),
    Flag.withDefault("all" as const)
  )
}
export type ServeFlags = Command.Command.Config.Infer<typeof serveFlags>

export const serve = Command.make(
  "serve",
  serveFlags,
  lazily(() => import("./run/nodes.ts").then(({ serve }) => serve))
).pipe(Command.withDescription("Run one node against the services of the environment, in the foreground"))

const devFlags = {
  data: pathFlag("data").pipe(Flag.withDescription("Where the data live"), Flag.withDefault(".chronicle/dev"))
}
export type DevFlags = Command.Command.Config.Infer<typeof devFlags>

export const dev = Command.make(
  "dev",
  devFlags,
  lazily(() => import("./run/nodes.ts").then(({ dev }) => dev))
).pipe(Command.withDescription("Run an embedded stack and one node in the foreground, and print the URLs"))
