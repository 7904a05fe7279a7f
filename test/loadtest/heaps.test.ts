/** The heaps of a load test: each thread's own, by what is left after collections. */
import { assert, it } from "@effect/vitest"
import { heapsOf } from "../../src/loadtest/Heaps.ts"

const mib = 2 ** 20
const samplesOf = (commands: ReadonlyArray<number>, readSide: (index: number) => number | undefined) =>
  commands.map((used, index) => ({ commands: used * mib, readSide: readSide(index) }))

it("the heaps of a load are the least of each quarter", () => {
  const commands = [90, 50, 80, 51, 70, 52, 99, 53]
  assert.deepStrictEqual(heapsOf(samplesOf(commands, (index) => (30 - index) * mib)), {
    commands: [50, 51, 52, 53],
    readSide: [29, 27, 25, 23]
  })
})

it("a read side without a thread of its own has no heap", () => {
  const heaps = heapsOf(samplesOf([1, 2, 3, 4], () => undefined))
  assert.deepStrictEqual(heaps, { commands: [1, 2, 3, 4], readSide: null })
})

it("a load of fewer samples than quarters has no figures", () => {
  assert.isNull(heapsOf(samplesOf([1, 2, 3], () => mib)))
})
