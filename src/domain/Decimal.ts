/** Amounts of minor units in their decimal form. Needs nothing of effect, so that a browser has the same form as the command line. */
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
