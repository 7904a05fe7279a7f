/** For how long a node is certain of its shards' locks, as the database confirms them, loses them, and lets them be taken anew. */
import { assert, describe, it } from "@effect/vitest"
import { HeldLocks, isBefore, never } from "../../src/infra/cluster/HeldLocks.ts"

/** By both clocks. */
const at = (ms: number) => ({ elapsedMs: ms, wallMs: ms })

const start = () => {
  const certainty = { until: never }
  const held = new HeldLocks(certainty, { expirationMs: 8_000, unseenMs: 1_000 })
  held.acquired(["a", "b"], at(1_000))
  return { certainty, held }
}

describe("the locks of a node", () => {
  it("are certain for as long as the database keeps a silent session, from when it was asked", () => {
    const { certainty, held } = start()
    held.seen(at(8_500))
    assert.strictEqual(certainty.until.elapsedMs, 9_000)
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(3_000)))
    assert.strictEqual(certainty.until.elapsedMs, 9_500)
  })

  it("are not certain while the session was not seen for a moment, however long it may live", () => {
    const { certainty, held } = start()
    assert.strictEqual(certainty.until.elapsedMs, 2_000)
    held.seen(at(1_200))
    assert.strictEqual(certainty.until.elapsedMs, 2_200)
    held.seen(at(1_100))
    assert.strictEqual(certainty.until.elapsedMs, 2_200, "an answer that comes late")
    held.lose()
    held.seen(at(1_400))
    assert.strictEqual(certainty.until.elapsedMs, 0, "of a session that has other locks by now")
  })

  it("are not certain once one is missing, until all that is left is confirmed", () => {
    const { certainty, held } = start()
    assert.isFalse(held.refreshed(["a", "b"], new Set(["b"]), at(3_000)))
    assert.isTrue(held.lose())
    assert.strictEqual(certainty.until.elapsedMs, 0)
    assert.isFalse(held.refreshed(["a", "b"], new Set(["b"]), at(4_000)), "what runs on it has not ended")
    held.letGo("a")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["b"]), at(5_000)))
    assert.strictEqual(certainty.until.elapsedMs, 6_000)
  })

  it("are not made certain again by further ones, once they have ceased to be", () => {
    const { certainty, held } = start()
    held.acquired(["c"], at(20_000))
    held.seen(at(20_000))
    assert.strictEqual(certainty.until.elapsedMs, 9_000, "what was confirmed first")
    assert.isTrue(held.refreshed(["a", "b", "c"], new Set(["a", "b", "c"]), at(20_500)))
    assert.strictEqual(certainty.until.elapsedMs, 21_500)
  })

  it("are counted without those that were let go of", () => {
    const { held } = start()
    const before = held.shards
    held.letGo("a")
    held.acquired(["c"], at(1_500))
    assert.strictEqual(held.countOf(before), 1)
  })

  it("that are taken by a new session confirm none of the old one", () => {
    const { certainty, held } = start()
    held.lose()
    held.acquired(["c"], at(4_000))
    assert.strictEqual(certainty.until.elapsedMs, 0)
    assert.isFalse(held.lose(), "that is no news")
  })

  it("that were let go of while the database was asked are not missing", () => {
    const { certainty, held } = start()
    held.letGo("a")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["b"]), at(3_000)))
    assert.strictEqual(certainty.until.elapsedMs, 4_000)
  })

  it("are not confirmed where there are none", () => {
    const { certainty, held } = start()
    held.letGoOfAll()
    assert.lengthOf(held.shards, 0)
    held.refreshed([], new Set(), at(20_000))
    assert.strictEqual(certainty.until.elapsedMs, 2_000)
  })

  it("are certain for no longer where the machine's clock is set back, nor where time elapsed stands still", () => {
    const { certainty, held } = start()
    held.seen({ elapsedMs: 1_200, wallMs: -3_598_800 })
    assert.isTrue(isBefore({ elapsedMs: 1_900, wallMs: -3_598_100 }, certainty.until))
    assert.isFalse(isBefore({ elapsedMs: 2_300, wallMs: -3_597_700 }, certainty.until))
    assert.isFalse(isBefore({ elapsedMs: 1_300, wallMs: 2_300 }, certainty.until))
  })
})
