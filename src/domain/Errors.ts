/** Every error a caller of the ledger can meet (design §10), the same over dispatch, RPC and HTTP. */
import { Schema } from "effect"
import { Amount, Asset, Balance, formatMoney, OverdraftLimit } from "./Money.ts"

const Id = Schema.String
const Status = Schema.Literals(["open", "frozen", "closed"])

/** No account of that id was ever opened. */
export class AccountNotFound extends Schema.TaggedError<AccountNotFound>()(
  "AccountNotFound",
  { account: Id },
  { httpApiStatus: 404 }
) {
  override get message() {
    return `account ${this.account} does not exist`
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
    const { account, asset, amount, balance } = this
    return `account ${account} has ${formatMoney(balance, asset)}, which does not cover ${formatMoney(amount, asset)}`
  }
}

/** The command breaks a rule of form; `faults` has one entry a fault, with its path in the command. */
export class InvalidCommand extends Schema.TaggedError<InvalidCommand>()(
  "InvalidCommand",
  { faults: Schema.Array(Schema.Struct({ path: Schema.Array(Schema.String), message: Schema.String })) },
  { httpApiStatus: 400 }
) {
  override get message() {
    return this.faults.map(({ path, message }) => `${path.join(".") || "command"}: ${message}`).join("; ")
  }
  static at(path: string, message: string) {
    return new InvalidCommand({ faults: [{ path: [path], message }] })
  }
}

/** A transaction has two legs on one account. */
export class SameAccount extends Schema.TaggedError<SameAccount>()(
  "SameAccount",
  { account: Id },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `account ${this.account} stands on both sides`
  }
}

/** A bound of the ledger would be passed: `limit` names it, `max` is its value. */
export class LimitExceeded extends Schema.TaggedError<LimitExceeded>()(
  "LimitExceeded",
  { account: Id, limit: Schema.Literal("balance"), max: Schema.String },
  { httpApiStatus: 422 }
) {
  override get message() {
    return `account ${this.account} would pass the largest ${this.limit}, ${this.max}`
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

/** The command id was accepted before with another body. */
export class CommandIdReused extends Schema.TaggedError<CommandIdReused>()(
  "CommandIdReused",
  { commandId: Id },
  { httpApiStatus: 409 }
) {
  override get message() {
    return `command id ${this.commandId} was used for another command`
  }
}

/** A queue is full. Nothing was done; try again after `retryAfterMs`. */
export class Overloaded extends Schema.TaggedError<Overloaded>()(
  "Overloaded",
  { what: Schema.String, retryAfterMs: Schema.Int },
  { httpApiStatus: 429 }
) {
  override get message() {
    return `${this.what} is full; try again in ${this.retryAfterMs} ms`
  }
}

/** A service that the ledger needs is not to be reached, or the ledger is closing. Nothing was done. */
export class Unavailable extends Schema.TaggedError<Unavailable>()(
  "Unavailable",
  { what: Schema.String, reason: Schema.String },
  { httpApiStatus: 503 }
) {
  override get message() {
    return `${this.what}: ${this.reason}; nothing was done`
  }
}

/** The deadline passed before the outcome was known. Send the same command id again to learn it. */
export class Indeterminate extends Schema.TaggedError<Indeterminate>()(
  "Indeterminate",
  { commandId: Id },
  { httpApiStatus: 504 }
) {
  override get message() {
    return `the outcome of command ${this.commandId} is unknown; send the same id again`
  }
}

/** A read token or an instant was not reached before the deadline. */
export class NotYetVisible extends Schema.TaggedError<NotYetVisible>()(
  "NotYetVisible",
  { wanted: Schema.String, reached: Schema.String },
  { httpApiStatus: 503 }
) {
  override get message() {
    return `${this.wanted} is not visible yet (reached ${this.reached})`
  }
}

/** The caller did not show who it is: no token, or none that this ledger knows. Nothing was done. */
export class Unauthenticated extends Schema.TaggedError<Unauthenticated>()(
  "Unauthenticated",
  { reason: Schema.String },
  { httpApiStatus: 401 }
) {
  override get message() {
    return `not authenticated: ${this.reason}`
  }
}

/** The caller is known and may not do this: a scope is missing, or an account is not within its prefixes. */
export class Forbidden extends Schema.TaggedError<Forbidden>()(
  "Forbidden",
  { caller: Schema.String, reason: Schema.String },
  { httpApiStatus: 403 }
) {
  override get message() {
    return `${this.caller} may not do this: ${this.reason}`
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

/** Everything `dispatch` can fail with. */
export const CommandError = Schema.Union([
  ...Rejection.members,
  CommandIdReused,
  Overloaded,
  Unavailable,
  Indeterminate,
  Unauthenticated,
  Forbidden
])
export type CommandError = typeof CommandError.Type

/** Everything a query can fail with. */
export const QueryError = Schema.Union([
  AccountNotFound,
  InvalidCommand,
  Unavailable,
  NotYetVisible,
  Overloaded,
  Unauthenticated,
  Forbidden
])
export type QueryError = typeof QueryError.Type
