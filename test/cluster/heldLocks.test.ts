/** For how long a node is certain of its shards' locks, as the database confirms them, loses them, and lets them be taken anew. */
import { assert, describe, it } from "@effect/vitest"
import { HeldLocks } from "../../src/infra/cluster/HeldLocks.ts"
import { LockCertainty, type Moment } from "../../src/infra/cluster/LockCertainty.ts"

/** A moment at which both clocks say the same. */
const at = (ms: number): Moment => ({ wallMs: ms, elapsedMs: ms })

const start = () => {
  const clocks = { wallMs: 0, elapsedMs: 0 }
  const certainty = LockCertainty.make({
    currentTimeMillisUnsafe: () => clocks.wallMs,
    monotonicTimeNanosUnsafe: () => BigInt(clocks.elapsedMs * 1e6)
  })
  const held = new HeldLocks(certainty, { expirationMs: 8_000, unseenMs: 1_000 })
  held.acquired(["a", "b"], at(1_000))
  return {
    held,
    until: () => certainty.until.elapsedMs,
    isCertain: (moment: Moment) => {
      Object.assign(clocks, moment)
      return certainty.isCertain()
    },
    loseAt: (ms: number) => {
      Object.assign(clocks, at(ms))
      return held.lose()
    }
  }
}

const none = Number.NEGATIVE_INFINITY

