/** Where accounts live: as Effect Cluster places entities, and together where they have segments in common. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EntityId, Sharding, TestRunner } from "effect/cluster"
import type { AccountId } from "../../src/domain/Ids.ts"
import { shardOf, wholeIdSegments } from "../../src/domain/Shard.ts"

const id = (text: string) => text as AccountId // a valid id
const ids = Array.from({ length: 500 }, (_, nth) => id(`bank-${nth % 7}:customer-${nth}:cash`))

describe("the shard of an account", () => {
  it.effect("is the shard of an entity of its name", () =>
    Effect.gen(function* () {
      const sharding = yield* Sharding.Sharding
      const rule = { shards: 300, affinitySegments: wholeIdSegments } // as many as effect has by default
      for (const account of ids)
        assert.strictEqual(shardOf(account, rule), sharding.getShardId(EntityId.make(account), "default").id)
    }).pipe(Effect.provide(TestRunner.layer))
  )

  it("is that of its placement key, whatever follows", () => {
    const rule = { shards: 120, affinitySegments: 2 }
    for (const account of ids) {
      const [bank, customer] = account.split(":")
      const shard = shardOf(id(`${bank}:${customer}`), rule)
      assert.strictEqual(shardOf(account, rule), shard)
      assert.strictEqual(shardOf(id(`${bank}:${customer}:savings:2`), rule), shard)
    }
    assert.isAbove(new Set(ids.map((account) => shardOf(account, rule))).size, 80)
    assert.strictEqual(
      new Set(ids.map((account) => shardOf(account, { ...rule, affinitySegments: 1 }))).size,
      7
    )
  })

  it("is that of the whole id where that has fewer segments", () => {
    const whole = { shards: 120, affinitySegments: wholeIdSegments }
    for (const account of [id("alice"), id("alice:"), id(":"), id("a:b")])
      assert.strictEqual(shardOf(account, { shards: 120, affinitySegments: 3 }), shardOf(account, whole))
  })
})
