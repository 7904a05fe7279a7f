/** The decisions about holds: what may be kept back, captured, changed and given free, or why not. Pure. */
import { Result } from "effect"
import { type Account, active, covers, hasRoomFor, type OpenedAccount, ofAsset } from "./Account.ts"
import type { Command } from "./Command.ts"
import {
  AccountNotFound,
  CaptureExceedsHold,
  HoldExpired,
  HoldLimit,
  HoldNotFound,
  type InsufficientFunds,
  InvalidCommand,
  LimitExceeded,
  type Rejection,
  SameAccount
} from "./Errors.ts"
import type { Event } from "./Event.ts"
import { capturesMax, type Hold, isExpired, openHoldsMax } from "./Holds.ts"
import {
  type AccountId,
  type AccountOrContra,
  type ContraId,
  type Instant,
  instantMax,
  isContra
} from "./Ids.ts"
import { balanceMax, formatMoney } from "./Money.ts"

interface Decided {
  readonly account: AccountId
  readonly event: Event
}
type Decision = Result.Result<ReadonlyArray<Decided>, Rejection>
type Of<Tag extends Command["_tag"]> = Extract<Command, { readonly _tag: Tag }>

const bank = "external:bank" as ContraId // a literal that the schema of ContraId accepts

/** What the sender of the command wrote to it: on its event, and on the leg of the account that is paid. */
const noted = ({ description, metadata }: Pick<Of<"CaptureHold">, "description" | "metadata">) => ({
  ...(description === undefined ? {} : { description }),
  ...(metadata === undefined ? {} : { metadata })
})
const one = (account: AccountId, event: Event): Decision => Result.succeed([{ account, event }])

/** `expiresAt`, or what `expiresIn` comes to; it must lie after the instant at which the command is recorded. */
const expiryOf = (
  { expiresAt, expiresIn }: { readonly expiresAt?: Instant; readonly expiresIn?: number },
  at: Instant
): Result.Result<Instant | undefined, InvalidCommand> => {
  if (expiresAt !== undefined && expiresIn !== undefined)
    return Result.fail(InvalidCommand.at("expiresIn", "give expiresAt or expiresIn, not both"))
  if (expiresIn !== undefined) {
    return at + expiresIn <= instantMax
      ? Result.succeed(at + expiresIn)
      : Result.fail(InvalidCommand.at("expiresIn", "ends after the year 9999"))
  }
  return expiresAt === undefined || expiresAt > at
    ? Result.succeed(expiresAt)
    : Result.fail(
        InvalidCommand.at("expiresAt", "must lie after the instant at which the command is recorded")
      )
}

/** Fails where holds would keep back more than a balance may be, as an overdraft limit beside it would allow. */
const keepsWithin = ({ asset, held, id }: OpenedAccount, more: bigint): Result.Result<void, LimitExceeded> =>
  held + more <= balanceMax
    ? Result.void
    : Result.fail(
        new LimitExceeded({ account: id, limit: "sum of open holds", max: balanceMax.toString(), asset })
      )

// Written out, where generators would be shorter: with the next command below it is what card payments are made of.
export const placeHold = (command: Of<"PlaceHold">, account: Account, at: Instant): Decision => {
  const { amount, asset, commandId: hold, to } = command
  const found = active(account, asset, "debits")
  if (Result.isFailure(found)) return Result.fail(found.failure)
  const opened = found.success
  const expiry = expiryOf(command, at)
  if (Result.isFailure(expiry)) return Result.fail(expiry.failure)
  if (to === opened.id) return Result.fail(new SameAccount({ account: opened.id }))
  // Its own earlier sending: the id is looked up before a refusal is told, and answers that sending's outcome.
  if (opened.holds.some(({ id }) => id === hold))
    return Result.fail(InvalidCommand.at("commandId", "is the id of an open hold"))
  if (opened.holds.length >= openHoldsMax) {
    const limit = "open holds of an account"
    return Result.fail(new HoldLimit({ account: opened.id, limit, max: openHoldsMax }))
  }
  const covered = covers(opened, amount)
  if (Result.isFailure(covered)) return Result.fail(covered.failure)
  const kept = keepsWithin(opened, amount)
  if (Result.isFailure(kept)) return Result.fail(kept.failure)
  const expiresAt = expiry.success
  return one(opened.id, {
    _tag: "HoldPlaced",
    hold,
    amount,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(to === undefined ? {} : { to }),
    ...noted(command)
  })
}

/**
 * The open hold of that id. `before` is the account as it stood after its last event, with holds that have expired since;
 * one that is in neither was closed earlier, or was never there: only the log tells which (see actors/commands/HoldOutcome.ts).
 */
const openHold = (
  { id: account, holds }: OpenedAccount,
  before: Account,
  hold: Of<"CaptureHold">["hold"],
  at: Instant
): Result.Result<Hold, HoldNotFound | HoldExpired> => {
  const found = holds.find(({ id }) => id === hold)
  if (found !== undefined) return Result.succeed(found)
  const late = before._tag === "Absent" ? undefined : before.holds.find(({ id }) => id === hold)
  return late?.expiresAt !== undefined && isExpired(late, at)
    ? Result.fail(new HoldExpired({ account, hold, expiredAt: late.expiresAt }))
    : Result.fail(new HoldNotFound({ account, hold }))
}

/** Where a capture goes: where the hold says, else where the command says, else out of the books to the bank. */
const destinationOf = (
  command: Of<"CaptureHold">,
  hold: Hold
): Result.Result<AccountOrContra, InvalidCommand> =>
  hold.to !== undefined && command.to !== undefined && hold.to !== command.to
    ? Result.fail(
        InvalidCommand.at("to", "differs from where the hold was placed for, which cannot be changed")
      )
    : Result.succeed(hold.to ?? command.to ?? bank)

