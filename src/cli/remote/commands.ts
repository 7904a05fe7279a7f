/** The commands that change accounts and move money: each is sent to a node over RPC, and its receipt printed. */
import { Data, Duration, Effect, Option, Result, Schema } from "effect"
import type { CommandInput } from "../../domain/Command.ts"
import { AccountId, printInstant } from "../../domain/Ids.ts"
import { type Asset, parseDecimal } from "../../domain/Money.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { Ledger } from "../../LedgerService.ts"
import { LedgerClient } from "../../rpc/client/LedgerClient.ts"
import type {
  AdjustHoldFlags,
  CaptureHoldFlags,
  CloseFlags,
  FreezeFlags,
  JournalFlags,
  MovementFlags,
  OpenFlags,
  PlaceHoldFlags,
  ReleaseHoldFlags,
  ReverseFlags,
  TransferFlags,
  UpdateFlags
} from "../commands.ts"
import { given } from "../flags.ts"
import { assetIn, type MoneyText, parseMoneyText, unitsOf } from "../MoneyText.ts"
import { makeOutput, printJson } from "../Output.ts"
import { clientLayer } from "./connection.ts"

/** An amount that the account cannot hold. */
class AmountInvalid extends Data.TaggedError("AmountInvalid")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** Sends over `CHRONICLE_RPC_URL` with `CHRONICLE_RPC_TOKEN`, and prints the receipt. */
export const send = <E, R>(
  command: Effect.Effect<CommandInput, E, R | Ledger>,
  { id, json }: { readonly id: Option.Option<string>; readonly json: boolean }
) =>
  Effect.gen(function* () {
    const client = yield* LedgerClient
    yield* client.awaitConnected
    const ledger = yield* Ledger
    const input = { ...(yield* command), ...given({ commandId: id }) }
    yield* printReceipt(yield* ledger.dispatch(input), json)
  }).pipe(Effect.provide(clientLayer()))

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

/** The amount with the asset that the text names in full, which the ledger checks; else with the account's. */
const moneyOf = (money: MoneyText, id: AccountId) => {
  const asset = assetIn(money)
  return asset === undefined ? ownMoneyOf(money, id) : inAsset(money, asset)
}

/** The same where the command has no field for an asset: the node is asked, and a text that names another one is refused. */
const ownMoneyOf = Effect.fnUntraced(function* (money: MoneyText, id: AccountId) {
  const ledger = yield* Ledger
  return yield* inAsset(money, (yield* ledger.strongBalance(id)).asset)
})

const inAsset = (money: MoneyText, asset: Asset) =>
  Result.match(unitsOf(money, asset), {
    onSuccess: (amount) => Effect.succeed({ asset, amount }),
    onFailure: (reason) => Effect.fail(new AmountInvalid({ reason }))
  })

/** The overdraft limit of an account of the asset. */
const limitOf = Effect.fnUntraced(function* (text: Option.Option<string>, asset: Asset) {
  const limit = Option.map(text, (decimal) => parseDecimal(decimal, asset))
  if (Option.isSome(limit) && Result.isFailure(limit.value))
    return yield* new AmountInvalid({ reason: `--overdraft: ${limit.value.failure} (${asset})` })
  return Option.flatMap(limit, Result.getSuccess)
})

export const open = Effect.fnUntraced(function* ({
  account,
  asset,
  owner,
  overdraft,
  metadata,
  ...rest
}: OpenFlags) {
  const overdraftLimit = yield* limitOf(overdraft, asset)
  const further = { ...given({ overdraftLimit }), ...given({ metadata }) }
  return yield* send(
    Effect.succeed({ _tag: "OpenAccount", account, asset, owner, ...further } as const),
    rest
  )
})

const movement =
  (tag: "Deposit" | "Withdraw") =>
  ({ account, amount, contra, description, metadata, ...rest }: MovementFlags) =>
    send(
      Effect.map(moneyOf(amount, account), (money) => ({
        _tag: tag,
        account,
        ...money,
        ...given({ contra }),
        ...given({ description }),
        ...given({ metadata })
      })),
      rest
    )

export const deposit = movement("Deposit")
export const withdraw = movement("Withdraw")

export const transfer = ({ from, to, amount, description, metadata, ...rest }: TransferFlags) =>
  send(
    Effect.map(moneyOf(amount, from), (money) => ({
      _tag: "Transfer" as const,
      from,
      to,
      ...money,
      ...given({ description }),
      ...given({ metadata })
    })),
    rest
  )

