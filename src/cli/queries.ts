/** How `chronicle accounts`, `balance` and `history` are called. */
import { Command, Flag } from "effect/cli"
import { Version } from "../domain/Ids.ts"
import { historyPageMax } from "../domain/Views.ts"
import { accountArgument, dataFlag, instantFlag, jsonFlag, Positive, readTokenFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const accountsFlags = {
  cursor: Flag.String("cursor").pipe(Flag.withDescription("`next` of the page before"), Flag.optional),
  limit: Flag.Int("limit").pipe(
    Flag.withDescription("Accounts of a page"),
    Flag.withSchema(Positive),
    Flag.withDefault(50)
  ),
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
  at: instantFlag("at", "As of an instant at which it was recorded; the same answer for ever"),
  version: Flag.Int("version").pipe(
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

const historyFlags = {
  account: accountArgument(),
  after: Flag.Int("after").pipe(
    Flag.withDescription("Events above this version"),
    Flag.withSchema(Version),
    Flag.withDefault(0)
  ),
  limit: Flag.Int("limit").pipe(
    Flag.withDescription(`At most so many, oldest first; never more than ${historyPageMax}`),
    Flag.withSchema(Positive),
    Flag.withDefault(100)
  ),
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
