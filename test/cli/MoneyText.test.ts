/** Amounts at the command line: judged by value, in the account's own asset or refused. */
import { assert, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { assetIn, parseMoneyText, unitsOf } from "../../src/cli/MoneyText.ts"
import { Asset } from "../../src/domain/Money.ts"

const asset = Schema.decodeSync(Asset)
const read = (text: string, of: string) => {
  const money = parseMoneyText(text)
  return money === undefined ? "no amount" : Result.merge(unitsOf(money, asset(of)))
}

it.each<[string, string, bigint]>([
  ["12.50", "USD/2", 1250n],
  ["12.500", "USD/2", 1250n],
  [" 50. ", "USD/2", 5000n],
  [".50", "USD/2", 50n],
  ["1000.00 JPY", "JPY/0", 1000n],
  ["8.850 EUR", "EUR/2", 885n],
  ["8.850 EUR/2", "EUR/2", 885n],
  ["1.5 JPY/2", "JPY/2", 150n]
])("reads %j of an account in %s as %d minor units", (text, of, units) => {
  assert.strictEqual(read(text, of), units)
})

it.each<[string, string, RegExp]>([
  ["8.855", "EUR/2", /too many decimals/],
  ["1,000.00", "EUR/2", /no amount/],
  ["12,50", "EUR/2", /no amount/],
  ["1e3", "EUR/2", /no amount/],
  ["-1", "EUR/2", /no amount/],
  [".", "EUR/2", /no amount/],
  ["", "EUR/2", /no amount/],
  ["1 usd", "USD/2", /no amount/],
  ["1 EUR", "USD/2", /the account holds USD\/2, not EUR/],
  ["1 JPY/2", "JPY/0", /the account holds JPY\/0, not JPY\/2/]
])("refuses %j of an account in %s: %s", (text, of, reason) => {
  assert.match(String(read(text, of)), reason)
})

it("knows the asset only where the text names its scale", () => {
  const known = (text: string) => {
    const money = parseMoneyText(text)
    return money === undefined ? undefined : assetIn(money)
  }
  assert.strictEqual(known("1 JPY/2"), "JPY/2")
  assert.isUndefined(known("1 JPY"))
  assert.isUndefined(known("1"))
})
