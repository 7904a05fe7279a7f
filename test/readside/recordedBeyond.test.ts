/** What a writer committed after a listing of the writers was recorded after the instant at which it was closed then. */
import { assert, describe, it } from "@effect/vitest"
import { RecordedBeyond } from "../../src/actors/projections/RecordedBeyond.ts"

const listed = (lastSeq: number, closedAt: number, writerId = "w") => ({ writerId, lastSeq, closedAt })
const swept = (seq: number) => new Map([["w", seq]])

describe("what lies beyond a commit of a writer", () => {
  it("was recorded after the writer was closed at the last listing that had no more of it", () => {
    const beyond = new RecordedBeyond()
    beyond.note([listed(3, 100)], new Map())
    beyond.note([listed(3, 120)], new Map())
    beyond.note([listed(7, 150)], new Map())
    assert.deepStrictEqual(
      [2, 3, 6, 7, 9].map((seq) => beyond.of("w", seq)),
      [0, 121, 121, 151, 151]
    )
  })

  it("is not known of a writer that was never listed, nor of one that is listed no more", () => {
    const beyond = new RecordedBeyond()
    beyond.note([listed(0, 100)], new Map())
    assert.deepStrictEqual([beyond.of("w", 0), beyond.of("other", 0)], [101, 0])
    beyond.note([listed(0, 100, "other")], new Map())
    assert.deepStrictEqual([beyond.of("w", 0), beyond.of("other", 0)], [0, 101])
  })

  it("is not known of commits before the cursor, and anew of those behind one that went back", () => {
    const beyond = new RecordedBeyond()
    beyond.note([listed(3, 100)], new Map())
    beyond.note([listed(5, 110)], swept(4))
    assert.deepStrictEqual([beyond.of("w", 2), beyond.of("w", 4)], [0, 101])
    beyond.note([listed(6, 130)], swept(5))
    assert.deepStrictEqual([beyond.of("w", 4), beyond.of("w", 5)], [0, 111])
  })

  it("is forgotten where the store lost commits, or knows of an earlier instant", () => {
    const beyond = new RecordedBeyond()
    beyond.note([listed(3, 100)], new Map())
    beyond.note([listed(8, 150)], new Map())
    beyond.note([listed(5, 120)], new Map())
    assert.deepStrictEqual([beyond.of("w", 3), beyond.of("w", 5), beyond.of("w", 8)], [101, 121, 121])
    beyond.note([listed(6, 90)], new Map())
    assert.deepStrictEqual([beyond.of("w", 3), beyond.of("w", 6)], [0, 91])
  })

  it("is told by an older listing where a tail stays behind for long", () => {
    const beyond = new RecordedBeyond()
    for (let nth = 1; nth <= 1_000; nth++) beyond.note([listed(nth, 10 * nth)], new Map())
    assert.strictEqual(beyond.of("w", 1), 11)
    assert.isAtMost(beyond.of("w", 1_000), 10_001)
    // … and by newer ones again once it has caught up.
    beyond.note([listed(1_001, 10_010)], swept(1_000))
    beyond.note([listed(1_002, 10_020)], swept(1_001))
    assert.strictEqual(beyond.of("w", 1_002), 10_021)
  })
})
