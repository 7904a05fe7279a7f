/** The waves of a batch over several owners. */
import { assert, describe, it } from "@effect/vitest"
import { wavesOf } from "../../src/domain/BatchOrder.ts"
import { accountsOf, type Command, firstAccountOf } from "../../src/domain/Command.ts"
import { deposit, toCommand, transfer } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"

/** The last digit of an id is its owner. */
const ownerOf = (command: Command) => Number(firstAccountOf(command).at(-1))

const drawBatch = (seed: number, count: number): ReadonlyArray<Command> => {
  const rng = new Rng(seed)
  const account = () => `a${rng.below(20)}-${rng.below(3)}`
  return Array.from({ length: count }, (_, nth) => {
    const [from, to] = [account(), account()]
    return toCommand(from === to ? deposit(from, 1n, `d${nth}`) : transfer(from, to, 1n, `t${nth}`))
  })
}

describe("the waves of a batch", () => {
  it("have each command once, and those of an account in order where their owners differ", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const batch = drawBatch(seed, 200)
      const waves = wavesOf(batch, ownerOf)
      assert.deepStrictEqual(
        waves.flat().toSorted((a, b) => a - b),
        [...batch.keys()]
      )
      const place = new Map(waves.flatMap((wave, nth) => wave.map((index, at) => [index, { nth, at }])))
      const placeOf = (index: number) => place.get(index) ?? assert.fail("a command is in no wave")
      for (const [index, command] of batch.entries()) {
        for (const [later, other] of batch.entries()) {
          if (later <= index || !accountsOf(other).some((one) => accountsOf(command).includes(one))) continue
          const [before, after] = [placeOf(index), placeOf(later)]
          if (ownerOf(command) !== ownerOf(other)) assert.isBelow(before.nth, after.nth)
          else assert.isTrue(before.nth < after.nth || (before.nth === after.nth && before.at < after.at))
        }
      }
    }
  })

  it("are one where no account has commands of two owners", () => {
    const batch = [deposit("a-1", 1n, "1"), transfer("b-2", "c-1", 1n, "2"), deposit("a-1", 1n, "3")]
    assert.deepStrictEqual(wavesOf(batch.map(toCommand), ownerOf), [[0, 1, 2]])
    assert.deepStrictEqual(wavesOf([], ownerOf), [])
  })
})
