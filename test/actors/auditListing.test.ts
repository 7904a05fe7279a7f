/** What the audit remembers of the versions that commits list: all of them, in bounded memory. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Listing, Versions } from "../../src/actors/audit/AuditCommits.ts"
import { drawn } from "../support/drawn.ts"

const small = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("the versions of one account", () => {
  it.prop(
    "are a set",
    {
      steps: Schema.Array(
        Schema.Struct({ isAdd: Schema.Boolean, version: Schema.Union([small(-5, 100), small(1, 2 ** 45)]) })
      )
    },
    ({ steps }) => {
      const versions = new Versions()
      const model = new Set<number>()
      for (const { isAdd, version } of steps) {
        const isNew = !model.has(version)
        assert.strictEqual(isAdd ? versions.add(version) : versions.delete(version), isAdd === isNew)
        if (isAdd) model.add(version)
        else model.delete(version)
        assert.strictEqual(versions.isEmpty, model.size === 0)
        assert.deepStrictEqual(versions.summary(), { least: Math.min(...model), count: model.size })
      }
    },
    drawn
  )
})

describe("a slice of the listing", () => {
  const Range = Schema.Struct({ account: small(0, 9), first: small(1, 200), length: small(1, 100) })

  it.prop(
    "holds all versions of the accounts that it covers, and every account is covered by one slice",
    { ranges: Schema.Array(Range), max: small(1, 6) },
    ({ ranges, max }) => {
      const wanted = new Map<string, Set<number>>()
      for (const { account, first, length } of ranges) {
        const of = wanted.get(`a${account}`) ?? new Set()
        for (let version = first; version < first + length; version++) of.add(version)
        wanted.set(`a${account}`, of)
      }
      const seen: Array<string> = []
      for (let from: string | undefined = ""; from !== undefined; ) {
        const listing: Listing = new Listing(from, undefined)
        for (const { account, first, length } of ranges) {
          if (listing.covers(`a${account}`)) listing.add(`a${account}`, first, first + length - 1)
          listing.narrow(max)
        }
        for (const [account, versions] of listing.accounts) {
          assert.isTrue(listing.covers(account))
          assert.strictEqual(versions.summary().count, wanted.get(account)?.size)
          seen.push(account)
        }
        const weight = [...listing.accounts.values()].reduce((sum, one) => sum + one.weight, 0)
        assert.isTrue(listing.accounts.size === 1 || weight <= 2 * max)
        from = listing.upTo === undefined ? undefined : `${listing.upTo}\u0001`
      }
      assert.deepStrictEqual(seen.toSorted(), [...wanted.keys()].toSorted())
      assert.strictEqual(new Set(seen).size, seen.length)
    },
    drawn
  )

  it("ends at the first account that does not fit", () => {
    const listing = new Listing("", undefined)
    for (const [account, last] of [
      ["a", 30],
      ["b", 300],
      ["c", 30]
    ] as const) {
      listing.add(account, 1, last)
    }
    listing.narrow(3)
    assert.strictEqual(listing.upTo, "a")
    assert.deepStrictEqual([...listing.accounts.keys()], ["a"])
  })

  it("answers the first version that is listed twice", () => {
    const listing = new Listing("", undefined)
    assert.isUndefined(listing.add("a", 1, 4))
    assert.strictEqual(listing.add("a", 3, 9), 3)
  })
})
