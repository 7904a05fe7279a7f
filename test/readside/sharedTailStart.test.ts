/** The start and the end of the reader for all: a follower can always start it, and none waits for one that has ended. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Scheduler } from "effect"
import { TestClock } from "effect/testing"
import { LogFollower } from "../../src/actors/subscriptions/LogFollower.ts"
import { LoneReaders } from "../../src/actors/subscriptions/LoneReaders.ts"
import { SharedCommit } from "../../src/actors/subscriptions/SharedEvent.ts"
import { makeSharedTail } from "../../src/actors/subscriptions/SharedTail.ts"
import { SubscriptionCursor } from "../../src/actors/subscriptions/SubscriptionCursor.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { EventWriter, openAccount } from "../support/eventWriter.ts"

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
    const seat = shared.list.takeSeatOf(AccountId.make("a"))
    const waiting = yield* Effect.forEach(Array.from({ length: 120 }), () =>
      Effect.forkChild(shared.list.changedAt(seat), { startImmediately: true })
    )
    isDown = true
    while (shared.list.isReading) yield* TestClock.adjust(limits.subscribePollMs)
    for (let turn = 0; turn < 1_000; turn++) yield* Effect.yieldNow
    assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() !== undefined))
  }).pipe(Effect.provide(EventStore.layerMemory))
)

/** A follower of everything that has taken its seat, and the list that it follows. */
const seated = Effect.fnUntraced(function* (store: EventStore["Service"]) {
  const fast = { ...limits, subscribePollMs: 1 }
  const feed = { changedUnsafe: () => Effect.never }
  const shared = yield* makeSharedTail(store, feed, fast, 100)
  yield* shared.join
  const alone = yield* LoneReaders.make(fast)
  const log = { store, feed, limits: fast, disorderMs: 100, shared, alone }
  const follower = new LogFollower(log, new SubscriptionCursor(), "", true)
  yield* follower.step
  while (!shared.list.isReading) yield* Effect.yieldNow
  yield* follower.step
  return { follower, list: shared.list }
})

it.live("a follower that is woken by all misses no batch that comes while it begins to wait", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const writer = new EventWriter()
    const place = new SubscriptionCursor().print()
    for (let ops = 3; ops <= 6; ops++)
      for (let turns = 0; turns < 12; turns++)
        yield* Effect.gen(function* () {
          const { follower, list } = yield* seated(store)
          const step = yield* follower.step.pipe(
            Effect.provideService(Scheduler.MaxOpsBeforeYield, ops),
            Effect.forkChild({ startImmediately: true })
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          const commit = writer.commit(openAccount(`a${ops}-${turns}`))
          list.publish([new SharedCommit(commit, place, place)], place)
          yield* list.wakeAll
          for (let turn = 0; turn < 1_000 && step.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
          assert.isDefined(step.pollUnsafe(), `published after ${turns} turns, of ${ops} steps each`)
        }).pipe(Effect.scoped)
  }).pipe(Effect.provide(EventStore.layerMemory))
)
