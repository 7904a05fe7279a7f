/** For how long a node is certain of its shards' locks, as the database confirms them, loses them, and lets them be taken anew. */
import { assert, describe, it } from "@effect/vitest"
import { HeldLocks } from "../../src/infra/cluster/HeldLocks.ts"

const start = () => {
  const certainty = { untilMs: 0 }
  const held = new HeldLocks(certainty, { expirationMs: 8_000, unseenMs: 1_000 })
  held.acquired(["a", "b"], 1_000)
  return { certainty, held }
}

describe("the locks of a node", () => {
  it("are certain for as long as the database keeps a silent session, from when it was asked", () => {
    const { certainty, held } = start()
    held.seen(8_500)
    assert.strictEqual(certainty.untilMs, 9_000)
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), 3_000))
    assert.strictEqual(certainty.untilMs, 9_500)
  })

  it("are not certain while the session was not seen for a moment, however long it may live", () => {
    const { certainty, held } = start()
    assert.strictEqual(certainty.untilMs, 2_000)
    held.seen(1_200)
    assert.strictEqual(certainty.untilMs, 2_200)
    held.seen(1_100)
    assert.strictEqual(certainty.untilMs, 2_200, "an answer that comes late")
    held.lose()
    held.seen(1_400)
    assert.strictEqual(certainty.untilMs, 0, "of a session that has other locks by now")
  })

  it("are not certain once one is missing, until all that is left is confirmed", () => {
    const { certainty, held } = start()
    assert.isFalse(held.refreshed(["a", "b"], new Set(["b"]), 3_000))
    assert.isTrue(held.lose())
    assert.strictEqual(certainty.untilMs, 0)
    assert.isFalse(held.refreshed(["a", "b"], new Set(["b"]), 4_000), "what runs on it has not ended")
    held.letGo("a")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["b"]), 5_000))
    assert.strictEqual(certainty.untilMs, 6_000)
  })

  it("are not made certain again by further ones, once they have ceased to be", () => {
    const { certainty, held } = start()
    held.acquired(["c"], 20_000)
    held.seen(20_000)
    assert.strictEqual(certainty.untilMs, 9_000, "what was confirmed first")
    assert.isTrue(held.refreshed(["a", "b", "c"], new Set(["a", "b", "c"]), 20_500))
    assert.strictEqual(certainty.untilMs, 21_500)
  })

  it("are counted without those that were let go of", () => {
    const { held } = start()
    const before = held.shards
    held.letGo("a")
    held.acquired(["c"], 1_500)
    assert.strictEqual(held.countOf(before), 1)
  })

  it("that are taken by a new session confirm none of the old one", () => {
    const { certainty, held } = start()
    held.lose()
    held.acquired(["c"], 4_000)
    assert.strictEqual(certainty.untilMs, 0)
    assert.isFalse(held.lose(), "that is no news")
  })

  it("that were let go of while the database was asked are not missing", () => {
    const { certainty, held } = start()
    held.letGo("a")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["b"]), 3_000))
    assert.strictEqual(certainty.untilMs, 4_000)
  })

  it("are not confirmed where there are none", () => {
    const { certainty, held } = start()
    held.letGoOfAll()
    assert.lengthOf(held.shards, 0)
    held.refreshed([], new Set(), 20_000)
    assert.strictEqual(certainty.untilMs, 2_000)
  })
})
