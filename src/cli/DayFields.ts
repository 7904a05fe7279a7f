/**
 * The fields of a day's line: what each text means, and the reasons why a line is no command. Amounts, assets and
 * instants are read by the readers of the domain, so that a day file means what the same text means elsewhere.
 */
import { Duration, Option, Result } from "effect"
import { type Exchange, journalLegsMax, type Leg } from "../domain/Command.ts"
import { parseInstant } from "../domain/InstantText.ts"
import {
  type Asset,
  amountMax,
  formatMoney,
  type MoneyFault,
  parseAsset,
  parseDecimal,
  trimBlanks
} from "../domain/Money.ts"

/** The columns that every file begins with. */
export const columns = [
  "time",
  "command_id",
  "kind",
  "account",
  "counterparty",
  "asset",
  "amount",
  "legs",
  "owner",
  "overdraft",
  "note"
] as const

/** Columns that a header may name after the others, in any order; a file without one has it empty on every line. */
export const furtherColumns = [
  "fx",
  "metadata",
  "side",
  "hold",
  "expires",
  "final",
  "excess",
  "original",
  "n",
  "shortfall",
  "group"
] as const

export type Column = (typeof columns)[number] | (typeof furtherColumns)[number]

export const allColumns: ReadonlyArray<Column> = [...columns, ...furtherColumns]

/** The columns that a header names, if it is one: all of `columns` in their order, then any of the further ones, once. */
export const readHeader = (fields: ReadonlyArray<string>): ReadonlyArray<Column> | undefined => {
  const names = fields.map(trimBlanks)
  if (!columns.every((column, index) => names[index] === column)) return undefined
  const further = names.slice(columns.length)
  const known = furtherColumns.filter((column) => further.includes(column))
  // As many known names as there are names: none is unknown, and none stands twice.
  return known.length === further.length ? (names as ReadonlyArray<Column>) : undefined // each was found above
}

export const faultReasons = [
  "malformed",
  "unknown kind",
  "missing",
  "not for this kind",
  "bad id",
  "bad time",
  "bad text",
  "unknown asset",
  "not a number",
  "too many decimals",
  "not positive",
  "negative",
  "overflow",
  "same account",
  "unbalanced",
  "too many legs"
] as const
export type FaultReason = (typeof faultReasons)[number]

/** Why a line is no command; nothing of it was done, and the lines after it go on. */
export interface LineFault {
  /** Counted from 1. */
  readonly line: number
  /** `undefined` where the line as a whole is at fault. */
  readonly column: Column | undefined
  readonly reason: FaultReason
  /** The field (or line) at fault, its first 100 characters. */
  readonly text: string
  /** What exactly is wrong with the text, where the reason alone leaves that open. */
  readonly detail?: string
}

/** A fault before its line is known. */
export type Fault = Omit<LineFault, "line"> & {
  /** The group that the line is of, empty where it is of none; undefined where that could not be read. */
  readonly group?: string
}

export const faulty = (column: Column | undefined, reason: FaultReason, text: string, detail?: string) =>
  Result.fail<Fault>(detail === undefined ? { column, reason, text } : { column, reason, text, detail })

/** `USD/2`, or `USD` for short. */
export const toAsset = (text: string, column: Column = "asset"): Result.Result<Asset, Fault> =>
  Result.mapError(parseAsset(text), (detail) => ({ column, reason: "unknown asset", text, detail }))

const moneyReasons: { readonly [Fault in MoneyFault]: FaultReason } = {
  "not a decimal number": "not a number",
  "too many decimals": "too many decimals",
  "out of bounds": "overflow"
}

/** Minor units of either sign, within the bound of a balance. */
export const toSum = (column: Column, text: string, asset: Asset): Result.Result<bigint, Fault> =>
  Result.mapError(parseDecimal(text, asset), (fault) => ({ column, reason: moneyReasons[fault], text }))

/** Minor units of either sign, within the bound of one leg. */
export const toUnits = (column: Column, text: string, asset: Asset): Result.Result<bigint, Fault> =>
  Result.flatMap(toSum(column, text, asset), (units) =>
    units > amountMax || units < -amountMax ? faulty(column, "overflow", text) : Result.succeed(units)
  )

/** The instant for which a line counts, in epoch milliseconds. */
export const toInstant = (text: string): Result.Result<number, Fault> =>
  Result.mapError(parseInstant(text), (detail) => ({ column: "time", reason: "bad time", text, detail }))

/**
 * The rates that a journal is held against, `USD>EUR=10/11 half-even;EUR>JPY=162.35`: the base, the quote, how many whole
 * units of the quote one of the base is worth (a fraction or a decimal), and how it is rounded, `half-even` when absent.
 */
export const toExchanges = (
  text: string
): Result.Result<ReadonlyArray<{ readonly [Key in keyof Exchange]: unknown }>, Fault> =>
  Result.all(text.split(";").map(toExchange))

const toExchange = (part: string): Result.Result<{ readonly [Key in keyof Exchange]: unknown }, Fault> =>
  Result.gen(function* () {
    const [pair = "", written = "", ...more] = part.split("=").map(trimBlanks)
    const [base, quote, ...others] = pair.split(">").map(trimBlanks)
    const [rate = "", rounding = "half-even", ...rest] = written.split(/[ \t\u00a0]+/)
    if (base === undefined || quote === undefined || more.length + others.length + rest.length > 0)
      return yield* faulty("fx", "malformed", part, "a rate is USD>EUR=10/11 half-even")
    return {
      base: yield* toAsset(base, "fx"),
      quote: yield* toAsset(quote, "fx"),
      rate: toFraction(rate),
      rounding
    }
  })

