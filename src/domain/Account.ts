/** One account: its state, the fold of its events, and the rules its balance obeys. Pure. */
import { Result, Schema } from "effect"
import { AccountMetadata, FrozenSide } from "./Command.ts"
import {
  AccountNotActive,
  AccountNotFound,
  AssetMismatch,
  InsufficientFunds,
  LimitExceeded
} from "./Errors.ts"
import { amountOf, type Event } from "./Event.ts"
import { foldHold, Hold, holding, openAt } from "./Holds.ts"
import { AccountId, type Instant, Version } from "./Ids.ts"
import { Asset, Balance, balanceMax, OverdraftLimit } from "./Money.ts"

/**
 * An account as the fold of its events; `absent` until it is opened. `balance` in minor units. `holds` are those that
 * were open at the last event, in the order in which they were placed, and `held` is the sum of what remains of them: a
 * reader at a later instant leaves out those that expired since (`withoutExpired`).
 */
export const Account = Schema.TaggedUnion({
  Absent: { id: AccountId, version: Version },
  Opened: {
    id: AccountId,
    version: Version,
    /** `frozen` where one side is, or both are. */
    status: Schema.Literals(["open", "frozen", "closed"]),
    /** Absent where the account is not frozen. */
    frozen: Schema.optionalKey(FrozenSide),
    asset: Asset,
    owner: Schema.String,
    overdraftLimit: OverdraftLimit,
    balance: Balance,
    held: Balance,
    holds: Schema.Array(Hold),
    metadata: AccountMetadata
  }
})
export type Account = typeof Account.Type
export type OpenedAccount = typeof Account.cases.Opened.Type

/** Raised by one each time the shape of `Account` changes, so that older snapshots are ignored. */
export const accountSchemaVersion = 2

export const absent = (id: AccountId): Account => ({ _tag: "Absent", id, version: 0 })

/** The account without the holds that have expired by an instant; the very same where none has. */
export const withoutExpired = (account: Account, at: Instant): Account => {
  if (account._tag === "Absent" || account.holds.length === 0) return account
  const open = openAt(account.holds, at)
  return open === account.holds ? account : { ...account, ...holding(open) }
}

/** What an event leaves behind on its account, in minor units: its row binds it, and the receipt tells it. */
export interface After {
  readonly balance: bigint
  readonly held: bigint
  readonly available: bigint
}

/**
 * What the balance and the overdraft limit leave beside what is held. Most accounts have neither limit nor holds, and each
 * sum of bigints is a new object.
 */
const coverOf = ({ balance, overdraftLimit, holds, held }: OpenedAccount): bigint => {
  const limit = overdraftLimit === 0n ? balance : balance + overdraftLimit
  return holds.length === 0 ? limit : limit - held
}

/**
 * What may leave the account: all that its balance and its overdraft limit cover, while its debits are not frozen; else 0. The
 * log binds this figure, so its meaning for a given history must never change.
 */
export const availableOf = (account: OpenedAccount): bigint =>
  account.status === "closed" || isFrozenFor(account, "debits") ? 0n : coverOf(account)

/** Folds one event, recorded at `at`. An event that cannot follow the state is a defect: the log is broken. */
export const evolve = (before: Account, event: Event, at: Instant): Account => {
  const account = withoutExpired(before, at)
  const version = account.version + 1
  if (event._tag === "AccountOpened") {
    if (account._tag !== "Absent") throw new Error(`account ${account.id} is opened twice`)
    const { asset, owner, overdraftLimit, metadata } = event
    return {
      _tag: "Opened",
      id: account.id,
      version,
      status: "open",
      asset,
      owner,
      overdraftLimit,
      balance: 0n,
      ...holding([]),
      metadata
    }
  }
  if (account._tag === "Absent")
    throw new Error(`account ${account.id} has ${event._tag} before it is opened`)
  switch (event._tag) {
    case "AccountUpdated": {
      const { owner = account.owner, metadata = account.metadata, overdraftLimit } = event
      return {
        ...account,
        version,
        owner,
        metadata,
        overdraftLimit: overdraftLimit ?? account.overdraftLimit
      }
    }
    case "AccountFrozen":
      return { ...account, version, status: "frozen", frozen: joined(account.frozen, event.side) }
    case "AccountUnfrozen": {
      const { frozen, ...rest } = account
      const remaining = without(frozen, event.side)
      return remaining === undefined
        ? { ...rest, version, status: "open" }
        : { ...rest, version, status: "frozen", frozen: remaining }
    }
    case "AccountClosed": {
      const { frozen: _, ...rest } = account
      return { ...rest, version, status: "closed" }
    }
    case "HoldPlaced":
    case "HoldAdjusted":
    case "HoldReleased":
    case "HoldExpired":
      return { ...account, version, ...foldHold(account, event) }
    case "HoldCaptured":
      return {
        ...account,
        version,
        balance: account.balance + amountOf(event),
        ...foldHold(account, event)
      }
    // Nearly all events. An amount with its sign turned would be another bigint, which takes as long to make as the rest.
    case "Withdrawn":
    case "TransferSent":
      return withBalance(account, version, account.balance - event.amount)
    default:
      return withBalance(account, version, account.balance + amountOf(event))
  }
}

