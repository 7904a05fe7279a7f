/** The projections that run in this process, so that health checks and metrics can report on each of them. */
import { Context, Effect, Layer } from "effect"
import type { DivergenceCounts } from "./Divergence.ts"
import type { ProjectionEngine } from "./ProjectionEngine.ts"
import type { PartitionHealth, ProjectionHealth } from "./ProjectionHealth.ts"
import type { Reconciler, ReconcilerStatus } from "./Reconciler.ts"

interface RunningProjection {
  readonly name: string
  readonly health: ProjectionHealth["Service"]
  readonly reconciler: Reconciler["Service"]
  readonly engine: Pick<ProjectionEngine["Service"], "divergenceUnsafe">
}

export interface ProjectionState {
  readonly name: string
  /** Milliseconds from recording to projection, over the last batches from the bus. */
  readonly lagMs: { readonly p50: number; readonly p99: number; readonly max: number }
  /** What its reconciler found, here or on the node that runs it. */
  readonly sweep: ReconcilerStatus
  readonly partitions: ReadonlyArray<PartitionHealth>
  /** Rows that stood for events which are not in the log, as far as this process found them. */
  readonly divergence: DivergenceCounts
}

export class ProjectionRegistry extends Context.Service<
  ProjectionRegistry,
  {
    readonly registerUnsafe: (running: RunningProjection) => void
    readonly statesUnsafe: () => ReadonlyArray<ProjectionState>
  }
>()("chronicle/actors/ProjectionRegistry") {
  static readonly layer = Layer.sync(ProjectionRegistry, () => {
    const running: Array<RunningProjection> = []
    return {
      registerUnsafe: (one) => {
        running.push(one)
      },
      statesUnsafe: () =>
        running.map(({ name, health, reconciler, engine }) => ({
          name,
          lagMs: health.lagMsUnsafe(),
          sweep: reconciler.statusUnsafe(),
          partitions: health.partitionsUnsafe(),
          divergence: engine.divergenceUnsafe()
        }))
    }
  })
}

/** Adds a projection, for as long as the process lives. */
export const register = Effect.fnUntraced(function* (running: RunningProjection) {
  const projections = yield* ProjectionRegistry
  projections.registerUnsafe(running)
})
