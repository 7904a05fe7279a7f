/**
 * Reversals: new events that give back what an earlier command moved. Which command that was, and what is left of it to
 * give back, stands in the log and never changes (reversal n is decided on those before it, of which each landed once), so
 * it is read before the decision. Pure.
 */
import { Result } from "effect"
import { type Account, active, covers, hasRoomFor, type OpenedAccount } from "./Account.ts"
import type { Command } from "./Command.ts"
import { InvalidCommand, type Rejection, ReversalExceeds, SameAccount } from "./Errors.ts"
import type { Event } from "./Event.ts"
import type { AccountId, CommandId } from "./Ids.ts"
import { type Asset, amountMax, formatMoney } from "./Money.ts"
import type { Original, OriginalLeg, ResolvedReverse } from "./Original.ts"

type Reverse = Extract<Command, { readonly _tag: "Reverse" }>

const isReversal = (id: string): boolean => id.startsWith("~r")

const refuse = (path: string, message: string) => Result.fail(InvalidCommand.at(path, message))

const sizeOf = (units: bigint): bigint => (units < 0n ? -units : units)
const leftOf = ({ net, reversed }: OriginalLeg): bigint => sizeOf(net) - reversed

/** How much of each leg is given back, above zero, in the order of the legs. */
type Shares = ReadonlyMap<OriginalLeg, bigint>

/** What the command asks to give back of each leg. */
const sharesOf = (
  { amount, legs: named, original }: Reverse,
  { legs }: Original
): Result.Result<Shares, Rejection> => {
  if (amount !== undefined && named !== undefined) return refuse("legs", "give amount or legs, not both")
  if (named !== undefined) return sharesOfNamed(named, legs, original)
  if (amount === undefined) {
    const open = legs.filter((leg) => leftOf(leg) > 0n)
    const [first] = legs
    return open.length === 0 && first !== undefined
      ? Result.fail(exceeds(original, first, sizeOf(first.net)))
      : Result.succeed(new Map(open.map((leg) => [leg, leftOf(leg)])))
  }
  const sizes = new Set(legs.map(({ net }) => sizeOf(net)))
  if (legs.length !== 2 || sizes.size !== 1)
    return refuse("amount", "the original has more than one amount: name those to give back in legs")
  return checked(new Map(legs.map((leg) => [leg, amount])), original)
}

const exceeds = (original: CommandId, leg: OriginalLeg, amount: bigint) =>
  new ReversalExceeds({ original, account: leg.account, asset: leg.asset, left: leftOf(leg), amount })

const checked = (shares: Shares, original: CommandId): Result.Result<Shares, ReversalExceeds> => {
  for (const [leg, amount] of shares)
    if (amount > leftOf(leg)) return Result.fail(exceeds(original, leg, amount))
  return Result.succeed(shares)
}

/**
 * Legs that are named give back what is said. In each asset both sides must come to the same: where one side is not named
 * at all and has a single leg, that one takes the difference.
 */
const sharesOfNamed = (
  named: NonNullable<Reverse["legs"]>,
  legs: ReadonlyArray<OriginalLeg>,
  original: CommandId
): Result.Result<Shares, Rejection> => {
  const shares = new Map<OriginalLeg, bigint>()
  for (const { account, amount } of named) {
    const leg = legs.find((one) => one.account === account)
    if (leg === undefined) return refuse("legs", `${account} got and paid nothing in ${original}`)
    if (shares.has(leg)) return refuse("legs", `${account} is named twice`)
    shares.set(leg, amount)
  }
  const within = checked(shares, original)
  if (Result.isFailure(within)) return within
  for (const asset of new Set([...shares.keys()].map((leg) => leg.asset))) {
    const own = [...shares].filter(([leg]) => leg.asset === asset)
    const sum = own.reduce((total, [{ net }, amount]) => (net > 0n ? total + amount : total - amount), 0n)
    if (sum === 0n) continue
    const others = legs.filter(
      (leg) => leg.asset === asset && !shares.has(leg) && leg.net > 0n === sum < 0n && leftOf(leg) > 0n
    )
    const isNamed = own.some(([{ net }]) => net > 0n === sum < 0n)
    const [single] = others
    if (isNamed || others.length !== 1 || single === undefined) {
      const off = formatMoney(sizeOf(sum), asset)
      return refuse("legs", `both sides of ${asset} must come to the same: they are ${off} apart`)
    }
    shares.set(single, sizeOf(sum))
  }
  return checked(shares, original)
}

