/** How `chronicle token` is called. */
import { Argument, Command, Flag } from "effect/cli"
import { CallerAccounts, CallerName, Scope } from "../access/Scope.ts"
import { jsonFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = {
  name: Argument.String("name").pipe(
    Argument.withDescription(
      "The caller that gets it: this name stands in the events it causes, and in the log"
    ),
    Argument.withSchema(CallerName)
  ),
  scopes: Flag.Literals("scope", Scope.literals).pipe(
    Flag.withDescription("What it may do: read, command, audit or admin (all); may be given several times"),
    Flag.atLeast(1)
  ),
  accounts: Flag.String("account").pipe(
    Flag.withDescription("Only accounts whose id begins with this; may be given several times"),
    Flag.withSchema(CallerAccounts),
    Flag.atLeast(0)
  ),
  json: jsonFlag
}
export type TokenFlags = Command.Command.Config.Infer<typeof flags>

export const token = Command.make(
  "token",
  flags,
  lazily(() => import("./run/token.ts").then(({ token }) => token))
).pipe(Command.withDescription("Make a token for a peer, and the entry by which nodes know it"))
