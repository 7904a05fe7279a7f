/** `open`, `deposit`, `withdraw` and `transfer`: send a command to a node over RPC, and print its receipt. */
import { Config, Data, Effect, FileSystem, Layer, Option, Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { CommandInput } from "../domain/Command.ts"
import { AccountId, CommandId, ContraId, printInstant } from "../domain/Ids.ts"
import { parseAsset, parseDecimal } from "../domain/Money.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { Ledger } from "../Ledger.ts"
import { clientConfig } from "../rpc/client/ClientOptions.ts"
import { LedgerClient } from "../rpc/client/LedgerClient.ts"
import { assetIn, type MoneyText, parseMoneyText, unitsOf } from "./MoneyText.ts"
import { makeOutput, printJson } from "./Output.ts"
import { jsonFlag, OptionsInvalid } from "./serviceOptions.ts"

/** An amount that the account cannot hold. */
class AmountInvalid extends Data.TaggedError("AmountInvalid")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

const account = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.withDescription(description), Argument.withSchema(AccountId))

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

/** The options that were given, as fields. */
const given = <A>(options: { readonly [name: string]: Option.Option<A> }): { readonly [name: string]: A } =>
  Object.fromEntries(
    Object.entries(options).flatMap(([name, value]) => (Option.isSome(value) ? [[name, value.value]] : []))
  )

/** Sends over `CHRONICLE_RPC_URL` with `CHRONICLE_RPC_TOKEN`, and prints the receipt. */
const send = <E>(
  command: Effect.Effect<CommandInput, E, Ledger>,
  { id, json }: { readonly id: Option.Option<string>; readonly json: boolean }
) =>
  Effect.gen(function* () {
    const client = yield* LedgerClient
    yield* client.awaitConnected
    const ledger = yield* Ledger
    const input = { ...(yield* command), ...given({ commandId: id }) }
    yield* printReceipt(yield* ledger.dispatch(input), json)
  }).pipe(Effect.provide(clientLayer))

/** As the environment has it; `CHRONICLE_RPC_CA` is a file with the certificates to trust instead of the system's. */
const clientLayer = Layer.unwrap(
  Effect.gen(function* () {
    const options = yield* clientConfig
    const file = yield* Config.option(Config.String("CHRONICLE_RPC_CA"))
    if (Option.isNone(file)) return LedgerClient.layer(options)
    const files = yield* FileSystem.FileSystem
    const ca = yield* files
      .readFileString(file.value)
      .pipe(Effect.mapError((error) => new OptionsInvalid({ reason: `CHRONICLE_RPC_CA: ${error.message}` })))
    return LedgerClient.layer({ ...options, ca })
  })
)

const printReceipt = Effect.fnUntraced(function* (receipt: Receipt, json: boolean) {
  const output = makeOutput(json)
  yield* output.line(receipt.replayed ? "Done already: this is the outcome of the first time." : "Done.")
  yield* output.table([
    ["command", receipt.commandId],
    ["recorded", printInstant(receipt.recordedAt)],
    ...receipt.postings.map(({ account, version, hash }) => [account, `version ${version}, hash ${hash}`]),
    ["read token", receipt.readToken]
  ])
  if (json) yield* printJson(receipt)
})

/** Asks the node for the account's asset, unless the text names one in full. */
const moneyOf = Effect.fnUntraced(function* (money: MoneyText, id: AccountId) {
  const ledger = yield* Ledger
  const asset = assetIn(money) ?? (yield* ledger.strongBalance(id)).asset
  const units = unitsOf(money, asset)
  if (Result.isFailure(units)) return yield* new AmountInvalid({ reason: units.failure })
  return { asset, amount: units.success }
})

export const open = Command.make(
  "open",
  {
    account: account("account", "The new account's id"),
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
  },
  Effect.fnUntraced(function* ({ account, asset, owner, overdraft, ...rest }) {
    const limit = Option.map(overdraft, (text) => parseDecimal(text, asset))
    if (Option.isSome(limit) && Result.isFailure(limit.value))
      return yield* new AmountInvalid({ reason: `--overdraft: ${limit.value.failure} (${asset})` })
    const overdraftLimit = Option.flatMap(limit, Result.getSuccess)
    const input = { _tag: "OpenAccount", account, asset, owner, ...given({ overdraftLimit }) } as const
    return yield* send(Effect.succeed(input), rest)
  })
).pipe(Command.withDescription("Open an account"))

const movement = (name: "deposit" | "withdraw", tag: "Deposit" | "Withdraw", what: string) =>
  Command.make(
    name,
    { account: account("account", "The account's id"), amount, contra, description, ...shared },
    ({ account, amount, contra, description, ...rest }) =>
      send(
        Effect.map(moneyOf(amount, account), (money) => ({
          _tag: tag,
          account,
          ...money,
          ...given({ contra }),
          ...given({ description })
        })),
        rest
      )
  ).pipe(Command.withDescription(what))

export const deposit = movement("deposit", "Deposit", "Bring money into the books")
export const withdraw = movement("withdraw", "Withdraw", "Take money out of the books")

export const transfer = Command.make(
  "transfer",
  {
    from: account("from", "The account that pays"),
    to: account("to", "The account that is paid"),
    amount,
    description,
    ...shared
  },
  ({ from, to, amount, description, ...rest }) =>
    send(
      Effect.map(moneyOf(amount, from), (money) => ({
        _tag: "Transfer" as const,
        from,
        to,
        ...money,
        ...given({ description })
      })),
      rest
    )
).pipe(Command.withDescription("Move money from one account to another"))
