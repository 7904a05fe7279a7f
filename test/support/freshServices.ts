/** Databases and a stream of their own for a test, on the servers that all tests share. */
import { randomBytes } from "node:crypto"
import { inject } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { connect } from "nats"
import { freshEventStore } from "./databases.ts"
import { freshReadModel } from "./readSides.ts"

/** For one node by name, or for several that are told apart by other names; all of it goes with the scope. */
export const freshServices = Effect.gen(function* () {
  const id = randomBytes(6).toString("hex")
  const services = {
    eventStoreUrl: Redacted.make(yield* freshEventStore(inject("postgresUrl"))),
    readModelUrl: Redacted.make(yield* freshReadModel(inject("postgresUrl"))),
    natsUrl: inject("natsUrl"),
    natsStream: `TEST_${id}`,
    natsSubject: `test.${id}`,
    nodeName: "node"
  }
  yield* Effect.addFinalizer(() =>
    Effect.promise(() =>
      connect({ servers: services.natsUrl }).then((nats) =>
        nats
          .jetstreamManager()
          .then((jsm) => jsm.streams.delete(services.natsStream))
          .finally(() => nats.close())
      )
    ).pipe(Effect.exit)
  )
  return services
})
