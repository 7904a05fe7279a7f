/**
 * A hundred thousand random and mutated texts for the readers of amounts, instants and assets: none makes a reader
 * throw, and what is read is what an independent reading of the same text says (oracles.ts).
 */
import { assert, it } from "@effect/vitest"
import { Effect, Random, Result, Schema } from "effect"
import { parseInstant } from "../../src/domain/InstantText.ts"
import { Asset, balanceMax, parseAsset, parseDecimal, scaleOf } from "../../src/domain/Money.ts"
import { instantOf, unitsOf } from "./oracles.ts"

const texts = 100_000

const assets = ["JPY/0", "USD/2", "BTC/8", "ETH/18"].map((text) => Schema.decodeSync(Asset)(text))

const seeds = [
  ..."12.50|8.850|100.00000|1000.00|50.|.50|0|-1|+7.0|1,000.00|12,50|1e3|0x1f|007| 1 |1.2.3|--1|NaN".split(
    "|"
  ),
  ..."2026-03-02T09:15:00Z|2026-02-30|2026-03-02|02.03.2026|2024-02-29T23:59:59.999+14:00|5|invoice 12".split(
    "|"
  ),
  ..."1772442900000|2026-03-02T24:00:00Z|9999-12-31T23:59:59.999Z|1969-12-31T23:59:59Z|USD|USD/2|JPY/19|x/1".split(
    "|"
  ),
  `${"9".repeat(38)}`,
  `1${"0".repeat(38)}`,
  `0.${"0".repeat(17)}1`
]
const alphabet = [..."0123456789.-+,:/ TZtz\tEeUSDPYJ\u00a0\n\r０−é", "\ud800", "\u202e"]

/** A seed with up to four characters replaced, added or dropped; or random characters. */
const draw = Effect.gen(function* () {
  const below = (end: number) => Random.nextIntBetween(0, end)
  const chars = [...(seeds[yield* below(seeds.length + 4)] ?? "")]
  if (chars.length === 0) {
    for (let left = yield* below(30); left > 0; left--)
      chars.push(alphabet[yield* below(alphabet.length)] ?? "")
    return chars.join("")
  }
  for (let left = yield* below(5); left > 0; left--) {
    const char = alphabet[yield* below(alphabet.length)] ?? ""
    const place = yield* below(chars.length + 1)
    const kept = yield* below(2)
    chars.splice(place, kept, ...((yield* below(3)) === 0 ? [] : [char]))
  }
  return chars.join("")
})

it.effect("no text is read as another amount, instant or asset than it says", () =>
  Effect.gen(function* () {
    const read = { amounts: 0, instants: 0, assets: 0 }
    for (let index = 0; index < texts; index++) {
      const text = yield* draw
      const asset = assets[index % assets.length]
      if (asset === undefined) return assert.fail("no asset")
      const amount = Result.getOrUndefined(parseDecimal(text, asset))
      if (amount !== unitsOf(text, scaleOf(asset))) assert.fail(`${JSON.stringify(text)} ${asset}: ${amount}`)
      if (amount !== undefined && amount > balanceMax)
        assert.fail(`${JSON.stringify(text)}: beyond the bound`)
      const instant = Result.getOrUndefined(parseInstant(text))
      if (instant !== instantOf(text)) assert.fail(`${JSON.stringify(text)}: ${instant}`)
      const named = Result.getOrUndefined(parseAsset(text))
      if (named !== undefined && !/^[A-Z][A-Z0-9]*\/(?:1?[0-9])$/.test(named))
        assert.fail(`${text}: ${named}`)
      if (amount !== undefined) read.amounts++
      if (instant !== undefined) read.instants++
      if (named !== undefined) read.assets++
    }
    for (const [what, count] of Object.entries(read)) assert.isAbove(count, 1_000, what)
  }).pipe(Random.withSeed(process.env.CHRONICLE_TEST_SEED ?? "7"))
)