describe("the locks of a node", () => {
  it("are certain for as long as the database keeps a silent session, from when it was asked", () => {
    const { held, until } = start()
    held.seen(at(8_500))
    assert.strictEqual(until(), 9_000)
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(3_000)))
    assert.strictEqual(until(), 9_500)
  })

  it("are not certain while the session was not seen for a moment, however long it may live", () => {
    const { held, until } = start()
    assert.strictEqual(until(), 2_000)
    held.seen(at(1_200))
    assert.strictEqual(until(), 2_200)
    held.seen(at(1_100))
    assert.strictEqual(until(), 2_200, "an answer that comes late")
    held.lose()
    held.seen(at(1_400))
    assert.strictEqual(until(), none, "of a session that has other locks by now")
  })

  it("are not certain once one is missing, until all that is left is confirmed", () => {
    const { held, until } = start()
    assert.isFalse(held.refreshed(["a", "b"], new Set(["b"]), at(3_000)))
    assert.isTrue(held.lose())
    assert.strictEqual(until(), none)
    assert.isFalse(held.refreshed(["a", "b"], new Set(["b"]), at(4_000)), "what runs on it has not ended")
    held.letGo("a")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["b"]), at(5_000)))
    assert.strictEqual(until(), 6_000)
  })

  it("are not made certain again by further ones, once they have ceased to be", () => {
    const { held, until } = start()
    held.acquired(["c"], at(20_000))
    held.seen(at(20_000))
    assert.strictEqual(until(), 9_000, "what was confirmed first")
    assert.isTrue(held.refreshed(["a", "b", "c"], new Set(["a", "b", "c"]), at(20_500)))
    assert.strictEqual(until(), 21_500)
  })

  it("are not confirmed by others that are taken, which may be by a session that has none of them", () => {
    const { held, until } = start()
    // Each of these came before the last had ceased to be certain.
    for (const [nth, shard] of ["c", "d", "e"].entries()) {
      held.acquired([shard], at(1_900 + 900 * nth))
      assert.strictEqual(until(), 2_000)
    }
    held.acquired(["a", "b", "c", "d", "e"], at(5_000))
    assert.strictEqual(until(), 6_000, "all of them by one session")
  })

  it("are counted without those that were let go of", () => {
    const { held } = start()
    const before = held.shards
    held.letGo("a")
    held.acquired(["c"], at(1_500))
    assert.strictEqual(held.countOf(before), 1)
  })

  it("that are taken by a new session confirm none of the old one", () => {
    const { held, until } = start()
    held.lose()
    held.acquired(["c"], at(4_000))
    assert.strictEqual(until(), none)
    assert.isFalse(held.lose(), "that is no news")
  })

  it("that were let go of while the database was asked are not missing", () => {
    const { held, until } = start()
    held.letGo("a")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["b"]), at(3_000)))
    assert.strictEqual(until(), 4_000)
  })

  it("are not confirmed where there are none", () => {
    const { held, until } = start()
    held.letGoOfAll()
    assert.lengthOf(held.shards, 0)
    held.refreshed([], new Set(), at(20_000))
    assert.strictEqual(until(), 2_000)
  })

  it("cease to be certain by either clock, whichever is first", () => {
    const { isCertain } = start()
    assert.isTrue(isCertain(at(1_900)))
    assert.isFalse(isCertain({ wallMs: 500, elapsedMs: 2_000 }), "the wall clock was set back")
    assert.isFalse(isCertain({ wallMs: 2_000, elapsedMs: 1_100 }), "the machine was suspended")
  })

  it("are certain by what was confirmed last, also where the wall clock was set back before", () => {
    const { held, isCertain } = start()
    held.seen({ wallMs: 61_500, elapsedMs: 1_500 })
    held.seen({ wallMs: 1_900, elapsedMs: 1_900 })
    assert.isTrue(isCertain(at(2_800)))
    assert.isFalse(isCertain({ wallMs: 3_000, elapsedMs: 2_000 }))
  })

  it("are confirmed by no answer that does not tell of all of them", () => {
    const { held, until, loseAt } = start()
    loseAt(2_000)
    assert.isTrue(held.refreshed([], new Set(), at(3_000)), "whether the database answers")
    assert.isTrue(held.refreshed(["a"], new Set(["a"]), at(3_100)))
    assert.strictEqual(until(), none)
    held.refreshed(["a", "b"], new Set(["a"]), at(3_200))
    assert.isTrue(held.refreshed(["a"], new Set(["a"]), at(3_300)), "something still runs on the other")
    assert.strictEqual(until(), none)
    held.letGo("b")
    assert.isTrue(held.refreshed(["a"], new Set(["a"]), at(3_400)))
    assert.strictEqual(until(), 4_400)
  })

  it("are confirmed together, where others are taken while the database is asked", () => {
    const { held, until } = start()
    held.acquired(["c"], at(3_100))
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(3_000)))
    assert.strictEqual(until(), 4_000)
  })

  it("that effect has not learnt of are told by questions of the others, and keep those uncertain no longer", () => {
    const { held, until } = start()
    // The fiber that took it was interrupted just then.
    held.acquired(["c"], at(1_500))
    held.asked(["a", "b"])
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(3_000)))
    assert.strictEqual(until(), 2_000)
    assert.deepStrictEqual(held.strays(["a", "b"], at(9_400)), [], "it may be named yet")
    assert.deepStrictEqual(held.strays([], at(9_600)), [], "a question of none tells nothing")
    assert.deepStrictEqual(held.strays(["a", "b"], at(9_600)), ["c"])
    held.letGo("c")
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(9_700)))
    assert.strictEqual(until(), 10_700)
  })

  it("that were asked for by a question that was interrupted may be there, and are told like those", () => {
    const { held, until } = start()
    held.asked(["a", "b"])
    held.interrupted(["c", "d"], at(2_000))
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(3_000)))
    assert.strictEqual(until(), 4_000, "nothing runs on them here")
    held.acquired(["d"], at(5_000))
    held.asked(["a", "b", "d"])
    assert.deepStrictEqual(held.strays(["a", "b", "d"], at(9_900)), [])
    assert.deepStrictEqual(held.strays(["a", "b", "d"], at(10_000)), ["c"])
    held.letGo("c")
    assert.deepStrictEqual(held.strays(["a", "b", "d"], at(10_000)), [])
  })

  it("that were named once are known, however long questions of single ones leave them out", () => {
    const { held } = start()
    held.acquired(["c"], at(1_500))
    held.asked(["a", "b", "c"])
    held.acquired(["c"], at(1_600))
    assert.deepStrictEqual(held.strays(["a"], at(60_000)), [])
    held.letGo("c")
    held.acquired(["c"], at(70_000))
    assert.deepStrictEqual(held.strays(["a"], at(79_000)), ["c"], "taken anew, it is to be named anew")
  })

  it("are not confirmed by an answer to a question of before their session ended", () => {
    const { held, until, loseAt } = start()
    loseAt(2_000)
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(1_900)))
    assert.strictEqual(until(), none)
    assert.isTrue(held.refreshed(["a", "b"], new Set(["a", "b"]), at(2_100)))
    assert.strictEqual(until(), 3_100)
  })
})
