/** The comparison of two versions by what their benchmarks print. */
import { assert, describe, it } from "@effect/vitest"
import { compare, isPartOfSum, median, readFigures, toMarkdown, unmatched } from "../../bench/Comparison.ts"

/** What `console.table` prints for the two tables of `npm run bench`. */
const printed = (decideUs: string, cpuUs: string, perSecond: number) => `
┌─────────┬────────────────────┬─────────────┬──────────┐
│ (index) │ step               │ µs (median) │ µs (p99) │
├─────────┼────────────────────┼─────────────┼──────────┤
│ 0       │ 'decide a transfer' │ '${decideUs}'      │ '9.99'   │
└─────────┴────────────────────┴─────────────┴──────────┘
┌─────────┬─────────────────────────────┬──────────────────┬───────────────────┬──────────────┐
│ (index) │ through a node, no database │ CPU µs a command │ commands a second │ rows a batch │
├─────────┼─────────────────────────────┼──────────────────┼───────────────────┼──────────────┤
│ 0       │ 'transfers-uniform'         │ '${cpuUs}'           │ ${perSecond}            │ 500          │
└─────────┴─────────────────────────────┴──────────────────┴───────────────────┴──────────────┘
`

describe("the comparison of two benchmarks", () => {
  it("reads the median of each step, and the costs and the rate of each path", () => {
    assert.deepStrictEqual(readFigures(printed("1.25", "20.5", 48_000)), [
      { name: "decide a transfer", unit: "µs (median)", value: 1.25 },
      { name: "transfers-uniform", unit: "CPU µs a command", value: 20.5 },
      { name: "transfers-uniform", unit: "commands a second", value: 48_000 }
    ])
  })

  it("takes the median of the rounds, and counts a lower rate as slower", () => {
    const old = [printed("1.00", "20", 50_000), printed("1.10", "22", 40_000), printed("9.00", "21", 45_000)]
    const now = [printed("1.21", "21", 50_000), printed("1.00", "30", 30_000), printed("1.30", "20", 36_000)]
    const comparisons = compare(old.map(readFigures), now.map(readFigures))
    assert.deepStrictEqual(
      comparisons.map(({ ratio }) => Number(ratio.toFixed(3))),
      [1.1, 1, 1.25]
    )
    assert.deepStrictEqual(toMarkdown(comparisons).split("\n").slice(2), [
      "| decide a transfer | µs (median) | 1.1 (1 to 9) | 1.21 (1 to 1.3) | 1.100 |",
      "| transfers-uniform | CPU µs a command | 21 (20 to 22) | 21 (20 to 30) | 1.000 |",
      "| transfers-uniform | commands a second | 45,000 (40,000 to 50,000) | 36,000 (30,000 to 50,000) | 1.250 |"
    ])
  })

  it("names what only one version measures", () => {
    const old = readFigures(printed("1", "20", 50_000))
    const now = readFigures(printed("1", "20", 50_000).replace("decide a transfer", "decide a hold"))
    assert.deepStrictEqual(unmatched(old, now), ["decide a transfer", "decide a hold"])
    assert.lengthOf(compare([old], [now]), 2)
  })

  it("sums up steps between which work has moved, round by round", () => {
    const step = (name: string, value: number) => ({ name, unit: "µs (median)", value })
    const rounds = (...each: ReadonlyArray<readonly [encode: number, link: number]>) =>
      each.map(([encode, link]) => [
        step("encode the payload of one event", encode),
        step("link one event to the chain", link)
      ])
    const [encode, link, both, ...more] = compare(rounds([1, 9], [2, 5]), rounds([3, 6], [3, 7]))
    assert.isEmpty(more)
    assert.deepStrictEqual([encode?.ratio, link?.ratio], [2, 13 / 14])
    assert.deepStrictEqual(both, {
      name: "encode and link one event",
      unit: "µs (median)",
      old: [10, 7],
      new: [9, 10],
      ratio: 9.5 / 8.5
    })
    assert.deepStrictEqual(["link one event to the chain", "decide a transfer"].map(isPartOfSum), [
      true,
      false
    ])
    assert.lengthOf(compare([[step("link one event to the chain", 1)]], rounds([1, 1])), 1)
  })

  it("takes the mean of the two middle values of an even number of rounds", () => {
    assert.strictEqual(median([4, 1, 3, 2]), 2.5)
  })
})
