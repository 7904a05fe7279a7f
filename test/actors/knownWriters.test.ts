/** Which messages on the bus are of this ledger. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { KnownWriters } from "../../src/actors/projections/KnownWriters.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { settable } from "../support/settableClock.ts"

it.effect("a writer that was not registered once is looked up again, however the clock is set", () =>
  Effect.gen(function* () {
    const { clock, setBack } = settable(yield* Clock.Clock)
    const store = yield* EventStore
    const writers = yield* Effect.provide(
      KnownWriters,
      KnownWriters.layer.pipe(Layer.provide(Layer.succeed(Clock.Clock, clock)))
    )
    const isKnown = Effect.map(writers.areKnown(["w"]), (known) => known("w"))
    assert.isFalse(yield* isKnown)
    yield* store.registerWriter({ writerId: "w", node: "n", closedAt: 0 })
    assert.isFalse(yield* isKnown, "what is claimed often is not asked about each time")
    setBack(3_600_000)
    yield* TestClock.adjust("10 seconds")
    assert.isTrue(yield* isKnown)
  }).pipe(Effect.provide(EventStore.layerMemory))
)
