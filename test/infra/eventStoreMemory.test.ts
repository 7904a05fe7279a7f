/** The contract of the event store, in memory. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { eventStoreContract, TwoStores } from "./eventStoreContract.ts"

eventStoreContract(
  "memory",
  Layer.effect(
    TwoStores,
    Effect.map(EventStore, (store) => ({ first: store, second: store }))
  ).pipe(Layer.provide(EventStore.layerMemory))
)

it.effect("an empty log has no latest instant", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    assert.strictEqual(yield* store.lastRecordedAt, 0)
  }).pipe(Effect.provide(EventStore.layerMemory))
)
