/** How `chronicle rebuild` is called. */
import type { NodeServices } from "@effect/platform-node/NodeServices"
import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { bundle, HandOver } from "../Bundle.ts"
import { dataFlag, jsonFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = {
  projection: Argument.String("projection").pipe(Argument.withDescription("Its name: books")),
  module: Flag.File("module", { mustExist: true }).pipe(
    Flag.withDescription("A file whose default export is the projection, for those of your own"),
    Flag.optional
  ),
  data: dataFlag,
  json: jsonFlag
}
export type RebuildFlags = Command.Command.Config.Infer<typeof flags>

const rebuildHere = lazily<RebuildFlags, NodeServices>(() =>
  import("./run/rebuild.ts").then((loaded) => loaded.rebuild)
)

export const rebuild = Command.make("rebuild", flags, (input) =>
  // A module of the host imports its own effect, of which the bundle would be a second copy in the process.
  bundle !== undefined && Option.isSome(input.module) ? Effect.fail(new HandOver()) : rebuildHere(input)
).pipe(Command.withDescription("Build a projection anew from the log beside the live one, and exchange them"))
