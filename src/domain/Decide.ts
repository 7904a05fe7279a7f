/**
 * The decisions of the ledger: what each command does to the accounts that it names, or why it is rejected. Pure (no
 * clock, no randomness), so that a command can be decided again on another state, and every rule is a line of a table.
 */
import { Result } from "effect"
import { type Account, active, covers, hasRoomFor, type OpenedAccount, withoutExpired } from "./Account.ts"
import type { Command, Leg } from "./Command.ts"
import { firstAccountOf } from "./Command.ts"
import { adjustHold, captureHold, placeHold, releaseHold } from "./DecideHolds.ts"
import {
  AccountAlreadyExists,
  AccountNotActive,
  AccountNotFound,
  InvalidCommand,
  OpenHolds,
  type Rejection,
  SameAccount,
  VersionConflict
} from "./Errors.ts"
import type { Event } from "./Event.ts"
import type { AccountId, ContraId, Instant } from "./Ids.ts"
import { type Asset, formatMoney } from "./Money.ts"
import { reverse } from "./Reversal.ts"

/** One event and the account whose stream it is for. The events of a command commit together or not at all. */
export interface Decided {
  readonly account: AccountId
  readonly event: Event
}

export type Decision = Result.Result<ReadonlyArray<Decided>, Rejection>
type StateOf = (account: AccountId) => Account
type Of<Tag extends Command["_tag"]> = Extract<Command, { readonly _tag: Tag }>

const bank = "external:bank" as ContraId // a literal that the schema of ContraId accepts

/**
 * Decides a command on the states of its accounts at the instant it is recorded at (design §6: both sides of a transfer
 * in one synchronous step). The legs stand in the order of `accountsOf(command)`; an accepted command has at least one.
 */
export const decide = (command: Command, stateBefore: StateOf, at: Instant): Decision => {
  const stateOf: StateOf = (account) => withoutExpired(stateBefore(account), at)
  if (command.expectedVersion !== undefined) {
    const head = firstAccountOf(command)
    const { version } = stateOf(head)
    if (version !== command.expectedVersion) {
      return Result.fail(
        new VersionConflict({ account: head, expected: command.expectedVersion, actual: version })
      )
    }
  }
  switch (command._tag) {
    case "OpenAccount":
      return open(command, stateOf(command.account))
    case "Deposit":
      return deposit(command, stateOf(command.account))
    case "Withdraw":
      return withdraw(command, stateOf(command.account))
    case "Transfer":
      return transfer(command, stateOf)
    case "PostJournal":
      return postJournal(command, stateOf)
    case "PlaceHold":
      return placeHold(command, stateOf(command.account), at)
    case "CaptureHold":
      return captureHold(command, stateOf, stateBefore(command.account), at)
    case "AdjustHold":
      return adjustHold(command, stateOf(command.account), stateBefore(command.account), at)
    case "ReleaseHold":
      return releaseHold(command, stateOf(command.account), stateBefore(command.account), at)
    case "Reverse":
      return reverse(command, stateOf)
    case "FreezeAccount":
      return freeze(command, stateOf(command.account))
    case "UnfreezeAccount":
      return unfreeze(command, stateOf(command.account))
    case "CloseAccount":
      return close(command, stateOf(command.account))
  }
}

const one = (account: AccountId, event: Event): Decision => Result.succeed([{ account, event }])

const described = (text: string | undefined) => (text === undefined ? {} : { description: text })
const reasoned = (text: string | undefined) => (text === undefined ? {} : { reason: text })

const open = (command: Of<"OpenAccount">, account: Account): Decision => {
  if (account._tag !== "Absent") return Result.fail(new AccountAlreadyExists({ account: account.id }))
  const { asset, owner, overdraftLimit = 0n, metadata = {} } = command
  return one(account.id, { _tag: "AccountOpened", asset, owner, overdraftLimit, metadata })
}

const deposit = (command: Of<"Deposit">, account: Account): Decision =>
  Result.flatMap(active(account, command.asset), (opened) =>
    Result.flatMap(hasRoomFor(opened, command.amount), () =>
      one(command.account, {
        _tag: "Deposited",
        amount: command.amount,
        contra: command.contra ?? bank,
        ...described(command.description)
      })
    )
  )

