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
import { makeSweep } from "./Sweep.ts"

/** Needs what a node has; its tables are migrated already. One that fails holds up no other. */
export const layerOf = (projection: Projection) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const name = prefixOf(projection)
      const model = yield* Effect.provide(makeProjectionWrites(sql, projection, name), Arrivals.layer, {
        local: true
      })
      const bookkeeping = yield* makeBookkeeping(model)
      const health = yield* makeHealth
      yield* startProjectors({ name, model, bookkeeping, health })
      const sweep = yield* makeSweep({ model, bookkeeping, health })
      yield* Effect.forkScoped(sweep.regularly)
      yield* register({ name, health, sweep })
    })
  )
