/** The rejections: why the rules of the ledger refuse a command. A rejected command leaves nothing in the log. */
import { Schema } from "effect"
import { Instant, printInstant } from "./Ids.ts"
import { Amount, Asset, Balance, formatMoney, OverdraftLimit } from "./Money.ts"
import { printable } from "./Printable.ts"

const Id = Schema.String
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

/** The account's status does not allow the command: frozen or closed, or open where only a frozen one will do. */
export class AccountNotActive extends Schema.TaggedError<AccountNotActive>()(
  "AccountNotActive",
  { account: Id, status: Status },
  { httpApiStatus: 409 }
) {
  override get message() {
    return `account ${this.account} is ${this.status}`
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

/** The balance plus the overdraft limit does not cover the amount (I3). All in minor units. */
export class InsufficientFunds extends Schema.TaggedError<InsufficientFunds>()(
  "InsufficientFunds",
  { account: Id, asset: Asset, balance: Balance, overdraftLimit: OverdraftLimit, amount: Amount },
  { httpApiStatus: 422 }
) {
  override get message() {
    const { account, asset, amount, balance, overdraftLimit } = this
    const has = `account ${account} has ${formatMoney(balance, asset)}`
    const wanted = formatMoney(amount, asset)
    return overdraftLimit === 0n
      ? `${has}, which does not cover ${wanted}`
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

/** A transaction names one account twice, on the same side or on both. */
export class SameAccount extends Schema.TaggedError<SameAccount>()(
  "SameAccount",
  { account: Id },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `account ${this.account} is named twice: a transaction may have one leg on each account`
  }
}

/** A bound of the ledger would be passed: `limit` names it, `max` is its value in minor units of `asset`. */
export class LimitExceeded extends Schema.TaggedError<LimitExceeded>()(
  "LimitExceeded",
  { account: Id, limit: Schema.Literal("balance"), max: Schema.String, asset: Schema.optionalKey(Asset) },
  { httpApiStatus: 422 }
) {
  override get message() {
    const unit = this.asset === undefined ? "minor units" : `minor units of ${this.asset}`
    return `account ${this.account} would pass the largest ${this.limit}, which is ${this.max} ${unit}`
  }
}

/** The caller named an expected version, and the account is at another one. */
export class VersionConflict extends Schema.TaggedError<VersionConflict>()(
  "VersionConflict",
  { account: Id, expected: Schema.Int, actual: Schema.Int },
  { httpApiStatus: 409 }
) {
  override get message() {
    return `account ${this.account} is at version ${this.actual}, not ${this.expected}`
  }
}

/** Why the rules of the ledger refuse a command; nothing is left in the log. */
export const Rejection = Schema.Union([
  AccountNotFound,
  AccountAlreadyExists,
  AccountNotActive,
  AssetMismatch,
  InsufficientFunds,
  InvalidCommand,
  SameAccount,
  LimitExceeded,
  VersionConflict
])
export type Rejection = typeof Rejection.Type
