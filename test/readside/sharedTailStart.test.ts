/** The start and the end of the reader for all: a follower can always start it, and none waits for one that has ended. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Scheduler } from "effect"
import { TestClock } from "effect/testing"
import { makeSharedTail } from "../../src/actors/subscriptions/SharedTail.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"

const limits = { ...defaultReadSideLimits, subscribeSharedFrom: 1 }

it.effect("a follower that is interrupted at any step of the start keeps no other from it", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    for (let steps = 0; steps < 40; steps++)
      yield* Effect.gen(function* () {
        const shared = yield* makeSharedTail(store, { changedUnsafe: () => Effect.never }, limits, 100)
        yield* shared.join
        const first = yield* shared.start.pipe(
          Effect.provideService(Scheduler.MaxOpsBeforeYield, 2 + (steps % 5)),
          Effect.forkChild({ startImmediately: true })
        )
        for (let step = 0; step < steps / 5 - 1; step++) yield* Effect.yieldNow
        yield* Fiber.interrupt(first)
        yield* shared.start
        // The reader may have the small steps of the first start, too.
        for (let turn = 0; turn < 1_000 && !shared.list.isReading; turn++) yield* Effect.yieldNow
        assert.isTrue(shared.list.isReading, `after ${steps} steps`)
      }).pipe(Effect.scoped)
  }).pipe(Effect.provide(EventStore.layerMemory))
)

it.effect("all that wait for the reader are woken when it ends because the log fails", () =>
  Effect.gen(function* () {
    const real = yield* EventStore
    let isDown = false
    const down = Effect.fail(new StoreUnavailable({ store: "event store", reason: "it is down" }))
    const store = { ...real, listWriters: Effect.suspend(() => (isDown ? down : real.listWriters)) }
    const shared = yield* makeSharedTail(store, { changedUnsafe: () => Effect.never }, limits, 100)
    yield* shared.join
    yield* shared.start
    for (let turn = 0; turn < 1_000 && !shared.list.isReading; turn++) yield* Effect.yieldNow
    const waiting = yield* Effect.forEach(Array.from({ length: 120 }), () =>
      Effect.forkChild(shared.list.changed, { startImmediately: true })
    )
    isDown = true
    while (shared.list.isReading) yield* TestClock.adjust(limits.subscribePollMs)
    for (let turn = 0; turn < 1_000; turn++) yield* Effect.yieldNow
    assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() !== undefined))
  }).pipe(Effect.provide(EventStore.layerMemory))
)
