/** How the commands that change accounts and move money are called: `open` to `close-account`. */
import { Option, Result, Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { FrozenSide, ReversalNumber } from "../domain/Command.ts"
import { AccountId, AccountOrContra, CommandId, ContraId, OriginalId, Version } from "../domain/Ids.ts"
import { parseAsset } from "../domain/Money.ts"
import { type Fault, parseDuration, toExchanges, toLegs } from "./DayFields.ts"
import {
  accountArgument,
  instantFlag,
  jsonFlag,
  metadataFlag,
  readableArgument,
  wholeNumberFlag
} from "./flags.ts"
import { lazily } from "./lazily.ts"
import { assetIn, type MoneyText, parseMoneyText, unitsOf } from "./MoneyText.ts"
import { holdList } from "./queries.ts"

/** What is wrong with an amount; where it names its asset in full, that it has too many decimals, too. */
const amountFault = (text: string): string | undefined => {
  const money = parseMoneyText(text)
  if (money === undefined) return "is no amount: write 12.50, '12.50 USD' or '12.50 USD/2'"
  const asset = assetIn(money)
  const units = asset === undefined ? undefined : unitsOf(money, asset)
  return units !== undefined && Result.isFailure(units) ? units.failure : undefined
}

const readAmount = (text: string): MoneyText | undefined =>
  amountFault(text) === undefined ? parseMoneyText(text) : undefined

const inMoneyForm = [
  (text: string) => Option.fromUndefinedOr(readAmount(text)),
  (text: string) => amountFault(text) ?? ""
] as const

/** How far an account may go below zero; how many decimals there are is said by its asset. */
const overdraftFlag = (description: string) =>
  Flag.String("overdraft").pipe(
    Flag.withDescription(description),
    Flag.filterMap(
      (text) => {
        const money = parseMoneyText(text)
        return money?.unit === undefined ? Option.fromUndefinedOr(money?.decimal) : Option.none()
      },
      () => "is no decimal: write 500.00"
    ),
    Flag.optional
  )

const amount = Argument.String("amount").pipe(
  Argument.withDescription("A decimal, with or without its asset: 12.50, '12.50 USD', '12.50 USD/2'"),
  Argument.filterMap(...inMoneyForm)
)

/** What every command may say. */
const common = {
  effectiveAt: instantFlag("effective", "For when it counts; for when it is recorded, when absent"),
  expectedVersion: wholeNumberFlag("expected-version").pipe(
    Flag.withDescription("The version that the (first) account must be at; at any other nothing is done"),
    Flag.withSchema(Version),
    Flag.optional
  ),
  json: jsonFlag
}

/** The id of a reversal is the ledger's own. */
const shared = {
  id: Flag.String("id").pipe(
    Flag.withDescription("The command's id; sent again, the command takes effect once; made when absent"),
    Flag.withSchema(CommandId),
    Flag.optional
  ),
  ...common
}

const description = Flag.String("description").pipe(
  Flag.withDescription("Appears on the statement"),
  Flag.optional
)

const reason = Flag.String("reason").pipe(Flag.withDescription("Why; kept with the event"), Flag.optional)

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
  overdraft: overdraftFlag("How far it may go below zero, a decimal; not at all when absent"),
  metadata: metadataFlag,
  ...shared
}
export type OpenFlags = Command.Command.Config.Infer<typeof openFlags>

export const open = Command.make(
  "open",
  openFlags,
  lazily(() => import("./remote/commands.ts").then(({ open }) => open))
).pipe(Command.withDescription("Open an account"))

const movementFlags = {
  account: accountArgument(),
  amount,
  contra,
  description,
  metadata: metadataFlag,
  ...shared
}
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
  metadata: metadataFlag,
  ...shared
}
export type TransferFlags = Command.Command.Config.Infer<typeof transferFlags>

export const transfer = Command.make(
  "transfer",
  transferFlags,
  lazily(() => import("./remote/commands.ts").then(({ transfer }) => transfer))
).pipe(Command.withDescription("Move money from one account to another"))

const isPlace = Schema.is(AccountOrContra)

/** What one account gives or gets back. */
interface PartBack {
  readonly account: AccountOrContra
  readonly money: MoneyText
}

/** `shop=30.00;tax=13.30`; undefined where a part is no account with an amount. */
const parsePartsBack = (text: string): ReadonlyArray<PartBack> | undefined => {
  const parts = text.split(";").map((part): PartBack | undefined => {
    const [account = "", written = "", ...more] = part.split("=").map((one) => one.trim())
    const money = readAmount(written)
    return isPlace(account) && money !== undefined && more.length === 0 ? { account, money } : undefined
  })
  return parts.every((part) => part !== undefined) ? parts : undefined
}

