/** What is recorded stays within the skew bound of the event store's clock, whatever the machine's clock does. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { LedgerClock } from "../../src/actors/accounts/LedgerClock.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Ledger } from "../../src/Ledger.ts"
import { layerMemory } from "../../src/LedgerNode.ts"
import { deposit, fund, memoryStores, open, quiet, type Store, startNode } from "../support/ledgerWorld.ts"
import { settable } from "../support/settableClock.ts"

const start = 1_800_000_000_000
const hourMs = 3_600_000
const { clockSkewMaxMs, heartbeatMs } = defaultLimits

/** The store with a clock of its own, however the clock of the node is set that asks it. */
const withClock = (store: Store, clock: Clock.Clock, backMs: () => number = () => 0): Store => ({
  ...store,
  registerWriter: (writer) => Effect.provideService(store.registerWriter(writer), Clock.Clock, clock),
  heartbeat: (writers) =>
    Effect.map(Effect.provideService(store.heartbeat(writers), Clock.Clock, clock), (now) => now - backMs())
})

/** A ledger clock over a clock that can be set. */
const scene = Effect.gen(function* () {
  yield* TestClock.setTime(start)
  const { clock, set } = settable(yield* Clock.Clock)
  const ledgerClock = yield* LedgerClock.pipe(
    Effect.provide(Layer.fresh(LedgerClock.layer)),
    Effect.provideService(Clock.Clock, clock)
  )
  return { clock: ledgerClock, set }
})

describe("the ledger's clock", () => {
  it.effect("is at most the skew bound ahead of the store's clock while the machine's is an hour ahead", () =>
    Effect.gen(function* () {
      const { clock, set } = yield* scene
      clock.boundUnsafe(start, clock.elapsedUnsafe())
      set(hourMs)
      assert.strictEqual(clock.nowUnsafe(), start + clockSkewMaxMs)
      yield* TestClock.adjust(200)
      assert.strictEqual(clock.nowUnsafe(), start + 200 + clockSkewMaxMs)
      assert.strictEqual(clock.aheadMsUnsafe(), clockSkewMaxMs)
    })
  )

  it.effect("is raised to no instant beyond the bound", () =>
    Effect.gen(function* () {
      const { clock } = yield* scene
      clock.boundUnsafe(start, clock.elapsedUnsafe())
      clock.raiseUnsafe(start + hourMs)
      assert.strictEqual(clock.nowUnsafe(), start + clockSkewMaxMs)
    })
  )

  it.effect("never goes back, and tells how far it is ahead of a store whose clock did", () =>
    Effect.gen(function* () {
      const { clock } = yield* scene
      clock.boundUnsafe(start, clock.elapsedUnsafe())
      assert.strictEqual(clock.nowUnsafe(), start)
      clock.boundUnsafe(start - hourMs, clock.elapsedUnsafe())
      assert.strictEqual(clock.nowUnsafe(), start)
      assert.strictEqual(clock.aheadMsUnsafe(), hourMs)
      yield* TestClock.adjust(hourMs)
      assert.strictEqual(clock.aheadMsUnsafe(), clockSkewMaxMs)
    })
  )

  it.effect("is not ahead of a store whose answer was long on its way", () =>
    Effect.gen(function* () {
      const { clock } = yield* scene
      const askedAtMs = clock.elapsedUnsafe()
      yield* TestClock.adjust(3_000)
      clock.boundUnsafe(start, askedAtMs)
      assert.strictEqual(clock.nowUnsafe(), start + 2 * clockSkewMaxMs)
      assert.strictEqual(clock.aheadMsUnsafe(), 0)
    })
  )

  it.effect("follows the machine's clock alone until the store was asked", () =>
    Effect.gen(function* () {
      const { clock, set } = yield* scene
      set(hourMs)
      assert.strictEqual(clock.nowUnsafe(), start + hourMs)
      assert.strictEqual(clock.aheadMsUnsafe(), 0)
    })
  )
})

