/** Which writers are found silent: not those that only could not report, as all of them after a standstill of the event store. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { makeSilentWriters } from "../../src/actors/commit/SilentWriters.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { memoryStores, quiet, startReader } from "../support/ledgerWorld.ts"

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

it.effect("a question that ends while the store stands still leaves nothing that was seen before", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(1_800_000_000_000)
    const store = yield* EventStore
    yield* store.registerWriter({ writerId: "w", node: "n", closedAt: 0 })
    const faulty = FaultyStore.over(store)
    const reader = yield* startReader({ store: faulty.store })
    const askFor = Effect.fnUntraced(function* (ms: number) {
      const instant = (yield* Clock.currentTimeMillis) - 1_000
      const asking = yield* Effect.forkChild(
        Effect.exit(reader.at(AccountId.make("a"), { _tag: "RecordedAt", instant }))
      )
      yield* TestClock.adjust(ms)
      yield* Fiber.interrupt(asking)
    })
    const isFenced = Effect.map(store.listWriters, (rows) => rows.every(({ fenced }) => fenced))
    yield* TestClock.adjust(silentMs + 1)
    yield* askFor(100)
    faulty.hold("heartbeat")
    yield* askFor(10_000)
    faulty.release()
    yield* askFor(100)
    assert.isFalse(yield* isFenced)
    yield* askFor(3_000)
    assert.isTrue(yield* isFenced)
  }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(memoryStores, quiet)))
)
