/** The contract of the event store, in memory. */
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
