/** How `chronicle accounts`, `balance`, `find` and `history` are called. */
import { Argument, Command, Flag } from "effect/cli"
import { AccountPrefix, AnyCommandId, Version } from "../domain/Ids.ts"
import {
  accountArgument,
  dataFlag,
  instantFlag,
  jsonFlag,
  limitFlag,
  Positive,
  readTokenFlag,
  wholeNumberFlag
} from "./flags.ts"
import { lazily } from "./lazily.ts"

const accountsFlags = {
  prefix: Flag.String("prefix").pipe(
    Flag.withDescription("Those whose ids begin with it: merchant:"),
    Flag.withSchema(AccountPrefix),
    Flag.optional
  ),
  cursor: Flag.String("cursor").pipe(Flag.withDescription("`next` of the page before"), Flag.optional),
  limit: limitFlag("Accounts of a page").pipe(Flag.withDefault(50)),
  token: readTokenFlag,
  data: dataFlag,
  json: jsonFlag
}
export type AccountsFlags = Command.Command.Config.Infer<typeof accountsFlags>

export const accounts = Command.make(
  "accounts",
  accountsFlags,
  lazily(() => import("./remote/queries.ts").then(({ accounts }) => accounts))
).pipe(Command.withDescription("All accounts with their balances, by pages, in order of id"))

const balanceFlags = {
  account: accountArgument(),
  known: instantFlag("known", "As of what had been recorded by an instant; the same answer for ever"),
  at: instantFlag("at", "An older name of --known: when it was recorded; use --known"),
  version: wholeNumberFlag("version").pipe(
    Flag.withDescription("As of a version of the account"),
    Flag.withSchema(Positive),
    Flag.optional
  ),
  token: readTokenFlag,
  data: dataFlag,
  json: jsonFlag
}
export type BalanceFlags = Command.Command.Config.Infer<typeof balanceFlags>

export const balance = Command.make(
  "balance",
  balanceFlags,
  lazily(() => import("./remote/queries.ts").then(({ balance }) => balance))
).pipe(Command.withDescription("The balance of an account, now or at any point of the past"))

const holdListFlags = {
  account: accountArgument("account", "Of this account alone, those that never expire too").pipe(
    Argument.optional
  ),
  prefix: Flag.String("prefix").pipe(
    Flag.withDescription("Of accounts whose ids begin with it: customer:"),
    Flag.withSchema(AccountPrefix),
    Flag.optional
  ),
  before: instantFlag("before", "Those alone that expire before an instant"),
  cursor: Flag.String("cursor").pipe(Flag.withDescription("`next` of the page before"), Flag.optional),
  limit: limitFlag("Holds of a page").pipe(Flag.withDefault(50)),
  token: readTokenFlag,
  data: dataFlag,
  json: jsonFlag
}
export type HoldListFlags = Command.Command.Config.Infer<typeof holdListFlags>

/** `chronicle hold list`. */
export const holdList = Command.make(
  "list",
  holdListFlags,
  lazily(() => import("./remote/queries.ts").then(({ holdList }) => holdList))
).pipe(Command.withDescription("Open holds: of one account, or of all in the order in which they expire"))

const findFlags = {
  command: Argument.String("command").pipe(
    Argument.withDescription("The id of a command, or of a reversal (~r1~…)"),
    Argument.withSchema(AnyCommandId)
  ),
  data: dataFlag,
  json: jsonFlag
}
export type FindFlags = Command.Command.Config.Infer<typeof findFlags>

export const find = Command.make(
  "find",
  findFlags,
  lazily(() => import("./remote/queries.ts").then(({ find }) => find))
).pipe(Command.withDescription("A command by its id: its events, its reversals, and what it reverses"))

const historyFlags = {
  account: accountArgument(),
  after: wholeNumberFlag("after").pipe(
    Flag.withDescription("Events above this version"),
    Flag.withSchema(Version),
    Flag.withDefault(0)
  ),
  limit: limitFlag("Events of a page, oldest first").pipe(Flag.withDefault(100)),
  data: dataFlag,
  json: jsonFlag
}
export type HistoryFlags = Command.Command.Config.Infer<typeof historyFlags>

export const history = Command.make(
  "history",
  historyFlags,
  lazily(() => import("./remote/queries.ts").then(({ history }) => history))
).pipe(
  Command.withDescription("The events of an account, straight from the log, checked against their chain")
)
