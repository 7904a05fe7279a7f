/** The text of one field of a day's line enters; its value leaves, or the reason why it has none. */
import { Result, Schema } from "effect"
import { journalLegsMax, type Leg } from "../domain/Command.ts"
import { parseInstant } from "../domain/InstantText.ts"
import { Asset, amountMax, type MoneyFault, parseDecimal } from "../domain/Money.ts"

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
export type Column = (typeof columns)[number]

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
}

/** A fault before its line is known. */
export type Fault = Omit<LineFault, "line">

export const faulty = (column: Column | undefined, reason: FaultReason, text: string) =>
  Result.fail<Fault>({ column, reason, text })

/** Assets that need no scale written out; any other is written with it, `XYZ/3`. */
const knownScales = new Map([
  ["USD", 2],
  ["EUR", 2],
  ["JPY", 0],
  ["BTC", 8]
])

const decodeAsset = Schema.decodeResult(Asset)

/** `USD`, or any asset with its scale. A known code with another scale is more likely a slip than an asset. */
export const toAsset = (text: string): Result.Result<Asset, Fault> => {
  const [code = ""] = text.split("/")
  const known = knownScales.get(code)
  const written = text === code && known !== undefined ? `${code}/${known}` : text
  if (known !== undefined && written !== `${code}/${known}`) return faulty("asset", "unknown asset", text)
  return Result.orElse(decodeAsset(written), () => faulty("asset", "unknown asset", text))
}

const moneyReasons: { readonly [Fault in MoneyFault]: FaultReason } = {
  "not a decimal number": "not a number",
  "too many decimals": "too many decimals",
  "out of bounds": "overflow"
}

/** Minor units of either sign, within the bound of one leg. */
export const toUnits = (column: Column, text: string, asset: Asset): Result.Result<bigint, Fault> =>
  Result.flatMap(
    Result.mapError(parseDecimal(text, asset), (fault) => ({ column, reason: moneyReasons[fault], text })),
    (units) =>
      units > amountMax || units < -amountMax ? faulty(column, "overflow", text) : Result.succeed(units)
  )

/** The instant for which a line counts, in epoch milliseconds. */
export const toInstant = (text: string): Result.Result<number, Fault> =>
  Result.mapError(parseInstant(text), () => ({ column: "time", reason: "bad time", text }))

/** `alice=-10.00;shop=9.80;fees=0.20`: what each account gets, summing to zero. */
export const toLegs = (text: string, asset: Asset): Result.Result<ReadonlyArray<unknown>, Fault> =>
  Result.gen(function* () {
    const parts = text.split(";")
    if (parts.length > journalLegsMax) return yield* faulty("legs", "too many legs", text)
    const legs: Array<{ readonly [Key in keyof Leg]: unknown }> = []
    const accounts = new Set<string>()
    let sum = 0n
    for (const part of parts) {
      const [account, decimal, ...further] = part.split("=")
      if (account === undefined || decimal === undefined || further.length > 0)
        return yield* faulty("legs", "malformed", part)
      if (accounts.has(account)) return yield* faulty("legs", "same account", part)
      accounts.add(account)
      const units = yield* toUnits("legs", decimal, asset)
      if (units === 0n) return yield* faulty("legs", "not positive", part)
      sum += units
      legs.push({
        account,
        side: units < 0n ? "debit" : "credit",
        amount: units < 0n ? -units : units,
        asset
      })
    }
    return sum === 0n ? legs : yield* faulty("legs", "unbalanced", text)
  })
