/** The commands that change accounts and move money: each is sent to a node over RPC, and its receipt printed. */
import { Data, Duration, Effect, Option, Result } from "effect"
import { amountOf } from "../../domain/Amounts.ts"
import type { CommandInput } from "../../domain/Command.ts"
import { CommandNotFound } from "../../domain/Errors.ts"
import { type AccountId, type CommandId, type Instant, printInstant, type Version } from "../../domain/Ids.ts"
import { type Asset, codeOf, parseDecimal } from "../../domain/Money.ts"
import { movedBy } from "../../domain/MovedByOriginal.ts"
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
import { OptionsInvalid } from "../failures.ts"
import { given } from "../flags.ts"
import { assetIn, type MoneyText, unitsOf } from "../MoneyText.ts"
import { makeOutput, printJson } from "../Output.ts"
import { clientLayer } from "./connection.ts"

/** An amount that the account cannot hold. */
class AmountInvalid extends Data.TaggedError("AmountInvalid")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** Options that contradict each other, or of which one at least is needed: said before a node is asked. */
const misused = (reason: string) => Effect.fail(new OptionsInvalid({ reason }))

/** What every command may say of itself. */
interface SharedFlags {
  readonly id: Option.Option<string>
  readonly effectiveAt: Option.Option<Instant>
  readonly expectedVersion: Option.Option<Version>
  readonly json: boolean
}

/** Sends to `CHRONICLE_RPC_URL`, or the node of this machine, with `CHRONICLE_RPC_TOKEN`, and prints the receipt. */
export const send = <E, R>(
  command: Effect.Effect<CommandInput, E, R | Ledger>,
  { id, effectiveAt, expectedVersion, json }: SharedFlags
) =>
  Effect.gen(function* () {
    const client = yield* LedgerClient
    yield* client.awaitConnected
    const ledger = yield* Ledger
    const input = {
      ...(yield* command),
      ...given({ commandId: id }),
      ...given({ effectiveAt, expectedVersion })
    }
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

/** The node is asked for the account's asset, and a text that names another one is refused. */
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
  const overdraftLimit = yield* Effect.mapError(
    limitOf(overdraft, asset),
    ({ reason }) => new OptionsInvalid({ reason })
  )
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
  Option.isSome(expiresAt) && Option.isSome(expiresIn)
    ? misused("--expires and --expires-in exclude each other")
    : send(
        Effect.map(moneyOf(amount, account), (money) => ({
          _tag: "PlaceHold" as const,
          account,
          ...money,
          // In whole milliseconds, of which a part counts for one, as in a day file.
          ...given({
            expiresAt,
            expiresIn: Option.map(expiresIn, (time) => Math.ceil(Duration.toMillis(time)))
          }),
          ...given({ to, description }),
          ...given({ metadata })
        })),
        rest
      )

/** An amount that may be left out. */
const partOf = (amount: Option.Option<MoneyText>, account: AccountId) =>
  Option.isNone(amount) ? Effect.succeed({}) : moneyOf(amount.value, account)

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
  Option.isNone(amount) && Option.isNone(expiresAt)
    ? misused("give what is to be changed: an amount, --expires, or both")
    : send(
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

/** The accounts and contras on which an original moved money in the end, each with the asset. */
const placesOf = Effect.fnUntraced(function* (original: CommandId) {
  const ledger = yield* Ledger
  const found = yield* ledger.find(original)
  if (Option.isNone(found)) return yield* new CommandNotFound({ commandId: original })
  const moves = found.value.legs.filter(({ event }) => amountOf(event) !== 0n)
  const accounts = new Set(moves.map(({ account }) => account))
  const assets = yield* Effect.forEach(accounts, (account) =>
    Effect.map(ledger.strongBalance(account), ({ asset }) => [account, asset] as const)
  )
  return yield* Effect.fromResult(movedBy(original, moves, new Map(assets)))
})

/** The amount in the one asset that the original moved there; where it moved several, the text has to name one. */
const originalMoneyOf = (
  money: MoneyText,
  places: Effect.Success<ReturnType<typeof placesOf>>,
  account?: string
) => {
  const own = places.filter((place) => account === undefined || place.account === account)
  const assets = [...new Set(own.map(({ asset }) => asset))]
  const meant = assets.filter(
    (asset) => money.unit === undefined || money.unit === asset || money.unit === codeOf(asset)
  )
  const [asset, ...further] = meant
  if (asset !== undefined && further.length === 0) return inAsset(money, asset)
  const where = account === undefined ? "the original" : `${account} in the original`
  if (assets.length === 0) return Effect.fail(new AmountInvalid({ reason: `${where} moved nothing` }))
  const named = money.unit ?? "none of them"
  const reason = `${where} moved ${assets.join(" and ")}; the amount names ${named}`
  return Effect.fail(new AmountInvalid({ reason }))
}

type PartsBack = Option.Option.Value<ReverseFlags["legs"]>

/** What accounts and contras of the original give or get back. */
const readLegs = Effect.fnUntraced(function* (parts: PartsBack, original: CommandId) {
  const places = yield* placesOf(original)
  return yield* Effect.forEach(parts, ({ account, money }) =>
    Effect.map(originalMoneyOf(money, places, account), (moved) => ({ account, ...moved }))
  )
})

export const reverse = ({
  amount,
  description,
  legs,
  metadata,
  n,
  original,
  reason,
  shortfall,
  ...rest
}: ReverseFlags) =>
  Option.isSome(amount) && Option.isSome(legs)
    ? misused("--amount and --legs exclude each other")
    : send(
        Effect.gen(function* () {
          const named = Option.isSome(legs) ? { legs: yield* readLegs(legs.value, original) } : {}
          const part = Option.isSome(amount)
            ? yield* originalMoneyOf(amount.value, yield* placesOf(original))
            : {}
          return {
            _tag: "Reverse" as const,
            original,
            reason,
            ...part,
            ...named,
            ...given({ n }),
            ...given({ shortfall }),
            ...given({ description }),
            ...given({ metadata })
          }
        }),
        { id: Option.none(), ...rest }
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
  Option.isNone(owner) && Option.isNone(overdraft) && Option.isNone(metadata)
    ? misused("give what is to be changed: --owner, --overdraft or --metadata")
    : send(
        Effect.gen(function* () {
          const ledger = yield* Ledger
          const asset = Option.isNone(overdraft)
            ? Option.none<Asset>()
            : Option.some((yield* ledger.strongBalance(account)).asset)
          const overdraftLimit = Option.isNone(asset) ? Option.none() : yield* limitOf(overdraft, asset.value)
          return {
            _tag: "UpdateAccount" as const,
            account,
            ...given({ owner }),
            ...given({ overdraftLimit }),
            ...given({ asset }),
            ...given({ metadata }),
            ...given({ description })
          }
        }),
        rest
      )

const freezing =
  (tag: "FreezeAccount" | "UnfreezeAccount") =>
  ({ account, side, reason, description, metadata, ...rest }: FreezeFlags) =>
    send(
      Effect.succeed({
        _tag: tag,
        account,
        ...given({ side }),
        ...given({ reason, description }),
        ...given({ metadata })
      } as const),
      rest
    )

export const freeze = freezing("FreezeAccount")
export const unfreeze = freezing("UnfreezeAccount")

export const closeAccount = ({ account, reason, description, metadata, ...rest }: CloseFlags) =>
  send(
    Effect.succeed({
      _tag: "CloseAccount",
      account,
      ...given({ reason, description }),
      ...given({ metadata })
    } as const),
    rest
  )