const reverseFlags = {
  original: Argument.String("original").pipe(
    Argument.withDescription("The id of the command whose money is given back"),
    Argument.withSchema(OriginalId)
  ),
  reason: Flag.String("reason").pipe(Flag.withDescription("Why; kept with the events")),
  n: wholeNumberFlag("n").pipe(
    Flag.withDescription("Which reversal of the original this is, counted from 1"),
    Flag.withSchema(ReversalNumber),
    Flag.optional
  ),
  legs: Flag.String("legs").pipe(
    Flag.withDescription(
      "What accounts of the original, and accounts outside the books, give or get back: 'shop=30.00;tax=13.30', 'external:card=30.00 USD'; all that is left when absent"
    ),
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(parsePartsBack(text)),
      () => "is no list of accounts with amounts that their assets can have: write 'shop=30.00;tax=13.30'"
    ),
    Flag.optional
  ),
  amount: Flag.String("amount").pipe(
    Flag.withDescription("What is given back of an original that moved one amount: 12.50, or '12.50 USD'"),
    Flag.filterMap(...inMoneyForm),
    Flag.optional
  ),
  shortfall: Flag.String("shortfall").pipe(
    Flag.withDescription("The account that pays what another one cannot give back"),
    Flag.withSchema(AccountId),
    Flag.optional
  ),
  description,
  metadata: metadataFlag,
  ...common
}
export type ReverseFlags = Command.Command.Config.Infer<typeof reverseFlags>

export const reverse = Command.make(
  "reverse",
  reverseFlags,
  lazily(() => import("./remote/commands.ts").then(({ reverse }) => reverse))
).pipe(Command.withDescription("Give back what an earlier command moved, once for each n"))

const holdArgument = Argument.String("hold").pipe(
  Argument.withDescription("The hold's id: that of the command which placed it"),
  Argument.withSchema(CommandId)
)

const part = amount.pipe(Argument.optional)

const toFlag = Flag.String("to").pipe(
  Flag.withDescription("Where captures go: an account, or one outside the books (external:bank)"),
  Flag.withSchema(AccountOrContra),
  Flag.optional
)

const expiresAtFlag = instantFlag("expires", "When it expires")

const placeHoldFlags = {
  account: accountArgument("account", "The account that is to pay"),
  amount,
  expiresAt: expiresAtFlag,
  expiresIn: Flag.String("expires-in").pipe(
    Flag.withDescription("How long until it expires: '7 days', '90 minutes'"),
    Flag.filterMap(parseDuration, () => "is no length of time: write '7 days' or '90 minutes'"),
    Flag.optional
  ),
  to: toFlag,
  description,
  metadata: metadataFlag,
  ...shared
}
export type PlaceHoldFlags = Command.Command.Config.Infer<typeof placeHoldFlags>

const captureHoldFlags = {
  account: accountArgument("account", "The account that pays"),
  hold: holdArgument,
  amount: part,
  final: Flag.Boolean("final").pipe(
    Flag.withDescription("Give free what remains of it afterwards"),
    Flag.withDefault(false)
  ),
  to: toFlag,
  excess: Flag.Boolean("excess").pipe(
    Flag.withDescription("Take more than remains from what is available on the account"),
    Flag.withDefault(false)
  ),
  description,
  metadata: metadataFlag,
  ...shared
}
export type CaptureHoldFlags = Command.Command.Config.Infer<typeof captureHoldFlags>

const adjustHoldFlags = {
  account: accountArgument("account", "The account of the hold"),
  hold: holdArgument,
  amount: part,
  expiresAt: expiresAtFlag,
  description,
  metadata: metadataFlag,
  ...shared
}
export type AdjustHoldFlags = Command.Command.Config.Infer<typeof adjustHoldFlags>

const releaseHoldFlags = {
  account: accountArgument("account", "The account of the hold"),
  hold: holdArgument,
  amount: part,
  description,
  metadata: metadataFlag,
  ...shared
}
export type ReleaseHoldFlags = Command.Command.Config.Infer<typeof releaseHoldFlags>

