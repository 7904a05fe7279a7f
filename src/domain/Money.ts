/** Decimal text enters, whole minor units leave, and back. No floating point on the way. */
import { Result, Schema } from "effect"

/** A code and a scale, `USD/2`: amounts of it are whole numbers of 10^-scale. */
export const Asset = Schema.String.check(
  Schema.isPattern(/^[A-Z][A-Z0-9]{0,11}\/(0|[1-9]|1[0-8])$/, {
    message: 'must be a code and a scale of 0 to 18, such as "USD/2"'
  })
).pipe(Schema.brand("Asset"))
export type Asset = typeof Asset.Type

/** The largest amount of one leg, in minor units. */
export const amountMax = 10n ** 18n - 1n
/** A balance stays within plus and minus this, in minor units. */
export const balanceMax = 2n ** 63n - 1n

/** 1 … 10^18-1 minor units; a string on the wire. */
export const Amount = Schema.BigIntFromString.check(
  Schema.isBetweenBigInt(
    { minimum: 1n, maximum: amountMax },
    { message: `must be between 1 and ${amountMax} minor units` }
  )
)
export type Amount = typeof Amount.Type

/** 0 … 10^18-1 minor units an account may go below zero. */
export const OverdraftLimit = Schema.BigIntFromString.check(
  Schema.isBetweenBigInt(
    { minimum: 0n, maximum: amountMax },
    { message: `must be between 0 and ${amountMax} minor units` }
  )
)

/** Any balance, in minor units; a string on the wire. */
export const Balance = Schema.BigIntFromString.check(
  Schema.isBetweenBigInt({ minimum: -balanceMax, maximum: balanceMax })
)

/** Why a decimal text is no amount of an asset. */
export type MoneyFault = "not a decimal number" | "too many decimals" | "out of bounds"

export const scaleOf = (asset: Asset): number => Number(asset.slice(asset.indexOf("/") + 1))
export const codeOf = (asset: Asset): string => asset.slice(0, asset.indexOf("/"))

/** `parseDecimal("12.5", "USD/2")` is `1250n`. Signs are read; whether they are allowed is the caller's rule. */
export const parseDecimal = (text: string, asset: Asset): Result.Result<bigint, MoneyFault> => {
  const match = /^([+-]?)(\d{1,40})(?:\.(\d{1,40}))?$/.exec(text)
  if (match === null) return Result.fail("not a decimal number")
  const [, sign = "", whole = "", fraction = ""] = match
  const scale = scaleOf(asset)
  if (fraction.length > scale) return Result.fail("too many decimals")
  const units = BigInt(whole + fraction.padEnd(scale, "0"))
  if (units > balanceMax) return Result.fail("out of bounds")
  return Result.succeed(sign === "-" ? -units : units)
}

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
