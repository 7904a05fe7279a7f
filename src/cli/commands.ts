/** How `open`, `deposit`, `withdraw` and `transfer` are called. */
import { Option, Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { CommandId, ContraId } from "../domain/Ids.ts"
import { parseAsset } from "../domain/Money.ts"
import { accountArgument, jsonFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"
import { parseMoneyText } from "./MoneyText.ts"

const amount = Argument.String("amount").pipe(
  Argument.withDescription("A decimal, with or without its asset: 12.50, '12.50 USD', '12.50 USD/2'"),
  Argument.filterMap(
    (text) => Option.fromUndefinedOr(parseMoneyText(text)),
    () => "is no amount: write 12.50, '12.50 USD' or '12.50 USD/2'"
  )
)

const shared = {
  id: Flag.String("id").pipe(
    Flag.withDescription("The command's id; sent again, the command takes effect once; made when absent"),
    Flag.withSchema(CommandId),
    Flag.optional
  ),
  json: jsonFlag
}

const description = Flag.String("description").pipe(
  Flag.withDescription("Appears on the statement"),
  Flag.optional
)

const contra = Flag.String("contra").pipe(
  Flag.withDescription("The account outside the books; external:bank when absent"),
  Flag.withSchema(ContraId),
  Flag.optional
)

const openFlags = {
  account: accountArgument("account", "The new account's id"),
  asset: Argument.String("asset").pipe(
    Argument.withDescription("A code and a scale: USD/2, or USD, EUR, JPY, BTC for short"),
    Argument.filterMap(
      (text) => Result.getSuccess(parseAsset(text)),
      (text) => Result.match(parseAsset(text), { onSuccess: String, onFailure: String })
    )
  ),
  owner: Flag.String("owner").pipe(Flag.withDescription("Whose account it is")),
  overdraft: Flag.String("overdraft").pipe(
    Flag.withDescription("How far it may go below zero, a decimal; not at all when absent"),
    Flag.optional
  ),
  ...shared
}
export type OpenFlags = Command.Command.Config.Infer<typeof openFlags>

export const open = Command.make(
  "open",
  openFlags,
  lazily(() => import("./remote/commands.ts").then(({ open }) => open))
).pipe(Command.withDescription("Open an account"))

const movementFlags = { account: accountArgument(), amount, contra, description, ...shared }
export type MovementFlags = Command.Command.Config.Infer<typeof movementFlags>

export const deposit = Command.make(
  "deposit",
  movementFlags,
  lazily(() => import("./remote/commands.ts").then(({ deposit }) => deposit))
).pipe(Command.withDescription("Bring money into the books"))

export const withdraw = Command.make(
  "withdraw",
  movementFlags,
  lazily(() => import("./remote/commands.ts").then(({ withdraw }) => withdraw))
).pipe(Command.withDescription("Take money out of the books"))

const transferFlags = {
  from: accountArgument("from", "The account that pays"),
  to: accountArgument("to", "The account that is paid"),
  amount,
  description,
  ...shared
}
export type TransferFlags = Command.Command.Config.Infer<typeof transferFlags>

export const transfer = Command.make(
  "transfer",
  transferFlags,
  lazily(() => import("./remote/commands.ts").then(({ transfer }) => transfer))
).pipe(Command.withDescription("Move money from one account to another"))
