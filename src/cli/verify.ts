/** How `chronicle verify` is called. */
import { Argument, Command } from "effect/cli"
import { accountArgument, dataFlag, jsonFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = {
  account: accountArgument(
    "account",
    "This account alone, with its counter-legs; the whole ledger if absent"
  ).pipe(Argument.optional),
  data: dataFlag,
  json: jsonFlag
}
export type VerifyFlags = Command.Command.Config.Infer<typeof flags>

export const verify = Command.make(
  "verify",
  flags,
  lazily(() => import("./remote/verify.ts").then(({ verify }) => verify))
).pipe(
  Command.withDescription(
    "Check I1-I5 and I8 on a node or the stores; name the first broken row, and exit 1 if there is any"
  )
)
