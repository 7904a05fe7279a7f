/**
 * Reversals: new events that give back what an earlier command moved. Which command that was, and what is left of it to
 * give back, stands in the log and never changes (reversal n is decided on those before it, of which each landed once), so
 * it is read before the decision. Pure.
 */
import { Result } from "effect"
import { type Account, active, covers, hasRoomFor, type OpenedAccount } from "./Account.ts"
import type { Command } from "./Command.ts"
import { AssetMismatch, InvalidCommand, type Rejection, ReversalExceeds } from "./Errors.ts"
import type { Event } from "./Event.ts"
import { type AccountId, type CommandId, isContra } from "./Ids.ts"
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
  { amount, asset, legs: named, original }: Reverse,
  { legs }: Original
): Result.Result<Shares, Rejection> => {
  if (amount !== undefined && named !== undefined) return refuse("legs", "give amount or legs, not both")
  if (named !== undefined) {
    const meant = asset === undefined ? named : named.map((leg) => ({ asset, ...leg }))
    return sharesOfNamed(meant, legs, original)
  }
  const isMoved = asset === undefined || legs.some((leg) => leg.asset === asset)
  // Of a contra no one asset can be told: it may have several.
  const holder = legs.find(({ account }) => !isContra(account))
  if (!isMoved && holder !== undefined) return Result.fail(mismatch(holder, asset))
  if (amount === undefined) {
    if (asset !== undefined && legs.some((leg) => leg.asset !== asset)) {
      const what = "name in legs what is to be given back, or no asset for all that is left"
      return refuse("asset", `the original moved ${assetsIn(legs)}: ${what}`)
    }
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

/** For a message: what was moved, each asset once. */
const assetsIn = (legs: ReadonlyArray<OriginalLeg>): string =>
  [...new Set(legs.map(({ asset }) => asset))].join(" and ")

const mismatch = ({ account, asset: actual }: OriginalLeg, expected: Asset = actual) =>
  new AssetMismatch({ account, expected, actual })

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
  for (const { account, amount, asset } of named) {
    const own = legs.filter((one) => one.account === account)
    const [first] = own
    if (first === undefined) return refuse("legs", `${account} got and paid nothing in ${original}`)
    const [leg, ...further] = own.filter((one) => asset === undefined || one.asset === asset)
    if (leg === undefined)
      return own.length === 1
        ? Result.fail(mismatch(first, asset))
        : refuse("legs", `${account} has ${assetsIn(own)} in ${original}, not ${asset}`)
    if (further.length > 0)
      return refuse("legs", `${account} has several assets in ${original}: name the one that is meant`)
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

/** What one account gives (below zero) or gets back by one event. */
interface Change {
  /** The account as it stands before the event. */
  readonly account: OpenedAccount
  readonly units: bigint
  /** Whether the account pays for others. */
  readonly isShortfall?: true
}

/** Several legs of a journal on one account may sum to more than one event can carry. */
const beyondOneLeg = refuse("legs", `name at most ${amountMax} minor units for each account`)

const sideOf = (units: bigint): "debit" | "credit" => (units < 0n ? "debit" : "credit")

export const reverse = (
  command: ResolvedReverse,
  stateOf: (account: AccountId) => Account
): Result.Result<ReadonlyArray<Decided>, Rejection> => {
  const { found, n = 1, original } = command
  if (found === undefined || isReversal(original))
    return refuse("original", "no command of that id was accepted that can be reversed")
  if (!found.isNext) return refuse("n", `reversal ${n - 1} of ${original} does not exist yet`)
  return Result.gen(function* () {
    const shares = yield* sharesOf(command, found)
    if ([...shares.values()].some((share) => share > amountMax)) return yield* beyondOneLeg
    const changes = yield* changesOf(command, shares, stateOf)
    if (changes.some(({ units }) => sizeOf(units) > amountMax)) return yield* beyondOneLeg
    return yield* eventsOf(command, shares, changes)
  })
}

/** What the reversal of one account and one contra writes is a deposit or withdrawal; else it is a journal. */
const eventsOf = (
  { description, metadata, n = 1, original, reason }: ResolvedReverse,
  shares: Shares,
  changes: ReadonlyArray<Change>
): Result.Result<ReadonlyArray<Decided>, Rejection> => {
  const [head, ...further] = changes
  if (head === undefined)
    return refuse("legs", "name an account of the books with what it gives or gets back")
  const link = { original, n, ...(description === undefined ? {} : { reason }) }
  const noted = { description: description ?? reason, ...(metadata === undefined ? {} : { metadata }) }
  const gave = [...shares].map(([{ account, asset }, amount]) => ({
    account,
    amount,
    ...(isContra(account) ? { asset } : {})
  }))
  const contras = [...shares].flatMap(([{ account, asset, net }, amount]) =>
    isContra(account) ? [{ contra: account, side: sideOf(-net), amount, asset } as const] : []
  )
  const marked = ({ isShortfall }: Change) => (isShortfall === undefined ? {} : { isShortfall })
  const [contra, ...others] = contras
  if (contra !== undefined && others.length + further.length === 0 && head.isShortfall !== true) {
    const moved = { amount: sizeOf(head.units), contra: contra.contra, ...noted }
    const _tag = head.units < 0n ? "Withdrawn" : "Deposited"
    return Result.succeed([
      { account: head.account.id, event: { _tag, ...moved, reverses: { ...link, gave } } }
    ])
  }
  const legs = changes.map(({ account, units }) => ({
    account: account.id,
    version: account.version + 1,
    side: sideOf(units),
    amount: sizeOf(units)
  }))
  const journal = { legs, ...(contras.length === 0 ? {} : { contras }), ...noted }
  const place = { head: head.account.id, headVersion: head.account.version + 1, ...noted }
  return Result.succeed(
    changes.map((change, ordinal): Decided => {
      const { account, units } = change
      const leg = { amount: sizeOf(units), side: sideOf(units), ...place }
      return {
        account: account.id,
        event:
          ordinal === 0
            ? { _tag: "JournalPosted", ...journal, reverses: { ...link, gave, ...marked(change) } }
            : { _tag: "JournalLegPosted", ...leg, reverses: { ...link, ...marked(change) } }
      }
    })
  )
}

/**
 * The changes to the accounts of the books, checked as a whole: what an account cannot give back is paid by the shortfall
 * account, where the command names one. That one may have a share of its own, which is a change of its own before it.
 */
const changesOf = (
  { shortfall }: Reverse,
  shares: Shares,
  stateOf: (account: AccountId) => Account
): Result.Result<ReadonlyArray<Change>, Rejection> =>
  Result.gen(function* () {
    const changes: Array<Change> = []
    let lacking = 0n
    let asset: Asset | undefined
    for (const [leg, amount] of shares) {
      const { account: id } = leg
      if (isContra(id)) continue
      const account = yield* active(stateOf(id), leg.asset, leg.net < 0n ? "credits" : "debits")
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
      if (shortfall === undefined || shortfall === id)
        return yield* Result.flatMap(covers(account, amount), () => refuse("original", ""))
      if (asset !== undefined && asset !== leg.asset)
        return yield* refuse("shortfall", "accounts of more than one asset lack money")
      asset = leg.asset
      if (available > 0n) changes.push({ account, units: -available })
      lacking += amount - (available > 0n ? available : 0n)
    }
    if (shortfall !== undefined && lacking > 0n) {
      const own = changes.find(({ account }) => account.id === shortfall)
      const before = yield* active(own?.account ?? stateOf(shortfall), asset, "debits")
      // A refusal tells the account as it is, and all that it would have to give.
      yield* covers(before, lacking - (own?.units ?? 0n))
      const payer = own === undefined ? before : after(own)
      changes.push({ account: payer, units: -lacking, isShortfall: true })
    }
    return changes
  })

const after = ({ account, units }: Change): OpenedAccount => ({
  ...account,
  version: account.version + 1,
  balance: account.balance + units
})
