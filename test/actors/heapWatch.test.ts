/** When a thread of the read side is to end for its memory: by what is in use after a collection, and by how it grows without a sign of life. */
import { assert, describe, it } from "@effect/vitest"
import { fullReason, hardLimitMib, runawayReason, suspiciousMs } from "../../src/actors/thread/HeapWatch.ts"

const mib = 2 ** 20

describe("the heap of the read side's thread", () => {
  it("is full once a collection leaves more than its limit in use, and not while it is merely large", () => {
    assert.isUndefined(fullReason(2_048, 2_048 * mib))
    assert.strictEqual(
      fullReason(2_048, 2_100 * mib),
      "its memory is full: 2,100 of 2,048 MiB are in use after a collection; CHRONICLE_READ_SIDE_HEAP_MIB allows more"
    )
  })

  const runaway = (silentMs: number, usedMib: number, beforeMib: number, limitMib = 1_000) =>
    runawayReason(limitMib, { silentMs, usedBytes: usedMib * mib, usedBeforeBytes: beforeMib * mib })

  it("fills up where a thread without a sign of life has used up a quarter of it, and is over three fifths", () => {
    assert.strictEqual(
      runaway(suspiciousMs + 1, 601, 301),
      "its memory fills up: 300 of 1,000 MiB since its last sign of life, 601 in use; CHRONICLE_READ_SIDE_HEAP_MIB allows more"
    )
    assert.isUndefined(runaway(suspiciousMs, 1_100, 0), "it gives signs of life")
    assert.isUndefined(runaway(5_000, 600, 0), "there is room")
    assert.isUndefined(runaway(5_000, 990, 800), "it was as large before, and is only slow")
    assert.isUndefined(runaway(5_000, 63, 0, 64), "a young heap may be as large")
  })

  it("ends before V8 is at the end of what it may take", () => {
    assert.deepStrictEqual([64, 256, 2_048].map(hardLimitMib), [128, 384, 2_560])
  })
})
