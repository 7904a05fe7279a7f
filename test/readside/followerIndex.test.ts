/** Which followers an account has, found by look-ups: the same that asking each of them would find. */
import { assert, describe, it } from "@effect/vitest"
import { FollowerIndex } from "../../src/actors/subscriptions/FollowerIndex.ts"
import { Rng } from "../support/Rng.ts"

describe("the index of followers", () => {
  for (const seed of [1, 2, 3]) {
    it(`finds each that follows the account or how its id begins, once (seed ${seed})`, () => {
      const rng = new Rng(seed)
      const index = new FollowerIndex<string>()
      const text = (max: number) => Array.from({ length: rng.below(max) }, () => "ab:"[rng.below(3)]).join("")
      const [accounts, prefixes] = [new Set<string>(), new Set<string>()]
      let found = 0
      for (let nth = 0; nth < 400; nth++) {
        const id = text(6)
        const [held, add, drop] = rng.chance(0.5)
          ? [accounts, index.ofAccount.bind(index), index.dropAccount.bind(index)]
          : [prefixes, index.ofPrefix.bind(index), index.dropPrefix.bind(index)]
        const name = `${held === accounts ? "account" : "prefix"} ${id}`
        if (held.delete(id)) drop(id)
        else {
          held.add(id)
          add(id, () => name)
        }
        const account = text(8)
        const wanted = [
          ...[...accounts].filter((one) => one === account).map((one) => `account ${one}`),
          ...[...prefixes].filter((one) => account.startsWith(one)).map((one) => `prefix ${one}`)
        ]
        const seen: Array<string> = []
        index.find(account, (follower) => seen.push(follower))
        assert.deepEqual(seen.toSorted(), wanted.toSorted())
        found += seen.length
      }
      assert.isAbove(found, 100)
    })
  }

  it("makes no second follower of a prefix, and forgets it when it is dropped", () => {
    const index = new FollowerIndex<object>()
    const one = index.ofPrefix("a", () => ({}))
    assert.strictEqual(
      index.ofPrefix("a", () => ({})),
      one
    )
    assert.deepEqual(index.all(), [one])
    index.dropPrefix("a")
    assert.deepEqual(index.all(), [])
  })
})
