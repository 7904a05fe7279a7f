/** How `chronicle rebuild` is called. */
import { Argument, Command, Flag } from "effect/cli"
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

export const rebuild = Command.make(
  "rebuild",
  flags,
  lazily(() => import("./run/rebuild.ts").then(({ rebuild }) => rebuild))
).pipe(Command.withDescription("Build a projection anew from the log beside the live one, and exchange them"))
