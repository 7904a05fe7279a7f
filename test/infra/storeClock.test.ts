/** The instant that messages to webhooks say they were sent at. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { makeAttemptClock } from "../../src/infra/eventstore/StoreClock.ts"
import { settable, storeBy } from "../support/settableClock.ts"

const hourMs = 3_600_000

it.effect("messages that start together share one question for the event store's clock", () => {
  let asked = 0
  const store = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({
      ...real,
      heartbeat: () =>
        Effect.gen(function* () {
          asked++
          yield* Effect.sleep(100)
          return (yield* Clock.currentTimeMillis) + hourMs
        })
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  return Effect.gen(function* () {
    const attemptAt = yield* makeAttemptClock
    const messages = yield* Effect.forkChild(
      Effect.all([attemptAt, attemptAt, attemptAt], { concurrency: "unbounded" })
    )
    yield* TestClock.adjust("1 second")
    for (const sentAt of yield* Fiber.join(messages)) assert.isAtLeast(sentAt, hourMs)
    yield* attemptAt
    assert.strictEqual(asked, 1)
  }).pipe(Effect.provide(store))
})

it.effect("a message is of now at once after the machine was suspended, in which no time elapsed by it", () =>
  Effect.gen(function* () {
    const machine = settable(yield* Clock.Clock)
    const attemptAt = yield* makeAttemptClock.pipe(
      Effect.provideService(Clock.Clock, machine.clock),
      Effect.provideService(EventStore, storeBy(machine.clock, yield* EventStore))
    )
    yield* attemptAt
    machine.set(hourMs)
    assert.strictEqual(yield* attemptAt, machine.clock.currentTimeMillisUnsafe())
  }).pipe(Effect.provide(EventStore.layerMemory))
)

it.effect("so it is where the store does not tell then, and again by the store once it does", () =>
  Effect.gen(function* () {
    const machine = settable(yield* Clock.Clock)
    const store = storeBy(machine.clock, yield* EventStore)
    let isAway = false
    const attemptAt = yield* makeAttemptClock.pipe(
      Effect.provideService(Clock.Clock, machine.clock),
      Effect.provideService(EventStore, {
        ...store,
        heartbeat: (writers) =>
          isAway ? Effect.never : Effect.map(store.heartbeat(writers), (at) => at - hourMs)
      })
    )
    const byStore = yield* attemptAt
    assert.strictEqual(byStore, machine.clock.currentTimeMillisUnsafe() - hourMs)
    isAway = true
    machine.set(2 * hourMs)
    const sent = yield* Effect.forkChild(attemptAt)
    yield* TestClock.adjust("3 seconds")
    assert.isAtLeast(yield* Fiber.join(sent), byStore + 3 * hourMs)
    isAway = false
    yield* TestClock.adjust("6 seconds")
    assert.strictEqual(yield* attemptAt, machine.clock.currentTimeMillisUnsafe() - hourMs)
  }).pipe(Effect.provide(EventStore.layerMemory))
)
