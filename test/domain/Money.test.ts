/** Decimal text and minor units: there and back without loss, faults by name. */
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import {
  Asset,
  Balance,
  balanceMax,
  codeOf,
  convert,
  formatDecimal,
  formatMoney,
  type MoneyFault,
  parseAsset,
  parseDecimal,
  scaleOf
} from "../../src/domain/Money.ts"
import { drawn } from "../support/drawn.ts"

const asset = Schema.decodeSync(Asset)

it.each<[bigint, string, string, string, bigint]>([
  [110_00n, "USD/2", "EUR/2", "10/11", 100_00n],
  [100n, "USD/2", "JPY/0", "15050/100", 150n],
  [100n, "JPY/0", "BTC/8", "1/15000000", 667n],
  [1n, "USD/2", "ETH/18", "1/3000", 3_333_333_333_333n]
])("%s minor units of %s are in %s at %s, half-even, %s", (amount, base, quote, rate, expected) => {
  const exchange = { base: asset(base), quote: asset(quote), rate, rounding: "half-even" } as const
  assert.strictEqual(convert(amount, exchange), expected)
})

it.each([
  ["half-even", [1n, 2n, 2n, 3n, 3n, 4n]],
  ["half-up", [1n, 2n, 3n, 3n, 3n, 4n]],
  ["half-down", [1n, 2n, 2n, 3n, 3n, 3n]],
  ["up", [2n, 2n, 3n, 3n, 4n, 4n]],
  ["down", [1n, 2n, 2n, 2n, 3n, 3n]]
] as const)("rounds %s", (rounding, expected) => {
  const exchange = { base: asset("A/0"), quote: asset("B/0"), rounding } as const
  const rates = ["125/100", "2/1", "25/10", "251/100", "325/100", "35/10"]
  assert.deepStrictEqual(
    rates.map((rate) => convert(1n, { ...exchange, rate })),
    [...expected]
  )
})

it.each<[string, string, bigint]>([
  ["12.50", "USD/2", 1250n],
  ["12.5", "USD/2", 1250n],
  ["12", "USD/2", 1200n],
  ["-0.05", "USD/2", -5n],
  ["+7", "JPY/0", 7n],
  ["0.00000001", "BTC/8", 1n],
  ["0", "BTC/8", 0n],
  ["-0", "JPY/0", 0n],
  ["007", "JPY/0", 7n],
  ["8.850", "EUR/2", 885n],
  ["100.00000", "EUR/2", 10_000n],
  ["1000.00", "JPY/0", 1000n],
  ["1.0", "JPY/0", 1n],
  ["50.", "USD/2", 5000n],
  [".50", "USD/2", 50n],
  ["-.5", "USD/2", -50n],
  ["  12.50\t", "USD/2", 1250n],
  ["\u00a012.50\u00a0", "USD/2", 1250n],
  [`${"0".repeat(500)}1.5${"0".repeat(500)}`, "USD/2", 150n],
  ["1000000000000000000", "ETH/18", 10n ** 36n],
  [`${"9".repeat(36)}.99`, "USD/2", balanceMax],
  [`${"9".repeat(20)}.${"9".repeat(18)}`, "X/18", balanceMax]
])("reads %s %s as %s minor units", (text, of, units) => {
  assert.deepEqual(parseDecimal(text, asset(of)), Result.succeed(units))
})

it.each<[string, string, MoneyFault]>([
  ["12.505", "USD/2", "too many decimals"],
  ["8.855", "EUR/2", "too many decimals"],
  ["0.5", "JPY/0", "too many decimals"],
  [`1${"0".repeat(36)}.00`, "USD/2", "out of bounds"],
  [`-1${"0".repeat(36)}`, "USD/2", "out of bounds"],
  ["9".repeat(10_000), "JPY/0", "out of bounds"],
  ["", "USD/2", "not a decimal number"],
  [".", "USD/2", "not a decimal number"],
  ["-", "USD/2", "not a decimal number"],
  ["  ", "USD/2", "not a decimal number"],
  ["1 000.00", "USD/2", "not a decimal number"],
  ["1.000.00", "USD/2", "not a decimal number"],
  ["- 5", "USD/2", "not a decimal number"],
  ["1,000.00", "USD/2", "not a decimal number"],
  ["12,50", "USD/2", "not a decimal number"],
  ["1,000", "USD/2", "not a decimal number"],
  ["1e3", "USD/2", "not a decimal number"],
  ["0x10", "JPY/0", "not a decimal number"],
  ["1\n", "JPY/0", "not a decimal number"],
  ["--1", "JPY/0", "not a decimal number"],
  ["٣", "JPY/0", "not a decimal number"],
  ["NaN", "JPY/0", "not a decimal number"]
])("refuses %j %s: %s", (text, of, fault) => {
  assert.deepEqual(parseDecimal(text, asset(of)), Result.fail(fault))
})

describe("every asset and balance", () => {
  it.prop(
    "formats and reads back to the same units",
    [Schema.toType(Balance), Asset],
    ([units, asset]) => {
      assert.deepEqual(parseDecimal(formatDecimal(units, asset), asset), Result.succeed(units))
    },
    drawn
  )

  it.prop(
    "formats with exactly the asset's decimals",
    [Schema.toType(Balance), Asset],
    ([units, asset]) => {
      const [, fraction = ""] = formatDecimal(units, asset).split(".")
      assert.strictEqual(fraction.length, scaleOf(asset))
      assert.strictEqual(`${codeOf(asset)}/${scaleOf(asset)}`, asset)
    },
    drawn
  )
})

it("prints an amount with its code", () => {
  assert.strictEqual(formatMoney(-1250n, asset("USD/2")), "-12.50 USD")
  assert.strictEqual(formatMoney(5n, asset("BTC/8")), "0.00000005 BTC")
  assert.strictEqual(formatMoney(0n, asset("JPY/0")), "0 JPY")
})

it.each<[string, string]>([
  ["USD/2", "USD/2"],
  ["USD", "USD/2"],
  ["JPY", "JPY/0"],
  ["BTC", "BTC/8"],
  [" EUR ", "EUR/2"],
  ["JPY/2", "JPY/2"],
  ["BTC/2", "BTC/2"],
  ["ETH/18", "ETH/18"]
])("reads the asset %j as %s", (text, asset) => {
  assert.deepEqual<unknown>(parseAsset(text), Result.succeed(asset))
})

it.each(["DOGE", "usd", "USD/19", "USD/02", "USD/", "/2", "", "USD /2"])("refuses the asset %j", (text) => {
  assert.match(
    Result.getOrThrow(Result.flip(parseAsset(text))),
    /such as "USD\/2", or one of USD, EUR, JPY, BTC/
  )
})
