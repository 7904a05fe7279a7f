/** The rejections: why the rules of the ledger refuse a command. A rejected command leaves nothing in the log. */
import { Schema } from "effect"
import { Instant, printInstant } from "./Ids.ts"
import { Amount, Asset, Balance, formatMoney, OverdraftLimit } from "./Money.ts"
import { printable } from "./Printable.ts"

const Id = Schema.String
/** The sum of many amounts may be larger than the largest amount. */
const SumOfLegs = Schema.BigIntFromString
const Status = Schema.Literals(["open", "frozen", "closed"])

/** No account of that id was ever opened; or, in a question about the past, none had been at the instant `asOf`. */
export class AccountNotFound extends Schema.TaggedError<AccountNotFound>()(
  "AccountNotFound",
  { account: Id, asOf: Schema.optionalKey(Instant) },
  { httpApiStatus: 404 }
) {
  override get message() {
    return this.asOf === undefined
      ? `account ${this.account} does not exist`
      : `account ${this.account} did not exist at ${printInstant(this.asOf)}`
  }
}

/** The account id is taken. */
export class AccountAlreadyExists extends Schema.TaggedError<AccountAlreadyExists>()(
  "AccountAlreadyExists",
  { account: Id },
  { httpApiStatus: 409 }
) {
  override get message() {
    return `account ${this.account} exists already`
  }
}

/**
 * The account's status does not allow the command: closed, frozen for the side that the command moves (`frozen` names the
 * sides that are), or open where only a frozen one will do.
 */
export class AccountNotActive extends Schema.TaggedError<AccountNotActive>()(
  "AccountNotActive",
  { account: Id, status: Status, frozen: Schema.optionalKey(Schema.Literals(["debits", "credits", "both"])) },
  { httpApiStatus: 409 }
) {
  override get message() {
    const sides = this.frozen === undefined || this.frozen === "both" ? "" : ` for ${this.frozen}`
    return `account ${this.account} is ${this.status}${sides}`
  }
}

/** The command names, or joins, another asset than the account's. */
export class AssetMismatch extends Schema.TaggedError<AssetMismatch>()(
  "AssetMismatch",
  { account: Id, expected: Asset, actual: Asset },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `account ${this.account} holds ${this.actual}, not ${this.expected}`
  }
}

/** The balance plus the overdraft limit, less what is held, does not cover the amount (I3). All in minor units. */
export class InsufficientFunds extends Schema.TaggedError<InsufficientFunds>()(
  "InsufficientFunds",
  {
    account: Id,
    asset: Asset,
    balance: Balance,
    /** What open holds keep back; absent where there are none. */
    held: Schema.optionalKey(Balance),
    overdraftLimit: OverdraftLimit,
    /** More than one leg may have, where a journal has several on the account. */
    amount: SumOfLegs
  },
  { httpApiStatus: 422 }
) {
  override get message() {
    const { account, asset, amount, balance, held, overdraftLimit } = this
    const kept = held === undefined ? "" : `, of which ${formatMoney(held, asset)} are held,`
    const has = `account ${account} has ${formatMoney(balance, asset)}${kept}`
    const wanted = formatMoney(amount, asset)
    return overdraftLimit === 0n
      ? `${has}${kept === "" ? "," : ""} which does not cover ${wanted}`
      : `${has} and an overdraft limit of ${formatMoney(overdraftLimit, asset)}, which do not cover ${wanted}`
  }
}

/** The command breaks a rule of form; `faults` has one entry a fault, with its path in the command. */
export class InvalidCommand extends Schema.TaggedError<InvalidCommand>()(
  "InvalidCommand",
  { faults: Schema.Array(Schema.Struct({ path: Schema.Array(Schema.String), message: Schema.String })) },
  { httpApiStatus: 400 }
) {
  override get message() {
    const texts = this.faults.map(({ path, message }) => `${path.join(".") || "command"}: ${message}`)
    return printable(texts.join("; "))
  }
  static at(path: string, message: string) {
    return new InvalidCommand({ faults: [{ path: [path], message }] })
  }
}

/** A transfer names one account as its sender and its receiver. */
export class SameAccount extends Schema.TaggedError<SameAccount>()(
  "SameAccount",
  { account: Id },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `account ${this.account} is named twice: a transfer is between two accounts`
  }
}

/** A bound of the ledger would be passed: `limit` names it, `max` is its value in minor units of `asset`. */
export class LimitExceeded extends Schema.TaggedError<LimitExceeded>()(
  "LimitExceeded",
  {
    account: Id,
    limit: Schema.Literals(["balance", "sum of open holds"]),
    max: Schema.String,
    asset: Schema.optionalKey(Asset)
  },
  { httpApiStatus: 422 }
) {
  override get message() {
    const unit = this.asset === undefined ? "minor units" : `minor units of ${this.asset}`
    return `account ${this.account} would pass the largest ${this.limit}, which is ${this.max} ${unit}`
  }
}

/** No hold of that id was ever placed on the account. */
export class HoldNotFound extends Schema.TaggedError<HoldNotFound>()(
  "HoldNotFound",
  { account: Id, hold: Id },
  { httpApiStatus: 404 }
) {
  override get message() {
    return `account ${this.account} never had a hold ${this.hold}`
  }
}

/**
 * The hold is closed: `how` it came to its end, `at` which instant. Both are absent where that lies so far back in a long
 * history that it was not looked for.
 */
