/** Which messages on the bus are of this ledger. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { KnownWriters } from "../../src/actors/projections/KnownWriters.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"

it.effect("a writer that was not registered once is looked up again", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const writers = yield* KnownWriters
    const isKnown = Effect.map(writers.areKnown(["w"]), (known) => known("w"))
    assert.isFalse(yield* isKnown)
    yield* store.registerWriter({ writerId: "w", node: "n", closedAt: 0 })
    assert.isFalse(yield* isKnown, "what is claimed often is not asked about each time")
    yield* TestClock.adjust("10 seconds")
    assert.isTrue(yield* isKnown)
  }).pipe(Effect.provide(KnownWriters.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
)