/** A decimal as the fraction of two whole numbers; another text is left as it is, for the schema of commands to judge. */
const toFraction = (text: string): string => {
  const [, whole = "", decimals = ""] = /^(\d{1,20})(?:\.(\d{1,20}))?$/.exec(text) ?? []
  const digits = (whole + decimals).replace(/^0+(?=\d)/, "")
  return whole === "" ? text : `${digits}/1${"0".repeat(decimals.length)}`
}

/** `yes`, where a column says whether something is so; empty, it is not. */
export const toYes = (column: Column, text: string): Result.Result<true, Fault> =>
  text === "yes" ? Result.succeed(true) : faulty(column, "bad text", text, "write yes, or nothing")

/** `fromInput` reads any text of its form, which its type has no name for. */
const readDuration = (text: string) => Duration.fromInput(text as Duration.Input)

/** A length of time as a person writes it: `7 days`, `90 minutes`; undefined where the text is none, or is not positive. */
export const parseDuration = (text: string): Option.Option<Duration.Duration> =>
  Option.filter(readDuration(text), Duration.isPositive)

/** When a hold expires: an instant, or how long after it was recorded. */
export const toExpiry = (text: string): Result.Result<object, Fault> => {
  const expiresAt = parseInstant(text)
  if (Result.isSuccess(expiresAt)) return Result.succeed({ expiresAt: expiresAt.success })
  return Option.match(parseDuration(text), {
    onSome: (duration) => Result.succeed({ expiresIn: Math.ceil(Duration.toMillis(duration)) }),
    onNone: () =>
      faulty("expires", "bad time", text, "write an instant, or a length of time: 7 days, 90 minutes")
  })
}

/** The number of a reversal. */
export const toNumber = (text: string): Result.Result<number, Fault> =>
  /^[1-9]\d{0,2}$/.test(text)
    ? Result.succeed(Number(text))
    : faulty("n", "not a number", text, "reversals of a command are numbered from 1 to 999")

/** Free text by key, `invoice=4711;till=3`; blanks around keys and values count for nothing. */
export const toMetadata = (text: string): Result.Result<{ readonly [key: string]: string }, Fault> => {
  const pairs = new Map<string, string>()
  for (const part of text.split(";")) {
    const end = part.indexOf("=")
    const key = trimBlanks(part.slice(0, Math.max(0, end)))
    if (key === "") return faulty("metadata", "malformed", part, "metadata is key=value;key=value")
    if (pairs.has(key)) return faulty("metadata", "malformed", part, `the key ${key} stands twice`)
    pairs.set(key, trimBlanks(part.slice(end + 1)))
  }
  return Result.succeed(Object.fromEntries(pairs))
}

/** One leg, `alice=-10.00` or `alice=-10.00 USD`; `asset` is that of a leg which names none. */
const toLeg = (part: string, asset: Asset | undefined) =>
  Result.gen(function* () {
    const [account, money, ...further] = part.split("=").map(trimBlanks)
    if (account === undefined || money === undefined || further.length > 0)
      return yield* faulty("legs", "malformed", part, "a leg is account=amount")
    const [decimal = "", unit, ...rest] = money.split(/[ \t\u00a0]+/)
    if (rest.length > 0) return yield* faulty("legs", "malformed", part, "an amount is 12.50, or 12.50 USD")
    const own = unit === undefined ? asset : yield* toAsset(unit)
    if (own === undefined)
      return yield* faulty("asset", "missing", part, "neither the line nor the leg has one")
    const units = yield* toUnits("legs", decimal, own)
    if (units === 0n) return yield* faulty("legs", "not positive", part)
    return { account, units, own }
  })

/** What accounts of an original give or get back, each above zero: `shop=30.00;tax=5.70`. */
export const toReversalLegs = (
  text: string,
  asset: Asset | undefined
): Result.Result<ReadonlyArray<unknown>, Fault> =>
  Result.all(
    text
      .split(";")
      .map((part) =>
        Result.flatMap(toLeg(part, asset), ({ account, units, own }) =>
          units < 0n
            ? faulty("legs", "not positive", part)
            : Result.succeed({ account, amount: units, asset: own })
        )
      )
  )

/**
 * What each account gets, summing to zero in each asset: `alice=-10.00;shop=9.80;fees=0.20`. A leg may name its asset
 * (`a=-50 USD;b=50 USD;c=-0.001 BTC;d=0.001 BTC`), so that the two sides of a trade stand on one line and are booked
 * together or not at all; `asset` is that of the others. An account may have several legs, and contra accounts have legs too
 * (`external:card=-100;shop=97;fees=3`).
 */
export const toLegs = (
  text: string,
  asset: Asset | undefined
): Result.Result<ReadonlyArray<unknown>, Fault> =>
  Result.gen(function* () {
    const parts = text.split(";")
    if (parts.length > journalLegsMax) return yield* faulty("legs", "too many legs", text)
    const legs: Array<{ readonly [Key in keyof Leg]: unknown }> = []
    const sums = new Map<Asset, bigint>()
    for (const part of parts) {
      const { account, units, own } = yield* toLeg(part, asset)
      sums.set(own, (sums.get(own) ?? 0n) + units)
      const side = units < 0n ? "debit" : "credit"
      legs.push({ account, side, amount: units < 0n ? -units : units, asset: own })
    }
    for (const [of, sum] of sums) {
      if (sum !== 0n) return yield* faulty("legs", "unbalanced", text, `the sum is ${formatMoney(sum, of)}`)
    }
    return legs
  })