/** `hold place`. */
export const placeHold = ({
  account,
  amount,
  description,
  expiresAt,
  expiresIn,
  metadata,
  to,
  ...rest
}: PlaceHoldFlags) =>
  send(
    Effect.map(moneyOf(amount, account), (money) => ({
      _tag: "PlaceHold" as const,
      account,
      ...money,
      ...given({ expiresAt, expiresIn: Option.map(expiresIn, Duration.toMillis) }),
      ...given({ to, description }),
      ...given({ metadata })
    })),
    rest
  )

/** An amount that may be left out; the hold has the account's asset, so it is not named. */
const partOf = Effect.fnUntraced(function* (amount: Option.Option<MoneyText>, account: AccountId) {
  if (Option.isNone(amount)) return {}
  const money = yield* ownMoneyOf(amount.value, account)
  return { amount: money.amount }
})

export const captureHold = ({
  account,
  amount,
  description,
  excess,
  final,
  hold,
  metadata,
  to,
  ...rest
}: CaptureHoldFlags) =>
  send(
    Effect.map(partOf(amount, account), (part) => ({
      _tag: "CaptureHold" as const,
      account,
      hold,
      ...part,
      ...(final ? { final } : {}),
      ...(excess ? { excess: "fromAvailable" as const } : {}),
      ...given({ to, description }),
      ...given({ metadata })
    })),
    rest
  )

export const adjustHold = ({
  account,
  amount,
  description,
  expiresAt,
  hold,
  metadata,
  ...rest
}: AdjustHoldFlags) =>
  send(
    Effect.map(partOf(amount, account), (part) => ({
      _tag: "AdjustHold" as const,
      account,
      hold,
      ...part,
      ...given({ expiresAt }),
      ...given({ description }),
      ...given({ metadata })
    })),
    rest
  )

export const releaseHold = ({ account, amount, description, hold, metadata, ...rest }: ReleaseHoldFlags) =>
  send(
    Effect.map(partOf(amount, account), (part) => ({
      _tag: "ReleaseHold" as const,
      account,
      hold,
      ...part,
      ...given({ description }),
      ...given({ metadata })
    })),
    rest
  )

/** `shop=30.00;tax=13.30`: what accounts of the original give or get back, each in its own asset. */
const readLegs = (text: string) =>
  Effect.forEach(
    text.split(";"),
    Effect.fnUntraced(function* (part) {
      const [name = "", written = "", ...more] = part.split("=").map((one) => one.trim())
      const account = Schema.decodeUnknownOption(AccountId)(name)
      const money = parseMoneyText(written)
      if (Option.isNone(account) || money === undefined || more.length > 0)
        return yield* new AmountInvalid({ reason: `--legs: "${part}" is no account=amount` })
      const { amount } = yield* ownMoneyOf(money, account.value)
      return { account: account.value, amount }
    })
  )

export const reverse = ({ legs, json, metadata, n, original, reason, shortfall }: ReverseFlags) =>
  send(
    Effect.gen(function* () {
      const named = Option.isSome(legs) ? { legs: yield* readLegs(legs.value) } : {}
      return {
        _tag: "Reverse" as const,
        original,
        reason,
        ...named,
        ...given({ n }),
        ...given({ shortfall }),
        ...given({ metadata })
      }
    }),
    { id: Option.none(), json }
  )

export const journal = ({ legs, fx, description, metadata, ...rest }: JournalFlags) =>
  send(
    Effect.succeed({
      _tag: "PostJournal",
      legs,
      ...given({ fx }),
      ...given({ description }),
      ...given({ metadata })
    } as CommandInput), // read from text; the ledger checks every field of it
    rest
  )

export const update = ({ account, owner, overdraft, metadata, description, ...rest }: UpdateFlags) =>
  send(
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const overdraftLimit = Option.isNone(overdraft)
        ? Option.none<bigint>()
        : yield* limitOf(overdraft, (yield* ledger.strongBalance(account)).asset)
      return {
        _tag: "UpdateAccount" as const,
        account,
        ...given({ owner }),
        ...given({ overdraftLimit }),
        ...given({ metadata }),
        ...given({ description })
      }
    }),
    rest
  )

const freezing =
  (tag: "FreezeAccount" | "UnfreezeAccount") =>
  ({ account, side, reason, ...rest }: FreezeFlags) =>
    send(Effect.succeed({ _tag: tag, account, ...given({ side }), ...given({ reason }) } as const), rest)

export const freeze = freezing("FreezeAccount")
export const unfreeze = freezing("UnfreezeAccount")

export const closeAccount = ({ account, reason, ...rest }: CloseFlags) =>
  send(Effect.succeed({ _tag: "CloseAccount", account, ...given({ reason }) } as const), rest)
