/**
 * The counters of the read side: what the projectors of each partition did and how far behind they are, and what the
 * reconciler found. Projectors and reconcilers write them; health checks, metrics and the load test read them.
 */
import { Context, Effect, Layer } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import type { Lag } from "./ProjectionLag.ts"

export interface PartitionHealth {
  readonly partition: number
  /** This node projects the partition; other nodes count what they project. */
  readonly isOwned: boolean
  /** The bus's number of the last message that was projected; 0 before the first. */
  readonly position: number
  /** Events that this process projected, from the bus or the log. */
  readonly events: number
  /** Milliseconds from the recording of the last event to its projection. */
  readonly lagMs: number
  /** Events of the log that the reconciler last found missing and older than its grace period … */
  readonly behindEvents: number
  /** … and how long the oldest of them has been waiting, in milliseconds. Both 0 when there is none. */
  readonly behindMs: number
  /** The last error, until the projector makes progress again. */
  readonly lastError: string | undefined
  readonly restarts: number
  /** How often the log was read because the bus had left events out. */
  readonly gaps: number
  /** Events that had been projected before. */
  readonly repeats: number
  /** Messages that could not be read, or whose events do not follow the log. */
  readonly faulty: number
  /** Messages of writers that the log does not know: the stream of another ledger. */
  readonly foreign: number
  /** How often the stream began again: it was wiped, restored or replaced. */
  readonly rewinds: number
}

/** What the reconciler of one projection did on this node. */
export interface ReconcileCounts {
  /** Rounds that were completed, and when the last one was by the event store's clock (0: none yet). */
  sweeps: number
  sweptAt: Instant
  /** When this process completed it, or heard of it, by its time elapsed (0: not yet): no two machines need have one clock. */
  sweptElapsedMs: number
  /** Events that were read from the log because the bus had not brought them in time. */
  loaded: number
  /** What the last round left for the bus to bring. */
  lag: Lag
  /** Everything recorded before then is in the read model, except for parked accounts; 0: not known. */
  completeTo: Instant
  /** Accounts that are parked. */
  parked: number
  lastError: string | undefined
  restarts: number
}

export const noReconcileCounts = (): ReconcileCounts => ({
  sweeps: 0,
  sweptAt: 0,
  sweptElapsedMs: 0,
  loaded: 0,
  lag: { events: 0, ms: 0, isExact: true },
  completeTo: 0,
  parked: 0,
  lastError: undefined,
  restarts: 0
})

export interface LagSummary {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

type Counts = { -readonly [Key in keyof PartitionHealth]: PartitionHealth[Key] }

/** Lag samples that are kept, one a batch. */
const samplesMax = 4_096

export class ProjectionHealth extends Context.Service<
  ProjectionHealth,
  {
    readonly partitionsUnsafe: () => ReadonlyArray<PartitionHealth>
    /** Milliseconds from recording to projection, over the last batches from the bus. */
    readonly lagMsUnsafe: () => LagSummary
    readonly ofUnsafe: (partition: number) => Counts
    readonly lagUnsafe: (partition: number, lagMs: number) => void
  }
>()("chronicle/actors/ProjectionHealth") {
  static readonly layer = Layer.effect(
    ProjectionHealth,
    Effect.suspend(() => makeHealth)
  )
}

/** The counters of one projection; the service `ProjectionHealth` is those of the books. */
export const makeHealth = Effect.gen(function* () {
  const { partitions } = yield* LedgerConfig
  const counts = Array.from({ length: partitions }, (_, partition) => fresh(partition))
  const samples: Array<number> = []
  let next = 0
  /** Of all samples; undefined where one came since it was made. */
  let summary: LagSummary | undefined
  const ofUnsafe = (partition: number): Counts => {
    const found = counts[partition]
    if (found === undefined) throw new Error(`there is no partition ${partition}`)
    return found
  }
  return {
    partitionsUnsafe: () => counts.map((one) => ({ ...one })),
    lagMsUnsafe: () => {
      summary ??= summarize(samples)
      return summary
    },
    ofUnsafe,
    lagUnsafe: (partition: number, lagMs: number) => {
      ofUnsafe(partition).lagMs = lagMs
      samples[next] = lagMs
      next = (next + 1) % samplesMax
      summary = undefined
    }
  } satisfies ProjectionHealth["Service"]
})

const fresh = (partition: number): Counts => ({
  partition,
  isOwned: false,
  position: 0,
  events: 0,
  lagMs: 0,
  behindEvents: 0,
  behindMs: 0,
  lastError: undefined,
  restarts: 0,
  gaps: 0,
  repeats: 0,
  faulty: 0,
  foreign: 0,
  rewinds: 0
})

const summarize = (samples: ReadonlyArray<number>): LagSummary => {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
