/** One more projection enters; it follows the log beside the books, by the same machine, for as long as the layer lives. */
import { Effect, Layer } from "effect"
import { Arrivals } from "../../infra/Arrivals.ts"
import { type Projection, prefixOf } from "../../infra/Projection.ts"
import { ReadModelSql } from "../../infra/ReadModelSql.ts"
import { makeProjectionWrites } from "../../infra/ReadModelWrites.ts"
import { makeBookkeeping } from "./Bookkeeping.ts"
import { makeHealth } from "./ProjectionHealth.ts"
import { register } from "./Projections.ts"
import { startProjectors } from "./Projector.ts"
import { startSweep } from "./Sweep.ts"

/** Needs what a node has; its tables are migrated already. One that fails holds up no other. */
export const layerOf = (projection: Projection) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const name = prefixOf(projection)
      // Of its own: nobody waits there, and what it brings is not what the queries of the books wait for.
      const arrivals = yield* Effect.provide(Arrivals, Arrivals.layer, { local: true })
      const model = yield* Effect.provideService(
        makeProjectionWrites(sql, projection, name),
        Arrivals,
        arrivals
      )
      const bookkeeping = yield* makeBookkeeping(model)
      const health = yield* makeHealth
      yield* startProjectors({ name, model, bookkeeping, health, arrivals })
      const sweep = yield* startSweep(name, { model, bookkeeping, health })
      yield* register({ name, health, sweep })
    })
  )
