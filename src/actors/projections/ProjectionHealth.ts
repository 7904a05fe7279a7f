/** What the projectors went through enters; how they are, partition by partition, leaves. */
import { Context, Effect, Layer } from "effect"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"

export interface PartitionHealth {
  readonly partition: number
  /** This node projects it; what another one does shows there. */
  readonly isOwned: boolean
  /** The bus's number of the last message that was projected; 0 before the first. */
  readonly position: number
  /** Events that this process projected, from the bus or the log. */
  readonly events: number
  /** From the recording of the last event to its projection. */
  readonly lagMs: number
  /** Events of the log that the last sweep found missing, though their time had come … */
  readonly behindEvents: number
  /** … and how long the oldest of them has been waiting, in milliseconds. Both 0 when there is none. */
  readonly behindMs: number
  /** The last error, while the projector has not gone on since. */
  readonly lastError: string | undefined
  readonly restarts: number
  /** How often the log was read because the bus had left something out. */
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

export interface LagSummary {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

type Counts = { -readonly [Key in keyof PartitionHealth]: PartitionHealth[Key] }

/** Samples of the lag that are kept, one a batch. */
const samplesMax = 4_096

export class ProjectionHealth extends Context.Service<
  ProjectionHealth,
  {
    readonly partitionsUnsafe: () => ReadonlyArray<PartitionHealth>
    /** Of the last batches from the bus, in milliseconds. */
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

/** Of one projection; `ProjectionHealth` is that of the books. */
export const makeHealth = Effect.gen(function* () {
  const { partitions } = yield* LedgerConfig
  const counts = Array.from({ length: partitions }, (_, partition) => fresh(partition))
  const samples: Array<number> = []
  let next = 0
  const ofUnsafe = (partition: number): Counts => {
    const found = counts[partition]
    if (found === undefined) throw new Error(`there is no partition ${partition}`)
    return found
  }
  return {
    partitionsUnsafe: () => counts.map((one) => ({ ...one })),
    lagMsUnsafe: () => summarize(samples),
    ofUnsafe,
    lagUnsafe: (partition: number, lagMs: number) => {
      ofUnsafe(partition).lagMs = lagMs
      samples[next] = lagMs
      next = (next + 1) % samplesMax
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
