/**
 * The postings of a transaction: what each of its events does to an account, and what is booked on contra accounts, which have no events of
 * their own. For each asset they come to zero (I2), which the page adds up itself instead of believing it.
 */

import { amountOf } from "../domain/Amounts.ts"
import type { Event } from "../domain/Event.ts"
import type { Leg } from "./wire.ts"

type LegEvent = Leg["event"]

export interface Posting {
  readonly account: string
  /** Undefined for a contra account, which has no versions. */
  readonly version: number | undefined
  readonly type: string
  /** What is added to the balance, in minor units. */
  readonly amount: bigint
  /** Undefined where only the account itself knows. */
  readonly asset: string | undefined
}

/** The amount of the event, whose amounts are texts in JSON. */
const amountIn = (event: LegEvent): bigint => {
  const amounts = (fields: object): object =>
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [
        name,
        name === "amount" ? BigInt(value) : name === "legs" ? value.map(amounts) : value
      ])
    )
  return amountOf(amounts(event) as Event) // of the event's fields, `amountOf` reads those amounts and the sides alone
}

const isContra = (account: string): boolean => account.startsWith("external:")

const contrasOf = (event: LegEvent): ReadonlyArray<Posting> => {
  const contra = (account: string, amount: bigint, asset?: string): Posting => ({
    account,
    version: undefined,
    type: "Contra",
    amount,
    asset
  })
  switch (event._tag) {
    case "Deposited":
    case "Withdrawn":
      return [contra(event.contra, -amountIn(event))]
    case "HoldCaptured":
      return isContra(event.to) ? [contra(event.to, -amountIn(event))] : []
    case "JournalPosted":
      return (event.contras ?? []).map((leg) =>
        contra(leg.contra, leg.side === "credit" ? BigInt(leg.amount) : -BigInt(leg.amount), leg.asset)
      )
    default:
      return []
  }
}

/** In order of the legs, contra accounts after the leg that tells of them. `assetOf`: the asset of an account, where it is known. */
export const postingsOf = (
  legs: ReadonlyArray<Leg>,
  assetOf: (account: string) => string | undefined
): ReadonlyArray<Posting> =>
  legs.flatMap(({ account, version, event }) => {
    const asset = assetOf(account)
    return [
      { account, version, type: event._tag, amount: amountIn(event), asset },
      ...contrasOf(event).map((one) => ({ ...one, asset: one.asset ?? asset }))
    ]
  })

/** Asset by asset what the postings come to; undefined while the asset of one that moves money is not known. */
export const sumsOf = (
  postings: ReadonlyArray<Posting>
): ReadonlyArray<{ readonly asset: string; readonly sum: bigint }> | undefined => {
  const sums = new Map<string, bigint>()
  for (const { asset, amount } of postings) {
    if (amount === 0n) continue
    if (asset === undefined) return undefined
    sums.set(asset, (sums.get(asset) ?? 0n) + amount)
  }
  return [...sums].map(([asset, sum]) => ({ asset, sum }))
}
