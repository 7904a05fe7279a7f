/** How `chronicle statement` and `chronicle trial-balance` are called. */
import { Command, Flag } from "effect/cli"
import { LineType } from "../domain/Views.ts"
import { accountArgument, dataFlag, instantFlag, jsonFlag, Positive, readTokenFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const statementFlags = {
  account: accountArgument(),
  from: instantFlag("from", "At or after"),
  to: instantFlag("to", "Before"),
  by: Flag.Literals("by", ["recorded", "effective"]).pipe(
    Flag.withDescription(
      "The order of the lines and their balances, and the time that --from and --to mean: when it was recorded, or for when it counts"
    ),
    Flag.withDefault("recorded")
  ),
  types: Flag.Literals("type", LineType.literals).pipe(
    Flag.withDescription("Lines of this type alone; may be given several times"),
    Flag.atLeast(0)
  ),
  counterparty: Flag.String("counterparty").pipe(
    Flag.withDescription("Lines with this account or contra account on the other side alone"),
    Flag.optional
  ),
  cursor: Flag.String("cursor").pipe(Flag.withDescription("`next` of the page before"), Flag.optional),
  limit: Flag.Int("limit").pipe(
    Flag.withDescription("Lines of a page"),
    Flag.withSchema(Positive),
    Flag.withDefault(50)
  ),
  format: Flag.Literals("export", ["csv", "json"]).pipe(
    Flag.withDescription("Write all of it to the file of --out"),
    Flag.optional
  ),
  out: Flag.Path("out").pipe(Flag.withDescription("The file of --export"), Flag.optional),
  token: readTokenFlag,
  data: dataFlag,
  json: jsonFlag
}
export type StatementFlags = Command.Command.Config.Infer<typeof statementFlags>

export const statement = Command.make(
  "statement",
  statementFlags,
  lazily(() => import("./remote/statement.ts").then(({ statement }) => statement))
).pipe(
  Command.withDescription(
    "The statement of an account with opening, running and closing balance: by pages, or all of it to a file"
  )
)

const trialBalanceFlags = {
  at: instantFlag("at", "Of everything recorded up to then; now by default"),
  data: dataFlag,
  json: jsonFlag
}
export type TrialBalanceFlags = Command.Command.Config.Infer<typeof trialBalanceFlags>

export const trialBalance = Command.make(
  "trial-balance",
  trialBalanceFlags,
  lazily(() => import("./remote/statement.ts").then(({ trialBalance }) => trialBalance))
).pipe(Command.withDescription("What all accounts and the world outside hold, as of an instant; zero in sum"))