/** Written out, which takes a third of the time of a spread: nearly all events move money on an account that is not frozen. */
const withBalance = (account: OpenedAccount, version: Version, balance: bigint): OpenedAccount => {
  if (account.frozen !== undefined) return { ...account, version, balance }
  const { _tag, id, status, asset, owner, overdraftLimit, held, holds, metadata } = account
  return {
    _tag,
    id,
    version,
    status,
    asset,
    owner,
    overdraftLimit,
    balance,
    held,
    holds,
    metadata
  } satisfies { readonly [Field in keyof Omit<Required<OpenedAccount>, "frozen">]: unknown }
}

const joined = (frozen: FrozenSide | undefined, side: FrozenSide): FrozenSide =>
  frozen === undefined || frozen === side ? side : "both"

/** What stays frozen when a side is freed. */
const without = (frozen: FrozenSide | undefined, side: FrozenSide): FrozenSide | undefined => {
  if (frozen === undefined || side === "both" || frozen === side) return undefined
  return frozen === "both" ? (side === "debits" ? "credits" : "debits") : frozen
}

/** Whether the side, or one of both, is frozen. */
export const isFrozenFor = ({ frozen }: OpenedAccount, side: FrozenSide): boolean =>
  frozen !== undefined && (frozen === "both" || side === "both" || frozen === side)

/** I3: the balance and the overdraft limit cover what is held. */
export const isCovered = (account: Account): boolean => account._tag === "Absent" || coverOf(account) >= 0n

/** The state of an account that has an event. */
export const afterOf = (account: Account): After => {
  if (account._tag === "Absent") throw new Error(`account ${account.id} has an event and is absent`)
  return { balance: account.balance, held: account.held, available: availableOf(account) }
}

/** The account, if it was opened and is not closed, frozen or not. */
export const notClosed = (
  account: Account
): Result.Result<OpenedAccount, AccountNotFound | AccountNotActive> => {
  if (account._tag === "Absent") return Result.fail(new AccountNotFound({ account: account.id }))
  return account.status === "closed" ? Result.fail(notActive(account)) : Result.succeed(account)
}

/** Says what the account's status is, and which of its sides are frozen. */
export const notActive = ({ id, status, frozen }: OpenedAccount): AccountNotActive =>
  new AccountNotActive({ account: id, status, ...(frozen === undefined ? {} : { frozen }) })

/** A side of an account on which money moves. */
type Side = Exclude<FrozenSide, "both">

/** Whether money may move on this side of the account, and it is of the asset that is named (any, if none is). */
export const isActive = (account: Account, asset: Asset | undefined, side: Side): account is OpenedAccount =>
  account._tag === "Opened" && isFree(account, side) && (asset === undefined || asset === account.asset)

const isFree = (account: OpenedAccount, side: Side): boolean =>
  account.status === "open" || (account.status === "frozen" && !isFrozenFor(account, side))

/** Why an account is not active; to be asked of one that is not. */
export const whyNotActive = (
  account: Account,
  asset: Asset | undefined,
  side: Side
): AccountNotFound | AccountNotActive | AssetMismatch => {
  if (account._tag === "Absent") return new AccountNotFound({ account: account.id })
  return asset === undefined || !isFree(account, side) ? notActive(account) : mismatch(account, asset)
}

/** The account, if it is active. */
export const active = (
  account: Account,
  asset: Asset | undefined,
  side: Side
): Result.Result<OpenedAccount, AccountNotFound | AccountNotActive | AssetMismatch> =>
  isActive(account, asset, side) ? Result.succeed(account) : Result.fail(whyNotActive(account, asset, side))

/** The account, if it is of the asset that is named (any, if none is). */
export const ofAsset = (
  account: OpenedAccount,
  asset: Asset | undefined
): Result.Result<OpenedAccount, AssetMismatch> =>
  asset === undefined || asset === account.asset
    ? Result.succeed(account)
    : Result.fail(mismatch(account, asset))

const mismatch = (account: OpenedAccount, expected: Asset): AssetMismatch =>
  new AssetMismatch({ account: account.id, expected, actual: account.asset })

/** Fails unless `amount` minor units can leave the account (I3). */
export const covers = (account: OpenedAccount, amount: bigint): Result.Result<void, InsufficientFunds> =>
  coverOf(account) >= amount
    ? Result.void
    : Result.fail(
        new InsufficientFunds({
          account: account.id,
          asset: account.asset,
          balance: account.balance,
          ...(account.held === 0n ? {} : { held: account.held }),
          overdraftLimit: account.overdraftLimit,
          amount
        })
      )

/**
 * Fails where the account has drawn, and holds keep back, more than another overdraft limit would cover (I3); the `amount` of the failure is what
 * that limit falls short of.
 */
export const coversWith = (
  { id, asset, balance, held }: OpenedAccount,
  overdraftLimit: bigint
): Result.Result<void, InsufficientFunds> => {
  const available = balance + overdraftLimit - held
  if (available >= 0n) return Result.void
  const keptBack = held === 0n ? {} : { held }
  return Result.fail(
    new InsufficientFunds({ account: id, asset, balance, ...keptBack, overdraftLimit, amount: -available })
  )
}

/** Fails unless `amount` minor units more stay within the largest balance. */
export const hasRoomFor = (account: OpenedAccount, amount: bigint): Result.Result<void, LimitExceeded> =>
  account.balance + amount <= balanceMax
    ? Result.void
    : Result.fail(
        new LimitExceeded({
          account: account.id,
          limit: "balance",
          max: balanceMax.toString(),
          asset: account.asset
        })
      )
