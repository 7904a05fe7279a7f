/** How `chronicle parked`, `parked retry` and `parked skip` are called. */
import { Argument, Command, Flag } from "effect/cli"
import { accountArgument, dataFlag, jsonFlag, Positive, wholeNumberFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const listFlags = { data: dataFlag, json: jsonFlag }
export type ParkedFlags = Command.Command.Config.Infer<typeof listFlags>

const retryFlags = { account: accountArgument().pipe(Argument.optional), data: dataFlag, json: jsonFlag }
export type RetryFlags = Command.Command.Config.Infer<typeof retryFlags>

const retry = Command.make(
  "retry",
  retryFlags,
  lazily(() => import("./run/parked.ts").then(({ retry }) => retry))
).pipe(Command.withDescription("Try a parked account again, all of them without an account"))

const skipFlags = {
  account: accountArgument(),
  version: wholeNumberFlag("version").pipe(
    Flag.withDescription("The version it is parked at: what is left out for ever"),
    Flag.withSchema(Positive)
  ),
  data: dataFlag,
  json: jsonFlag
}
export type SkipFlags = Command.Command.Config.Infer<typeof skipFlags>

const skip = Command.make(
  "skip",
  skipFlags,
  lazily(() => import("./run/parked.ts").then(({ skip }) => skip))
).pipe(
  Command.withDescription("Leave the event out that an account is parked at, for ever and on the record")
)

export const parked = Command.make(
  "parked",
  listFlags,
  lazily(() => import("./run/parked.ts").then(({ list }) => list))
).pipe(
  Command.withDescription("List the accounts whose next event cannot be projected, and what was left out"),
  Command.withSubcommands([retry, skip])
)