export const hold = Command.make("hold").pipe(
  Command.withDescription("Keep money back for a payment to come, and pay from it"),
  Command.withSubcommands([
    Command.make(
      "place",
      placeHoldFlags,
      lazily(() => import("./remote/commands.ts").then(({ placeHold }) => placeHold))
    ).pipe(Command.withDescription("Keep money back; the hold's id is the command's")),
    Command.make(
      "capture",
      captureHoldFlags,
      lazily(() => import("./remote/commands.ts").then(({ captureHold }) => captureHold))
    ).pipe(Command.withDescription("Pay from a hold: all that remains, or a part")),
    Command.make(
      "adjust",
      adjustHoldFlags,
      lazily(() => import("./remote/commands.ts").then(({ adjustHold }) => adjustHold))
    ).pipe(Command.withDescription("Change a hold's total, or when it expires")),
    Command.make(
      "release",
      releaseHoldFlags,
      lazily(() => import("./remote/commands.ts").then(({ releaseHold }) => releaseHold))
    ).pipe(Command.withDescription("Give free what a hold keeps back: all, or a part")),
    holdList
  ])
)

/** A text in the form of a day file (examples/README.md), by the reader of day files. */
const inDayForm = <A>(read: (text: string) => Result.Result<A, Fault>) =>
  [
    (text: string) => Result.getSuccess(read(text)),
    (text: string) =>
      Result.match(read(text), {
        onSuccess: () => "is right",
        onFailure: ({ column, reason, detail, text: at }) =>
          column === "asset" && reason === "missing"
            ? `has a leg without its asset: ${at}`
            : `is ${reason}: ${at}${detail === undefined ? "" : ` (${detail})`}`
      })
  ] as const

const journalFlags = {
  legs: Argument.String("legs").pipe(
    Argument.withDescription(
      "What each account gets, with its asset: 'alice=-10.00 USD;shop=9.80 USD;external:card=0.20 USD'"
    ),
    Argument.filterMap(...inDayForm((text) => toLegs(text, undefined)))
  ),
  fx: Flag.String("fx").pipe(
    Flag.withDescription("The rates it is held against: 'USD>EUR=10/11 half-even'"),
    Flag.filterMap(...inDayForm(toExchanges)),
    Flag.optional
  ),
  description,
  metadata: metadataFlag,
  ...shared
}
export type JournalFlags = Command.Command.Config.Infer<typeof journalFlags>

export const journal = Command.make(
  "journal",
  journalFlags,
  lazily(() => import("./remote/commands.ts").then(({ journal }) => journal))
).pipe(Command.withDescription("Book any number of legs that sum to zero, all or nothing"))

const groupFlags = {
  file: readableArgument("file").pipe(
    Argument.withDescription(
      "Its commands, a line each, in the format of examples/README.md; their ids count for nothing. A file, or a pipe"
    )
  ),
  ...shared
}
export type GroupFlags = Command.Command.Config.Infer<typeof groupFlags>

export const group = Command.make(
  "group",
  groupFlags,
  lazily(() => import("./remote/group.ts").then(({ group }) => group))
).pipe(Command.withDescription("Do several commands in order, all or none of them"))

const updateFlags = {
  account: accountArgument(),
  owner: Flag.String("owner").pipe(Flag.withDescription("Whose account it is now"), Flag.optional),
  overdraft: overdraftFlag("How far it may go below zero from now on, a decimal"),
  metadata: metadataFlag.pipe(Flag.withDescription("Takes the place of all metadata: --metadata tier=gold")),
  description,
  ...shared
}
export type UpdateFlags = Command.Command.Config.Infer<typeof updateFlags>

export const update = Command.make(
  "update",
  updateFlags,
  lazily(() => import("./remote/commands.ts").then(({ update }) => update))
).pipe(Command.withDescription("Change an account's owner, overdraft limit or metadata"))

const freezeFlags = {
  account: accountArgument(),
  side: Flag.Literals("side", FrozenSide.literals).pipe(
    Flag.withDescription("What it pays (debits), what it gets (credits), or both (when absent)"),
    Flag.optional
  ),
  reason,
  description,
  metadata: metadataFlag,
  ...shared
}
export type FreezeFlags = Command.Command.Config.Infer<typeof freezeFlags>

export const freeze = Command.make(
  "freeze",
  freezeFlags,
  lazily(() => import("./remote/commands.ts").then(({ freeze }) => freeze))
).pipe(Command.withDescription("Let no money leave or enter an account"))

export const unfreeze = Command.make(
  "unfreeze",
  freezeFlags,
  lazily(() => import("./remote/commands.ts").then(({ unfreeze }) => unfreeze))
).pipe(Command.withDescription("Let money move on an account again"))

const closeFlags = { account: accountArgument(), reason, description, metadata: metadataFlag, ...shared }
export type CloseFlags = Command.Command.Config.Infer<typeof closeFlags>

export const closeAccount = Command.make(
  "close-account",
  closeFlags,
  lazily(() => import("./remote/commands.ts").then(({ closeAccount }) => closeAccount))
).pipe(Command.withDescription("Close an account of balance zero for ever"))