describe("a node whose clock steps an hour ahead for less than a heartbeat", () => {
  it.effect("records within the bound, and neither it nor a node that starts later stays ahead", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(start)
      const { clock, set } = settable(yield* Clock.Clock)
      const store = withClock(yield* EventStore, yield* Clock.Clock)
      const one = yield* startNode("one", { store }).pipe(Effect.provideService(Clock.Clock, clock))
      yield* fund(one, ["a", "b"], 100n)
      yield* TestClock.adjust(heartbeatMs + 200)
      set(hourMs)
      const wrong = yield* one.send(deposit("a", 1n))
      assert.isAtMost(wrong.recordedAt, start + heartbeatMs + 200 + clockSkewMaxMs)
      set(0)
      yield* TestClock.adjust(2_000)
      const later = start + heartbeatMs + 2_200
      assert.strictEqual((yield* one.send(deposit("b", 1n))).recordedAt, later)
      yield* one.stop

      const two = yield* startNode("two")
      yield* fund(two, ["c"], 5n)
      assert.strictEqual((yield* two.send(deposit("c", 1n))).recordedAt, later)
      yield* TestClock.adjust(2_000)
      const past = yield* two.travel.at("c" as AccountId, { _tag: "RecordedAt", instant: later + 1_000 })
      assert.deepInclude(past.head.account, { balance: 6n })
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("starts within the bound where it starts ahead", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(start)
      const { clock, set } = settable(yield* Clock.Clock)
      set(hourMs)
      const store = withClock(yield* EventStore, yield* Clock.Clock)
      const one = yield* startNode("one", { store }).pipe(Effect.provideService(Clock.Clock, clock))
      assert.strictEqual(
        one.dispatcher.stats().trouble,
        `this node's clock is ${hourMs} ms off the event store's (${clockSkewMaxMs} ms allowed)`
      )
      set(0)
      yield* TestClock.adjust(heartbeatMs)
      yield* fund(one, ["a"], 1n)
      assert.isAtMost((yield* one.send(deposit("a", 1n))).recordedAt, start + heartbeatMs + clockSkewMaxMs)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("a node over a store whose clock went back", () => {
  it.effect("says so until that clock has caught up", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(start)
      let backMs = 0
      const store = withClock(yield* EventStore, yield* Clock.Clock, () => backMs)
      const { clock, set } = settable(yield* Clock.Clock)
      const node = yield* startNode("node", { store }).pipe(Effect.provideService(Clock.Clock, clock))
      yield* fund(node, ["a"], 1n)
      assert.strictEqual(node.dispatcher.stats().trouble, undefined)
      // The machines of the store and of the node are set back together, so that neither is off the other.
      backMs = hourMs
      set(-hourMs)
      yield* TestClock.adjust(heartbeatMs)
      assert.match(
        node.dispatcher.stats().trouble ?? "",
        /^what this node records is 3[56]\d{5} ms ahead of the event store's clock/
      )
      assert.isAtLeast(node.dispatcher.meters().recordedAheadMs, hourMs - 1_000)
      yield* TestClock.adjust(hourMs)
      assert.strictEqual(node.dispatcher.stats().trouble, undefined)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("a node whose clock is an hour ahead", () => {
  it.effect("tells the holds that are open by the clock it decides by", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(start)
      const { clock, set } = settable(yield* Clock.Clock)
      const context = yield* Layer.build(layerMemory).pipe(Effect.provideService(Clock.Clock, clock))
      const ledger = Context.get(context, Ledger)
      yield* ledger.dispatch({ ...open("a"), commandId: "open" })
      yield* ledger.dispatch({ ...deposit("a", 100n), commandId: "deposit" })
      const placed = { _tag: "PlaceHold", account: "a", amount: 30n, commandId: "h" } as const
      const { readToken } = yield* ledger.dispatch({ ...placed, expiresIn: 60_000 })
      set(hourMs)
      const asked = yield* Effect.gen(function* () {
        const weak = yield* ledger.balance("a", { readToken })
        const listed = yield* ledger.accounts()
        const views = [yield* ledger.strongBalance("a"), weak, ...listed.rows]
        const { rows } = yield* ledger.holds("a")
        return [...views.map(({ held, available }) => [held, available]), rows.length]
      }).pipe(Effect.provideService(Clock.Clock, clock), Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(5_000)
      const both = [30n, 70n]
      assert.deepStrictEqual(yield* Fiber.join(asked), [both, both, both, 1])
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )
})
