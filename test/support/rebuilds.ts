/** A whole read side on a real database, with log and bus in memory, for tests of rebuilds. */
import { inject } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { freshReadModel, limitsOf, readModelOn, readSideOn, type TestLimits } from "./readSides.ts"

/** Small pages, so that a rebuild has many steps. */
export const smallSteps: TestLimits = { ledger: { sweepMs: 50 }, readSide: { rebuildEventsMax: 20 } }

export const rebuildWorld = (limits: TestLimits = smallSteps) =>
  Effect.gen(function* () {
    const databaseUrl = yield* freshReadModel(inject("postgresUrl"))
    const shared = yield* Layer.build(Layer.mergeAll(EventStore.layerMemory, Bus.layerMemory))
    const services = Layer.mergeAll(Layer.succeedContext(shared), readModelOn(databaseUrl))
    const process = readSideOn(services, limits).pipe(
      Layer.provideMerge(ReadModelSql.layer(Redacted.make(databaseUrl))),
      Layer.provideMerge(limitsOf(limits))
    )
    return { databaseUrl, process }
  }).pipe(Effect.provide(limitsOf({})))