const withdraw = (command: Of<"Withdraw">, account: Account): Decision =>
  Result.flatMap(active(account, command.asset), (opened) =>
    Result.flatMap(covers(opened, command.amount), () =>
      one(command.account, {
        _tag: "Withdrawn",
        amount: command.amount,
        contra: command.contra ?? bank,
        ...described(command.description)
      })
    )
  )

const transfer = (command: Of<"Transfer">, stateOf: StateOf): Decision => {
  const { from, to, amount, asset, description } = command
  if (from === to) return Result.fail(new SameAccount({ account: from }))
  // Written out, where a generator would be shorter: most commands are transfers.
  const sender = active(stateOf(from), asset)
  if (Result.isFailure(sender)) return Result.fail(sender.failure)
  const receiver = active(stateOf(to), sender.success.asset)
  if (Result.isFailure(receiver)) return Result.fail(receiver.failure)
  const covered = covers(sender.success, amount)
  if (Result.isFailure(covered)) return Result.fail(covered.failure)
  const held = hasRoomFor(receiver.success, amount)
  if (Result.isFailure(held)) return Result.fail(held.failure)
  const toVersion = receiver.success.version + 1
  const fromVersion = sender.success.version + 1
  const text = described(description)
  return Result.succeed([
    { account: from, event: { _tag: "TransferSent", amount, to, toVersion, ...text } },
    { account: to, event: { _tag: "TransferReceived", amount, from, fromVersion, ...text } }
  ])
}

const postJournal = (command: Of<"PostJournal">, stateOf: StateOf): Decision => {
  const { legs, description } = command
  const head = legs[0]
  if (head === undefined) return Result.fail(InvalidCommand.at("legs", "must not be empty"))
  const twice = legs.find((leg, index) => legs.findIndex((other) => other.account === leg.account) !== index)
  if (twice !== undefined) return Result.fail(new SameAccount({ account: twice.account }))
  return Result.gen(function* () {
    const sums = new Map<Asset, bigint>()
    const posted: Array<Omit<Leg, "asset"> & { readonly version: number }> = []
    for (const { asset, ...leg } of legs) {
      const account: OpenedAccount = yield* active(stateOf(leg.account), asset)
      yield* leg.side === "debit" ? covers(account, leg.amount) : hasRoomFor(account, leg.amount)
      const signed = leg.side === "credit" ? leg.amount : -leg.amount
      sums.set(account.asset, (sums.get(account.asset) ?? 0n) + signed)
      posted.push({ ...leg, version: account.version + 1 })
    }
    for (const [asset, sum] of sums) {
      if (sum !== 0n) {
        return yield* Result.fail(
          InvalidCommand.at("legs", `sum to ${formatMoney(sum, asset)} (${asset}), not to zero`)
        )
      }
    }
    const headVersion = posted[0]?.version ?? 0
    return posted.map(({ account, side, amount }, ordinal): Decided => {
      const further = { amount, side, head: head.account, headVersion, ...described(description) }
      return {
        account,
        event:
          ordinal === 0
            ? { _tag: "JournalPosted", legs: posted, ...described(description) }
            : { _tag: "JournalLegPosted", ...further }
      }
    })
  })
}

const freeze = (command: Of<"FreezeAccount">, account: Account): Decision =>
  Result.flatMap(active(account, undefined), () =>
    one(command.account, { _tag: "AccountFrozen", ...reasoned(command.reason) })
  )

const unfreeze = (command: Of<"UnfreezeAccount">, account: Account): Decision => {
  if (account._tag === "Absent") return Result.fail(new AccountNotFound({ account: account.id }))
  if (account.status !== "frozen") {
    return Result.fail(new AccountNotActive({ account: account.id, status: account.status }))
  }
  return one(command.account, { _tag: "AccountUnfrozen", ...reasoned(command.reason) })
}

const close = (command: Of<"CloseAccount">, account: Account): Decision =>
  Result.flatMap(active(account, undefined), (opened) => {
    const { id, asset, held, holds } = opened
    if (holds.length > 0) return Result.fail(new OpenHolds({ account: id, asset, count: holds.length, held }))
    return opened.balance === 0n
      ? one(command.account, { _tag: "AccountClosed", ...reasoned(command.reason) })
      : Result.fail(
          InvalidCommand.at(
            "account",
            `holds ${formatMoney(opened.balance, opened.asset)}: only an account of balance zero can be closed`
          )
        )
  })
