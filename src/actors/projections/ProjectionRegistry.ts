/** The projections that run in this process enter by name; how each of them is leaves. */
import { Context, Effect, Layer } from "effect"
import type { PartitionHealth, ProjectionHealth } from "./ProjectionHealth.ts"
import type { Reconciler, ReconcilerStatus } from "./Reconciler.ts"

/** What is asked of one projection that runs. */
export interface RunningProjection {
  readonly name: string
  readonly health: ProjectionHealth["Service"]
  readonly sweep: Reconciler["Service"]
}

export interface ProjectionState {
  readonly name: string
  /** Of the last batches from the bus: milliseconds from recording to projection. */
  readonly lagMs: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly sweep: ReconcilerStatus
  readonly partitions: ReadonlyArray<PartitionHealth>
}

export class Projections extends Context.Service<
  Projections,
  {
    readonly registerUnsafe: (running: RunningProjection) => void
    readonly statesUnsafe: () => ReadonlyArray<ProjectionState>
  }
>()("chronicle/actors/Projections") {
  static readonly layer = Layer.sync(Projections, () => {
    const running: Array<RunningProjection> = []
    return {
      registerUnsafe: (one) => {
        running.push(one)
      },
      statesUnsafe: () =>
        running.map(({ name, health, sweep }) => ({
          name,
          lagMs: health.lagMsUnsafe(),
          sweep: sweep.statusUnsafe(),
          partitions: health.partitionsUnsafe()
        }))
    }
  })
}

/** Makes a projection known for as long as the process lives. */
export const register = Effect.fnUntraced(function* (running: RunningProjection) {
  const projections = yield* Projections
  projections.registerUnsafe(running)
})
