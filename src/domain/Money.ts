/**
 * Assets, amounts and balances: their bounds, and their decimal form. Exact, for no floating point is used anywhere.
 */
import { Result, Schema, SchemaTransformation } from "effect"
import { scaleOf } from "./Amounts.ts"

export { codeOf, formatDecimal, formatMoney, scaleOf } from "./Amounts.ts"

/** A code and a scale, `USD/2`: amounts of it are whole numbers of 10^-scale. */
export const Asset = Schema.String.check(
  Schema.isPattern(/^[A-Z][A-Z0-9]{0,11}\/(0|[1-9]|1[0-8])$/u, {
    message: 'must be a code and a scale of 0 to 18, such as "USD/2"'
  })
).pipe(Schema.brand("Asset"))
export type Asset = typeof Asset.Type

/**
 * The largest amount of one leg, in minor units: 10^18 whole units of an asset with the largest scale, 18. Below the
 * largest balance by two digits, so that an account can take a hundred of the largest amounts.
 */
export const amountMax = 10n ** 36n - 1n
/** A balance stays within plus and minus this, in minor units: what SQL's `numeric(38, 0)` holds. */
export const balanceMax = 10n ** 38n - 1n

/** Minor units as text, in one form alone: `007`, `-0` and `+7` are not how the ledger prints any number. */
export const minorUnitsPattern = /^(?:0|-?[1-9]\d*)$/u

/** Integers in minor units: bigints in memory, decimal strings in JSON, where a number would lose digits. */
const minorUnitsMessage = 'must be a string of whole minor units, such as "1250"'

const MinorUnits = Schema.String.annotate({ message: minorUnitsMessage })
  .check(
    Schema.isPattern(minorUnitsPattern, { message: minorUnitsMessage }),
    // Before the text is made a bigint, which takes more than linear time.
    Schema.isMaxLength(100, { message: "has more digits than any amount" })
  )
  .pipe(
    Schema.decodeTo(
      Schema.BigInt.annotate({ message: "must be a bigint of minor units, such as 1250n" }),
      SchemaTransformation.bigintFromString
    )
  )

/** 1 … 10^36-1 minor units; a string on the wire. */
export const Amount = MinorUnits.check(
  Schema.isBetweenBigInt(
    { minimum: 1n, maximum: amountMax },
    { message: `must be between 1 and ${amountMax} minor units` }
  )
)
export type Amount = typeof Amount.Type

/** 0 … 10^36-1 minor units an account may go below zero. */
export const OverdraftLimit = MinorUnits.check(
  Schema.isBetweenBigInt(
    { minimum: 0n, maximum: amountMax },
    { message: `must be between 0 and ${amountMax} minor units` }
  )
)

/** Any balance, in minor units; a string on the wire. */
export const Balance = MinorUnits.check(
  Schema.isBetweenBigInt(
    { minimum: -balanceMax, maximum: balanceMax },
    { message: `must be between -${balanceMax} and ${balanceMax} minor units` }
  )
)

/** Ways to round to whole minor units; `half-even` rounds a half to the even neighbour, and `up` is away from zero. */
export const Rounding = Schema.Literals(["half-even", "half-up", "half-down", "up", "down"])
export type Rounding = typeof Rounding.Type

/** How many whole units of one asset a whole unit of another is worth, as a fraction of integers of up to 30 digits: `10/11`. */
export const Rate = Schema.String.check(
  Schema.isPattern(/^[1-9]\d{0,29}\/[1-9]\d{0,29}$/, {
    message: 'must be a fraction of two whole numbers above zero, such as "10837/10000"'
  })
)

