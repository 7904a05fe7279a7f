/** One more projection enters; it follows the log beside the books, by the same machine, for as long as the layer lives. */
import { Effect, Layer } from "effect"
import { type Projection, prefixOf } from "../../infra/readmodel/Projection.ts"
import { ProjectionWaiters } from "../../infra/readmodel/ProjectionWaiters.ts"
import { ReadModelSql } from "../../infra/readmodel/ReadModelSql.ts"
import { makeProjectionWrites } from "../../infra/readmodel/ReadModelWrites.ts"
import { makeProjectionEngine } from "./ProjectionEngine.ts"
import { makeHealth } from "./ProjectionHealth.ts"
import { register } from "./ProjectionRegistry.ts"
import { startProjectors } from "./Projector.ts"
import { startReconciler } from "./Reconciler.ts"

/** Needs what a node has; its tables are migrated already. One that fails holds up no other. */
export const layerOf = (projection: Projection) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const name = prefixOf(projection)
      // Of its own: nobody waits there, and what it brings is not what the queries of the books wait for.
      const arrivals = yield* Effect.provide(ProjectionWaiters, ProjectionWaiters.layer, { local: true })
      const model = yield* Effect.provideService(
        makeProjectionWrites(sql, projection, name),
        ProjectionWaiters,
        arrivals
      )
      const bookkeeping = yield* makeProjectionEngine(model)
      const health = yield* makeHealth
      yield* startProjectors({ name, model, bookkeeping, health, arrivals })
      const sweep = yield* startReconciler(name, { model, bookkeeping, health })
      yield* register({ name, health, sweep })
    })
  )
