/**
 * Amounts in minor units: what an event does to a balance, and their decimal form. Needs nothing of effect, so that a browser counts as the
 * ledger does, and prints as the command line.
 */
import type { Event } from "./Event.ts"
import type { Asset } from "./Money.ts"

export const scaleOf = (asset: Asset): number => Number(asset.slice(asset.indexOf("/") + 1))
export const codeOf = (asset: Asset): string => asset.slice(0, asset.indexOf("/"))

/** `formatDecimal(-5n, "USD/2")` is `"-0.05"`. */
export const formatDecimal = (units: bigint, asset: Asset): string => {
  const scale = scaleOf(asset)
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, "0")
  const sign = units < 0n ? "-" : ""
  if (scale === 0) return sign + digits
  return `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

/** `formatMoney(1250n, "USD/2")` is `"12.50 USD"`. */
export const formatMoney = (units: bigint, asset: Asset): string =>
  `${formatDecimal(units, asset)} ${codeOf(asset)}`

/** What the event adds to the balance of its account, in minor units; 0 where no money moves. */
export const amountOf = (event: Event): bigint => {
  switch (event._tag) {
    case "Deposited":
    case "TransferReceived":
      return event.amount
    case "Withdrawn":
    case "TransferSent":
    case "HoldCaptured":
      return -event.amount
    case "JournalPosted": {
      const own = event.legs[0]
      return own === undefined ? 0n : own.side === "credit" ? own.amount : -own.amount
    }
    case "JournalLegPosted":
      return event.side === "credit" ? event.amount : -event.amount
    default:
      return 0n
  }
}
