/** Which writers are found silent: not those that only could not report, as all of them after a standstill of the event store. */
import { assert, it } from "@effect/vitest"
import { makeSilentWriters } from "../../src/actors/commit/SilentWriters.ts"

const silentMs = 10_000
const heartbeatMs = 500

const writer = (writerId: string, heartbeatAt: number, fenced = false) => ({
  writerId,
  node: "n",
  lastSeq: 1,
  closedAt: heartbeatAt,
  heartbeatAt,
  fenced
})

it("a writer that reports soon after a standstill is never found silent", () => {
  const silent = makeSilentWriters(silentMs, heartbeatMs)
  assert.deepStrictEqual(silent.look([writer("a", 1_000), writer("b", 1_000)], 1_200), [])
  for (const now of [21_000, 21_050, 22_900])
    assert.deepStrictEqual(silent.look([writer("a", 21_000), writer("b", 1_000)], now), [], `at ${now}`)
  assert.deepStrictEqual(silent.look([writer("a", 23_000), writer("b", 22_950)], 23_000), [])
  // A second standstill says nothing new of it.
  assert.deepStrictEqual(silent.look([writer("a", 43_000), writer("b", 22_950)], 43_000), [])
})

it("a writer that stays silent while the store answers is found", () => {
  const silent = makeSilentWriters(silentMs, heartbeatMs)
  assert.deepStrictEqual(silent.look([writer("a", 12_000), writer("b", 1_000)], 12_000), [])
  assert.deepStrictEqual(silent.look([writer("a", 13_500), writer("b", 1_000)], 13_999), [])
  assert.deepStrictEqual(silent.look([writer("a", 14_000), writer("b", 1_000)], 14_000), ["b"])
  assert.deepStrictEqual(silent.look([writer("a", 14_500), writer("b", 1_000, true)], 14_500), [])
})

it("what was seen before the store failed to answer counts for nothing", () => {
  const silent = makeSilentWriters(silentMs, heartbeatMs)
  assert.deepStrictEqual(silent.look([writer("b", 1_000)], 12_000), [])
  silent.forgetUnsafe()
  assert.deepStrictEqual(silent.look([writer("b", 1_000)], 30_000), [])
  assert.deepStrictEqual(silent.look([writer("b", 1_000)], 32_000), ["b"])
})