export class HoldClosed extends Schema.TaggedError<HoldClosed>()(
  "HoldClosed",
  {
    account: Id,
    hold: Id,
    how: Schema.optionalKey(Schema.Literals(["captured", "released"])),
    at: Schema.optionalKey(Instant)
  },
  { httpApiStatus: 409 }
) {
  override get message() {
    const { account, at, hold, how } = this
    const when = at === undefined ? "" : ` at ${printInstant(at)}`
    return `hold ${hold} of account ${account} is closed: it was ${how ?? "captured or released"}${when}`
  }
}

/** The hold keeps nothing back from `expiredAt` on. */
export class HoldExpired extends Schema.TaggedError<HoldExpired>()(
  "HoldExpired",
  { account: Id, hold: Id, expiredAt: Instant },
  { httpApiStatus: 409 }
) {
  override get message() {
    return `hold ${this.hold} of account ${this.account} expired at ${printInstant(this.expiredAt)}`
  }
}

/** The account has as many open holds, or the hold as many captures, as there may be: `max`. */
export class HoldLimit extends Schema.TaggedError<HoldLimit>()(
  "HoldLimit",
  {
    account: Id,
    limit: Schema.Literals(["open holds of an account", "captures of a hold"]),
    max: Schema.Int
  },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `account ${this.account}: the most ${this.limit}, ${this.max}, is reached`
  }
}

/** More would be captured than `remaining`, in minor units. The hold is as it was. */
export class CaptureExceedsHold extends Schema.TaggedError<CaptureExceedsHold>()(
  "CaptureExceedsHold",
  { account: Id, hold: Id, asset: Asset, remaining: Balance, amount: Amount },
  { httpApiStatus: 422 }
) {
  override get message() {
    const { account, amount, asset, hold, remaining } = this
    const rest = formatMoney(remaining, asset)
    return `hold ${hold} of account ${account} has ${rest} left, less than ${formatMoney(amount, asset)}`
  }
}

/** An account with open holds cannot be closed: `count` of them keep back `held` minor units. */
export class OpenHolds extends Schema.TaggedError<OpenHolds>()(
  "OpenHolds",
  { account: Id, asset: Asset, count: Schema.Int, held: Balance },
  { httpApiStatus: 409 }
) {
  override get message() {
    const { account, asset, count, held } = this
    return `account ${account} has ${count} open holds of ${formatMoney(held, asset)}: capture or release them first`
  }
}

/** A reversal would give back more than the account got (or paid), over all reversals: `left`, in minor units. */
export class ReversalExceeds extends Schema.TaggedError<ReversalExceeds>()(
  "ReversalExceeds",
  { original: Id, account: Id, asset: Asset, left: SumOfLegs, amount: SumOfLegs },
  { httpApiStatus: 422 }
) {
  override get message() {
    const { account, amount, asset, left, original } = this
    const wanted = formatMoney(amount, asset)
    return `${formatMoney(left, asset)} are left to give back of ${original} on ${account}, less than ${wanted}`
  }
}

/** The legs of an exchange do not fit the rate that it names; amounts are in minor units of `quote`. */
export class RateMismatch extends Schema.TaggedError<RateMismatch>()(
  "RateMismatch",
  {
    base: Asset,
    quote: Asset,
    rate: Schema.String,
    rounding: Schema.String,
    /** What the legs in `base` come to. */
    amount: SumOfLegs,
    /** What the legs in `quote` should come to. */
    expected: SumOfLegs,
    /** What the legs in `quote` come to. */
    actual: SumOfLegs
  },
  { httpApiStatus: 422 }
) {
  override get message() {
    const { base, quote, rate, rounding, amount, expected, actual } = this
    const right = `${formatMoney(amount, base)} at ${rate} ${rounding} is ${formatMoney(expected, quote)}`
    return `${right}, not ${formatMoney(actual, quote)}`
  }
}

/** The caller named an expected version, and the account is at another one. */
export class VersionConflict extends Schema.TaggedError<VersionConflict>()(
  "VersionConflict",
  { account: Id, expected: Schema.Int, actual: Schema.Int },
  { httpApiStatus: 412 }
) {
  override get message() {
    return `account ${this.account} is at version ${this.actual}, not ${this.expected}`
  }
}

/** Why the rules of the ledger refuse a command by itself. */
const OwnRejection = Schema.Union([
  AccountNotFound,
  AccountAlreadyExists,
  AccountNotActive,
  AssetMismatch,
  InsufficientFunds,
  InvalidCommand,
  SameAccount,
  LimitExceeded,
  HoldNotFound,
  HoldClosed,
  HoldExpired,
  HoldLimit,
  CaptureExceedsHold,
  OpenHolds,
  ReversalExceeds,
  RateMismatch,
  VersionConflict
])

/** A command of a group is refused, and nothing of the group was done: which one, counted from 0, and why. */
export class GroupRejected extends Schema.TaggedError<GroupRejected>()(
  "GroupRejected",
  { index: Schema.Int, command: Schema.String, rejection: OwnRejection },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `command ${this.index} of the group (${this.command}): ${this.rejection.message}`
  }
}

/** Why the rules of the ledger refuse a command; nothing is left in the log. */
export const Rejection = Schema.Union([...OwnRejection.members, GroupRejected])
export type Rejection = typeof Rejection.Type
