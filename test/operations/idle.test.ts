/** What a node does while there is nothing to do: each timer that wakes it in vain is paid for around the clock. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as LedgerNode from "../../src/LedgerNode.ts"

const watchedSeconds = 10
/** Milliseconds; heartbeats, signs of life and looks for what is overdue are further apart. */
const shortMs = 200

describe("a node without commands and questions", () => {
  it.effect("sets no timer shorter than its looks for what is overdue", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const short: Array<number> = []
      const counting: Clock.Clock = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) => {
          if (Duration.toMillis(duration) < shortMs) short.push(Duration.toMillis(duration))
          return clock.sleep(duration)
        }
      })
      yield* Effect.gen(function* () {
        yield* TestClock.adjust(watchedSeconds * 1_000)
        short.length = 0
        yield* TestClock.adjust(watchedSeconds * 1_000)
        assert.deepStrictEqual(short, [])
      }).pipe(
        Effect.provide(Layer.fresh(LedgerNode.layerMemory)),
        Effect.provideService(Clock.Clock, counting)
      )
    })
  )
})
