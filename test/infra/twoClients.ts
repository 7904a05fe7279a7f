/** Two event stores with connections of their own on one fresh database, as two nodes have them. */
import { Effect, Layer } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { TestDatabase, testClient } from "../support/databases.ts"
import { TwoStores } from "./eventStoreContract.ts"

/** Fresh, or both would be one and the same. */
const client = Layer.fresh(EventStore.layer.pipe(Layer.provide(testClient)))

export const twoClients = (serverUrl: string) =>
  Layer.effect(
    TwoStores,
    Effect.gen(function* () {
      const first = yield* Layer.build(client)
      const second = yield* Layer.build(client)
      return {
        first: yield* Effect.provide(EventStore, first),
        second: yield* Effect.provide(EventStore, second)
      }
    })
  ).pipe(Layer.provide(TestDatabase.eventStore(serverUrl)))
