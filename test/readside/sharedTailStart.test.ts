/** The start of the reader for all: a follower that is interrupted in it leaves the node one that the next follower can start. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Scheduler } from "effect"
import { makeSharedTail } from "../../src/actors/subscriptions/SharedTail.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"

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