/** The account that a capture needs besides the payer's, where only the hold names it. */
export const destinationInState = (command: Of<"CaptureHold">, payer: Account): AccountId | undefined => {
  const to = payer._tag === "Absent" ? undefined : payer.holds.find(({ id }) => id === command.hold)?.to
  return to === undefined || isContra(to) ? undefined : to
}

export const captureHold = (
  command: Of<"CaptureHold">,
  stateOf: (account: AccountId) => Account,
  before: Account,
  at: Instant
): Decision => {
  const { account } = command
  const payer = active(stateOf(account), command.asset, "debits")
  if (Result.isFailure(payer)) return Result.fail(payer.failure)
  const found = openHold(payer.success, before, command.hold, at)
  if (Result.isFailure(found)) return Result.fail(found.failure)
  const hold = found.success
  const destination = destinationOf(command, hold)
  if (Result.isFailure(destination)) return Result.fail(destination.failure)
  const to = destination.success
  if (to === account) return Result.fail(new SameAccount({ account }))
  if (hold.captures >= capturesMax)
    return Result.fail(new HoldLimit({ account, limit: "captures of a hold", max: capturesMax }))
  const amount = command.amount ?? hold.remaining
  const within = capturesWithin(command, payer.success, hold, amount)
  if (Result.isFailure(within)) return Result.fail(within.failure)
  const final = command.final === true ? { final: true } : {}
  const text = noted(command)
  if (isContra(to))
    return one(account, { _tag: "HoldCaptured", hold: hold.id, amount, to, ...final, ...text })
  const receiver = active(stateOf(to), payer.success.asset, "credits")
  if (Result.isFailure(receiver)) return Result.fail(receiver.failure)
  const room = hasRoomFor(receiver.success, amount)
  if (Result.isFailure(room)) return Result.fail(room.failure)
  const toVersion = receiver.success.version + 1
  const fromVersion = payer.success.version + 1
  return Result.succeed([
    { account, event: { _tag: "HoldCaptured", hold: hold.id, toVersion, amount, to, ...final, ...text } },
    { account: to, event: { _tag: "TransferReceived", amount, from: account, fromVersion, ...text } }
  ])
}

/** Fails where more than remains is captured, unless the command allows that and what is available covers it. */
const capturesWithin = (
  { excess }: Of<"CaptureHold">,
  payer: OpenedAccount,
  { id: hold, remaining }: Hold,
  amount: bigint
): Result.Result<void, CaptureExceedsHold | InsufficientFunds> => {
  if (amount <= remaining) return Result.void
  if (excess === "fromAvailable") return covers(payer, amount - remaining)
  const { asset, id: account } = payer
  return Result.fail(new CaptureExceedsHold({ account, hold, asset, remaining, amount }))
}

export const adjustHold = (
  command: Of<"AdjustHold">,
  account: Account,
  before: Account,
  at: Instant
): Decision =>
  Result.gen(function* () {
    const opened = yield* active(account, command.asset, "debits")
    const hold = yield* openHold(opened, before, command.hold, at)
    const { amount = hold.amount, expiresAt } = command
    if (command.amount === undefined && expiresAt === undefined)
      return yield* Result.fail(InvalidCommand.at("amount", "nothing to change: give amount or expiresAt"))
    yield* expiryOf(expiresAt === undefined ? {} : { expiresAt }, at)
    const spent = hold.amount - hold.remaining
    if (amount <= spent) {
      const used = formatMoney(spent, opened.asset)
      const reason = `must be above ${used}, which are captured or released already: release the hold instead`
      return yield* Result.fail(InvalidCommand.at("amount", reason))
    }
    if (amount > hold.amount) {
      yield* covers(opened, amount - hold.amount)
      yield* keepsWithin(opened, amount - hold.amount)
    }
    const event: Event = {
      _tag: "HoldAdjusted",
      hold: hold.id,
      amount,
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...noted(command)
    }
    return [{ account: opened.id, event }]
  })

/** Also on a frozen account: what is given free stays on it. */
export const releaseHold = (
  command: Of<"ReleaseHold">,
  account: Account,
  before: Account,
  at: Instant
): Decision => {
  if (account._tag === "Absent") return Result.fail(new AccountNotFound({ account: account.id }))
  return Result.gen(function* () {
    const opened = yield* ofAsset(account, command.asset)
    const hold = yield* openHold(opened, before, command.hold, at)
    const { amount = hold.remaining } = command
    if (amount > hold.remaining) {
      const rest = formatMoney(hold.remaining, opened.asset)
      const reason = `must be at most ${rest}, which remain of the hold`
      return yield* Result.fail(InvalidCommand.at("amount", reason))
    }
    const event: Event = { _tag: "HoldReleased", hold: hold.id, amount, ...noted(command) }
    return [{ account: opened.id, event }]
  })
}

/**
 * The notice that a hold has expired, also on a closed account. Whether there was such a hold is known by the sender, from the log:
 * the state forgets an expired hold with the next event. What the state does know must not be contradicted.
 */
export const noteExpiry = (
  { account: id, hold, amount, expiredAt }: Of<"NoteExpiry">,
  before: Account,
  at: Instant
): Decision => {
  if (before._tag === "Absent") return Result.fail(new AccountNotFound({ account: id }))
  const known = before.holds.find((one) => one.id === hold)
  if (expiredAt > at) return Result.fail(InvalidCommand.at("expiredAt", "lies in the future"))
  if (known !== undefined && (known.expiresAt !== expiredAt || known.remaining !== amount))
    return Result.fail(InvalidCommand.at("hold", "is open, with another expiry or remainder"))
  return one(id, { _tag: "HoldExpired", hold, amount, expiredAt })
}
