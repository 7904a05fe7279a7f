/** A whole read side on a real database, with log and bus in memory, for tests of rebuilds. */
import { inject } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { freshReadModel, limitsOf, readModelOn, readSideOn, type TestLimits } from "./readSides.ts"

/** Small pages, so that a rebuild has many steps. */
export const smallSteps: TestLimits = { ledger: { sweepMs: 50 }, readSide: { rebuildEventsMax: 20 } }

type Store = EventStore["Service"]

/** A log in which some events stand on a page that cannot be read, and with it all that is read beside them. */
export const unreadableAt =
  (isBad: (account: string, version: number) => boolean) =>
  (store: Store): Store => {
    const state = "XX001"
    const refused = Effect.fail(new StoreUnavailable({ store: "event store", reason: "invalid page", state }))
    const unlessBad = (rows: ReturnType<Store["scan"]>) =>
      Effect.flatMap(rows, (found) =>
        found.some(({ accountId, version }) => isBad(accountId, version)) ? refused : Effect.succeed(found)
      )
    return {
      ...store,
      scan: (page) => unlessBad(store.scan(page)),
      readEvents: (keys) => unlessBad(store.readEvents(keys)),
      readStream: (from) => unlessBad(store.readStream(from)),
      readStreams: (from, limit) => unlessBad(store.readStreams(from, limit))
    }
  }

/** `over` makes the log that all processes see. */
export const rebuildWorld = (
  limits: TestLimits = smallSteps,
  over: (store: Store) => Store = (store) => store
) =>
  Effect.gen(function* () {
    const databaseUrl = yield* freshReadModel(inject("postgresUrl"))
    const shared = yield* Layer.build(Layer.mergeAll(EventStore.layerMemory, Bus.layerMemory))
    const seen = Context.add(shared, EventStore, over(Context.get(shared, EventStore)))
    const services = Layer.mergeAll(Layer.succeedContext(seen), readModelOn(databaseUrl))
    const process = readSideOn(services, limits).pipe(
      Layer.provideMerge(ReadModelSql.layer(Redacted.make(databaseUrl))),
      Layer.provideMerge(limitsOf(limits))
    )
    return { databaseUrl, process }
  }).pipe(Effect.provide(limitsOf({})))