interface Decided {
  readonly account: AccountId
  readonly event: Event
}

/** What one account gives (below zero) or gets back. */
interface Change {
  readonly account: OpenedAccount
  readonly units: bigint
}

/** Several legs of a journal on one account may sum to more than one event can carry. */
const beyondOneLeg = refuse("legs", `name at most ${amountMax} minor units for each account`)

export const reverse = (
  command: ResolvedReverse,
  stateOf: (account: AccountId) => Account
): Result.Result<ReadonlyArray<Decided>, Rejection> => {
  const { found, n = 1, original, reason } = command
  if (found === undefined || isReversal(original))
    return refuse("original", "no command of that id was accepted that can be reversed")
  if (!found.isNext) return refuse("n", `reversal ${n - 1} of ${original} does not exist yet`)
  return Result.gen(function* () {
    const shares = yield* sharesOf(command, found)
    if ([...shares.values()].some((share) => share > amountMax)) return yield* beyondOneLeg
    const changes = yield* changesOf(command, found, shares, stateOf)
    const gave = [...shares].map(([{ account }, amount]) => ({ account, amount }))
    if (changes.some(({ units }) => sizeOf(units) > amountMax)) return yield* beyondOneLeg
    const link = { original, n }
    const [head] = changes
    if (head === undefined) return yield* refuse("original", "there is nothing to give back")
    if (found.contra !== undefined) {
      const { account, units } = head
      const moved = { amount: sizeOf(units), contra: found.contra, description: reason }
      const reverses = { ...link, gave }
      return [
        { account: account.id, event: { _tag: units < 0n ? "Withdrawn" : "Deposited", ...moved, reverses } }
      ]
    }
    const legs = changes.map(({ account, units }) => ({
      account: account.id,
      version: account.version + 1,
      side: units < 0n ? ("debit" as const) : ("credit" as const),
      amount: sizeOf(units)
    }))
    const place = { head: head.account.id, headVersion: head.account.version + 1, description: reason }
    return legs.map(({ account, amount, side }, ordinal): Decided => {
      const isShortfall = account === command.shortfall
      return {
        account,
        event:
          ordinal === 0
            ? { _tag: "JournalPosted", legs, description: reason, reverses: { ...link, gave } }
            : {
                _tag: "JournalLegPosted",
                amount,
                side,
                ...place,
                reverses: { ...link, ...(isShortfall ? { isShortfall } : {}) }
              }
      }
    })
  })
}

/**
 * The changes to the accounts of the books, checked as a whole: what an account cannot give back is paid by the shortfall
 * account, where the command names one.
 */
const changesOf = (
  { shortfall }: Reverse,
  { contra }: Original,
  shares: Shares,
  stateOf: (account: AccountId) => Account
): Result.Result<ReadonlyArray<Change>, Rejection> =>
  Result.gen(function* () {
    const changes: Array<Change> = []
    let lacking = 0n
    let asset: Asset | undefined
    for (const [leg, amount] of shares) {
      const { account: id } = leg
      if (id === contra) continue
      const account = yield* active(stateOf(id as AccountId), leg.asset, leg.net < 0n ? "credits" : "debits") // it is not the contra
      if (id === shortfall) return yield* Result.fail(new SameAccount({ account: account.id }))
      if (leg.net < 0n) {
        yield* hasRoomFor(account, amount)
        changes.push({ account, units: amount })
        continue
      }
      const available = account.balance + account.overdraftLimit - account.held
      if (available >= amount) {
        changes.push({ account, units: -amount })
        continue
      }
      if (shortfall === undefined)
        return yield* Result.flatMap(covers(account, amount), () => refuse("original", ""))
      if (contra !== undefined)
        return yield* refuse(
          "shortfall",
          `money that came from or went to ${contra} is given back by its account alone`
        )
      if (asset !== undefined && asset !== leg.asset)
        return yield* refuse("shortfall", "accounts of more than one asset lack money")
      asset = leg.asset
      if (available > 0n) changes.push({ account, units: -available })
      lacking += amount - (available > 0n ? available : 0n)
    }
    if (shortfall !== undefined && lacking > 0n) {
      const payer = yield* active(stateOf(shortfall), asset, "debits")
      yield* covers(payer, lacking)
      changes.push({ account: payer, units: -lacking })
    }
    return changes
  })
