/** Sizes and durations of commits enter, one a flush; two histograms of effect's metric registry leave. */
import { Effect, Metric } from "effect"

/** Rows one INSERT carried. */
export const batchRows = Metric.histogram("chronicle_commit_batch_rows", {
  description: "Events that one commit carried",
  boundaries: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000]
})

/** From the sending of a commit to the store's answer; of one that goes behind another, its wait for that one included. */
export const commitSeconds = Metric.histogram("chronicle_commit_seconds", {
  description: "Seconds from the sending of a commit to the store's word that it is durable",
  boundaries: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
})

export interface CommitMeters {
  readonly flushedUnsafe: (rows: number, millis: number) => void
}

export const makeCommitMeters: Effect.Effect<CommitMeters> = Effect.map(
  Effect.context<never>(),
  (context) => ({
    flushedUnsafe: (rows, millis) => {
      batchRows.updateUnsafe(rows, context)
      commitSeconds.updateUnsafe(millis / 1_000, context)
    }
  })
)
