/** One account: its state, the fold of its events, and the rules its balance obeys. Pure. */
import { Result, Schema } from "effect"
import { AccountMetadata } from "./Command.ts"
import {
  AccountNotActive,
  AccountNotFound,
  AssetMismatch,
  InsufficientFunds,
  LimitExceeded
} from "./Errors.ts"
import { amountOf, type Event } from "./Event.ts"
import { AccountId, Version } from "./Ids.ts"
import { Asset, Balance, balanceMax, OverdraftLimit } from "./Money.ts"

/** An account as the fold of its events; `absent` until it is opened. `balance` in minor units. */
export const Account = Schema.TaggedUnion({
  Absent: { id: AccountId, version: Version },
  Opened: {
    id: AccountId,
    version: Version,
    status: Schema.Literals(["open", "frozen", "closed"]),
    asset: Asset,
    owner: Schema.String,
    overdraftLimit: OverdraftLimit,
    balance: Balance,
    metadata: AccountMetadata
  }
})
export type Account = typeof Account.Type
export type OpenedAccount = typeof Account.cases.Opened.Type

/** Raised by one each time the shape of `Account` changes, so that older snapshots are ignored. */
export const accountSchemaVersion = 1

export const absent = (id: AccountId): Account => ({ _tag: "Absent", id, version: 0 })

/** Folds one event. An event that cannot follow the state is a defect: the log is broken. */
export const evolve = (account: Account, event: Event): Account => {
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
      metadata
    }
  }
  if (account._tag === "Absent")
    throw new Error(`account ${account.id} has ${event._tag} before it is opened`)
  switch (event._tag) {
    case "AccountFrozen":
      return { ...account, version, status: "frozen" }
    case "AccountUnfrozen":
      return { ...account, version, status: "open" }
    case "AccountClosed":
      return { ...account, version, status: "closed" }
    default:
      return { ...account, version, balance: account.balance + amountOf(event) }
  }
}

/** I3: the balance is not below minus the overdraft limit. */
export const isCovered = (account: Account): boolean =>
  account._tag === "Absent" || account.balance >= -account.overdraftLimit

/** The account, if it is open and of the asset that is named (any, if none is). */
export const active = (
  account: Account,
  asset: Asset | undefined
): Result.Result<OpenedAccount, AccountNotFound | AccountNotActive | AssetMismatch> => {
  if (account._tag === "Absent") return Result.fail(new AccountNotFound({ account: account.id }))
  if (account.status !== "open") {
    return Result.fail(new AccountNotActive({ account: account.id, status: account.status }))
  }
  if (asset !== undefined && asset !== account.asset) {
    return Result.fail(new AssetMismatch({ account: account.id, expected: asset, actual: account.asset }))
  }
  return Result.succeed(account)
}

/** Fails unless `amount` minor units can leave the account (I3). */
export const covers = (account: OpenedAccount, amount: bigint): Result.Result<void, InsufficientFunds> =>
  account.balance + account.overdraftLimit >= amount
    ? Result.void
    : Result.fail(
        new InsufficientFunds({
          account: account.id,
          asset: account.asset,
          balance: account.balance,
          overdraftLimit: account.overdraftLimit,
          amount
        })
      )

/** Fails unless `amount` minor units more stay within the largest balance. */
export const holds = (account: OpenedAccount, amount: bigint): Result.Result<void, LimitExceeded> =>
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
