/**
 * Runs one more projection beside the books, with engine, projectors and a reconciler of its own, for as long as the
 * layer lives.
 */
import { Effect, Layer } from "effect"
import { type Projection, prefixOf } from "../../infra/readmodel/Projection.ts"
import { ProjectedSignal } from "../../infra/readmodel/ProjectionWaiters.ts"
import { ProjectionSql } from "../../infra/readmodel/ReadModelSql.ts"
import { makeProjectionWrites } from "../../infra/readmodel/ReadModelWrites.ts"
import { makeProjectionEngine } from "./ProjectionEngine.ts"
import { makeHealth } from "./ProjectionHealth.ts"
import { register } from "./ProjectionRegistry.ts"
import { startProjectors } from "./Projector.ts"
import { startReconciler } from "./Reconciler.ts"

/** Needs what a node has; its tables are migrated already. A projection that fails holds up no other. */
export const layerOf = (projection: Projection) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* ProjectionSql
      const name = prefixOf(projection)
      // Queries with a read token wait for the books.
      const signal = ProjectedSignal.unheard
      const model = yield* Effect.provideService(
        makeProjectionWrites(sql, projection, name),
        ProjectedSignal,
        signal
      )
      const engine = yield* makeProjectionEngine(model)
      const health = yield* makeHealth
      yield* startProjectors({ name, model, engine, health, signal })
      const reconciler = yield* startReconciler(name, model, engine, health)
      yield* register({ name, health, reconciler, engine })
    })
  )