/** What an amount of `base` is worth in `quote` at a rate, in whole minor units. */
export const convert = (
  amount: bigint,
  { base, quote, rate, rounding }: Readonly<{ base: Asset; quote: Asset; rate: string; rounding: Rounding }>
): bigint => {
  const [numerator = "", denominator = ""] = rate.split("/")
  const dividend = amount * BigInt(numerator) * 10n ** BigInt(scaleOf(quote))
  const divisor = BigInt(denominator) * 10n ** BigInt(scaleOf(base))
  const floor = dividend / divisor
  const twice = 2n * (dividend % divisor)
  if (twice === 0n) return floor
  switch (rounding) {
    case "down":
      return floor
    case "up":
      return floor + 1n
    default: {
      const isOdd = floor % 2n === 1n
      const halfGoesUp = rounding === "half-up" || (rounding === "half-even" && isOdd)
      return twice > divisor || (twice === divisor && halfGoesUp) ? floor + 1n : floor
    }
  }
}

/** Why a decimal text is no amount of an asset. */
export type MoneyFault = "not a decimal number" | "too many decimals" | "out of bounds"

/** Scales that need not be written by a person. The ledger itself knows none: see `parseAsset`. */
const shortForms: ReadonlyMap<string, string> = new Map([
  ["USD", "USD/2"],
  ["EUR", "EUR/2"],
  ["JPY", "JPY/0"],
  ["BTC", "BTC/8"]
])

const decodeAsset = Schema.decodeUnknownResult(Asset)

/**
 * An asset as a person writes it: `USD/2`, or `USD` for one of four common assets. Any code may have any scale,
 * written in full (`JPY/2` is another asset than `JPY/0`). One reader for the command line and day files.
 */
export const parseAsset = (text: string): Result.Result<Asset, string> => {
  const written = trimBlanks(text)
  return Result.mapError(
    decodeAsset(shortForms.get(written) ?? written),
    () =>
      `must be a code and a scale of 0 to 18, such as "USD/2", or one of ${[...shortForms.keys()].join(", ")}`
  )
}

/** Without the blanks around it (spaces, tabs, no-break spaces): they belong to a file's layout, not to the value. */
export const trimBlanks = (text: string): string => {
  const isBlank = (char: string | undefined) => char === " " || char === "\t" || char === "\u00a0"
  return dropEnd(dropStart(text, isBlank), isBlank)
}

/** Digits, with a point anywhere among them; a sign before them. */
const decimalPattern = /^([+-]?)(\d*)(?:\.(\d*))?$/

/** More digits than the largest balance of an asset of 18 decimals; longer texts are not made bigints. */
const digitsMax = balanceMax.toString().length

/**
 * Minor units of a decimal text, judged by its value: `parseDecimal("12.5", "USD/2")` is `1250n`, and so are `12.50`,
 * `12.500` and ` 012.5 `; `12.505` has no whole number of minor units. Signs are read; whether they are allowed is the
 * caller's rule.
 */
export const parseDecimal = (text: string, asset: Asset): Result.Result<bigint, MoneyFault> => {
  const [, sign = "", whole = "", fraction = ""] = decimalPattern.exec(trimBlanks(text)) ?? []
  if (whole === "" && fraction === "") return Result.fail("not a decimal number")
  const scale = scaleOf(asset)
  const decimals = dropEnd(fraction, isZero)
  if (decimals.length > scale) return Result.fail("too many decimals")
  const digits = dropStart(whole + decimals.padEnd(scale, "0"), isZero)
  if (digits.length > digitsMax) return Result.fail("out of bounds")
  const units = BigInt(digits)
  return Result.succeed(sign === "-" ? -units : units)
}

const isZero = (char: string | undefined) => char === "0"

// Loops, because a pattern that ends in `$` is tried anew from every character: quadratic on a long text.
const dropEnd = (text: string, isDropped: (char: string | undefined) => boolean): string => {
  let end = text.length
  while (end > 0 && isDropped(text[end - 1])) end--
  return text.slice(0, end)
}

const dropStart = (text: string, isDropped: (char: string | undefined) => boolean): string => {
  let start = 0
  while (start < text.length && isDropped(text[start])) start++
  return text.slice(start)
}
