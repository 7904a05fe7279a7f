/**
 * What a command that is to be reversed moved, and what is left of it to give back, told by its events and by those of its earlier
 * reversals. Pure, so that the ledger and the tests of a host come to the same.
 */
import { Result } from "effect"
import { contrasOf } from "./Books.ts"
import { amountOf, type Event } from "./Event.ts"
import { type AccountId, type AccountOrContra, type CommandId, isContra } from "./Ids.ts"
import type { Asset } from "./Money.ts"
import type { Original, OriginalLeg } from "./Original.ts"
import { InvalidCommand } from "./Rejections.ts"

/** An event and the account that it is of. */
interface EventOf {
  readonly account: AccountId
  readonly event: Event
}

/** What each place has from the events of a command in the end. A contra has no asset of its own, and may have several. */
interface Net {
  readonly account: AccountOrContra
  readonly asset: Asset
  net: bigint
}

const netsOf = (
  events: ReadonlyArray<EventOf>,
  assets: ReadonlyMap<AccountId, Asset>
): ReadonlyArray<Net> => {
  const nets = new Map<string, Net>()
  const add = (account: AccountOrContra, asset: Asset, units: bigint) => {
    const key = `${account} ${asset}`
    const before = nets.get(key)
    if (before === undefined) nets.set(key, { account, asset, net: units })
    else before.net += units
  }
  for (const { event, account } of events) {
    const asset = assets.get(account)
    if (asset === undefined) continue
    const amount = amountOf(event)
    if (amount !== 0n) add(account, asset, amount)
    for (const contra of contrasOf(event, asset)) add(contra.contra, contra.asset, contra.amount)
  }
  return [...nets.values()].filter(({ net }) => net !== 0n)
}

/** What the events of a command moved, in order; refused where it cannot be reversed. `assets`: of the accounts of the events. */
export const movedBy = (
  original: CommandId,
  events: ReadonlyArray<EventOf>,
  assets: ReadonlyMap<AccountId, Asset>
): Result.Result<ReadonlyArray<Net>, InvalidCommand> => {
  const nets = netsOf(events, assets)
  if (nets.length === 0 || original.startsWith("~"))
    return Result.fail(
      InvalidCommand.at(
        "original",
        "is a command that moved no money, or a reversal: neither can be reversed"
      )
    )
  return nets.every(({ account }) => isContra(account))
    ? Result.fail(
        InvalidCommand.at(
          "original",
          "moved money between contra accounts alone in the end, which have no stream to give it back on: book it as a group"
        )
      )
    : Result.succeed(nets)
}

/** The original of reversal `n`. `reversals`: the first events of all that there are, in order of n. */
export const originalOf = (
  nets: ReadonlyArray<Net>,
  reversals: ReadonlyArray<Event>,
  n: number
): Original => {
  const earlier = reversals.slice(0, n - 1)
  return {
    legs: nets.map((leg): OriginalLeg => ({ ...leg, reversed: reversedOf(earlier, leg) })),
    isNext: earlier.length === n - 1
  }
}

const reversedOf = (earlier: ReadonlyArray<Event>, { account, asset }: Net): bigint => {
  let sum = 0n
  for (const event of earlier) {
    const gave = "reverses" in event ? event.reverses?.gave : undefined
    for (const leg of gave ?? [])
      if (leg.account === account && (leg.asset ?? asset) === asset) sum += leg.amount
  }
  return sum
}
