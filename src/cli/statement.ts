/** How `chronicle statement` and `chronicle trial-balance` are called. */
import { Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { AccountPrefix } from "../domain/Ids.ts"
import { parseAsset } from "../domain/Money.ts"
import { Counterparty, LineType } from "../domain/Views.ts"
import {
  accountArgument,
  dataFlag,
  instantFlag,
  jsonFlag,
  limitFlag,
  outputPathFlag,
  readTokenFlag
} from "./flags.ts"
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
    Flag.withSchema(Counterparty),
    Flag.optional
  ),
  cursor: Flag.String("cursor").pipe(Flag.withDescription("`next` of the page before"), Flag.optional),
  limit: limitFlag("Lines of a page; 50 by default").pipe(Flag.optional),
  format: Flag.Literals("export", ["csv", "json"]).pipe(
    Flag.withDescription("Write all of it to the file of --out"),
    Flag.optional
  ),
  out: outputPathFlag("out").pipe(
    Flag.withDescription(
      "The file of --export: written beside it and put in its place once it is whole; - for stdout"
    ),
    Flag.optional
  ),
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
  known: instantFlag("known", "Of everything recorded up to then; now by default"),
  at: instantFlag("at", "An older name of --known: when it was recorded; use --known"),
  data: dataFlag,
  json: jsonFlag
}
export type TrialBalanceFlags = Command.Command.Config.Infer<typeof trialBalanceFlags>

export const trialBalance = Command.make(
  "trial-balance",
  trialBalanceFlags,
  lazily(() => import("./remote/statement.ts").then(({ trialBalance }) => trialBalance))
).pipe(Command.withDescription("What all accounts and the world outside hold, as of an instant; zero in sum"))

const sumFlags = {
  prefix: Argument.String("prefix").pipe(
    Argument.withDescription("The beginning of the ids of the accounts: 'merchant:'; '' for all of them"),
    Argument.withSchema(AccountPrefix)
  ),
  asset: Flag.String("asset").pipe(
    Flag.withDescription("Of this asset alone: USD/2, or USD for short"),
    Flag.filterMap(
      (text) => Result.getSuccess(parseAsset(text)),
      (text) => Result.match(parseAsset(text), { onSuccess: String, onFailure: String })
    ),
    Flag.optional
  ),
  at: instantFlag("at", "Of what counts by then; all of it by default"),
  known: instantFlag("known", "Of what had been recorded by then; now by default"),
  data: dataFlag,
  json: jsonFlag
}
export type SumFlags = Command.Command.Config.Infer<typeof sumFlags>

export const sum = Command.make(
  "sum",
  sumFlags,
  lazily(() => import("./remote/statement.ts").then(({ sum }) => sum))
).pipe(Command.withDescription("What all accounts of a prefix have together, as of an instant"))
