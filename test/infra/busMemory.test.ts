/** The contract of the bus in memory, and the bad weather it can make. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Result } from "effect"
import { TestClock } from "effect/testing"
import { fairWeather, makeBusMemory } from "../../src/infra/bus/BusMemory.ts"
import { pack } from "../../src/infra/bus/BusMessage.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { settable } from "../support/settableClock.ts"
import { busContract } from "./busContract.ts"

busContract("memory", (limits) =>
  Effect.map(makeBusMemory(), ({ bus, wipeUnsafe }) => ({ bus, wipe: Effect.sync(wipeUnsafe) })).pipe(
    Effect.provideService(ReadSideConfig, { ...defaultReadSideLimits, ...limits })
  )
)

it.effect("what was not acknowledged comes again in time, though the machine's clock was set back", () =>
  Effect.gen(function* () {
    const { clock, setBack } = settable(yield* Clock.Clock)
    yield* TestClock.adjust(3_600_000)
    const { bus } = yield* Effect.provideService(makeBusMemory(), Clock.Clock, clock)
    const commit = new EventWriter().commit(openAccount("a"))
    yield* bus.publish(pack([commit], { partitions: 1, bytesMax: 100_000 }))
    const subscription = yield* bus.subscribe({ projection: "test", partition: 0 })
    assert.lengthOf(yield* subscription.take(() => true), 1)
    setBack(3_600_000)
    yield* TestClock.adjust(defaultReadSideLimits.ackWaitMs)
    const [again] = yield* Effect.provideService(
      subscription.take(() => true),
      Clock.Clock,
      clock
    )
    assert.isTrue(again?.isRepeated)
  }).pipe(Effect.scoped)
)

describe("the weather of the bus in memory", () => {
  const reader = { projection: "test", partition: 0 }
  const published = Effect.fnUntraced(function* (weather: Partial<typeof fairWeather>) {
    const { bus } = yield* makeBusMemory({ ...fairWeather, ...weather })
    const writer = new EventWriter()
    for (let index = 0; index < 50; index++) {
      const commit = writer.commit(index === 0 ? openAccount("a") : deposit("a", 1n))
      yield* bus.publish(pack([commit], { partitions: 1, bytesMax: 100_000 }))
    }
    const subscription = yield* bus.subscribe(reader)
    const taken = yield* subscription.take(() => true)
    return taken.flatMap((delivery) => Result.getOrThrow(delivery.message).parts.map(({ seq }) => seq))
  })
  const all = Array.from({ length: 50 }, (_, index) => index + 1)

  it.effect("repeats", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* published({ repeats: 1 }),
        all.flatMap((seq) => [seq, seq])
      )
    })
  )

  it.effect("shuffles", () =>
    Effect.gen(function* () {
      const taken = yield* published({ shuffles: 1 })
      assert.notDeepEqual(taken, all)
      assert.deepStrictEqual(
        taken.toSorted((a, b) => a - b),
        all
      )
    })
  )

  it.effect("loses", () =>
    Effect.gen(function* () {
      const taken = yield* published({ loses: 0.5 })
      assert.isBelow(taken.length, 50)
      assert.isAbove(taken.length, 0)
    })
  )

  it.effect("is away", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(published({ isAway: () => true }))
      assert.strictEqual(error.store, "bus")
    })
  )
})
