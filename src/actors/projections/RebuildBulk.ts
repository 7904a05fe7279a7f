/** Pages of the log in order of account enter; they are folded without a look, and written by several statements at once. */
import { Effect } from "effect"
import type { OpenedHead, Posted } from "../../domain/Books.ts"
import { type Folded, fold } from "../../domain/BooksFold.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import type { ProjectionModel } from "../../infra/readmodel/ReadModel.ts"
import { toBatch } from "./Batch.ts"
import type { ProjectionEngine } from "./ProjectionEngine.ts"

interface BulkPage {
  readonly rows: ReadonlyArray<StoredEvent>
  readonly folded: Folded
}

/**
 * In new tables an account is where the page before left it, or nowhere. Where that is wrong, because an earlier
 * rebuild came further than it noted, or an event is broken, the page goes the way that every batch goes.
 */
export const makeBulk = Effect.fnUntraced(function* (next: {
  readonly model: ProjectionModel
  readonly bookkeeping: ProjectionEngine["Service"]
}) {
  const { partitions } = yield* LedgerConfig
  const { rebuildLanes } = yield* ReadSideConfig
  /** Of the last account of the page before, which may go on in the next. */
  let carried = new Map<AccountId, OpenedHead>()

  const writeLane = (posted: ReadonlyArray<Posted>) =>
    Effect.catchTag(next.model.apply(toBatch(posted, [], partitions)), "RowsRefused", () =>
      Effect.succeed(false)
    )

  return {
    fold: (rows: ReadonlyArray<StoredEvent>): BulkPage => {
      const folded = fold(carried, rows)
      const last = folded.posted.at(-1)
      if (last !== undefined) carried = new Map([[last.head.account.id, last.head]])
      return { rows, folded }
    },
    /** Answers the number of events that were not there before. */
    write: Effect.fnUntraced(function* ({ rows, folded }: BulkPage) {
      if (folded.posted.length === rows.length) {
        // By partition, as the rows of contra accounts are, so that no lane waits for another.
        const lanes = Array.from({ length: rebuildLanes }, (): Array<Posted> => [])
        for (const one of folded.posted) {
          lanes[partitionOf(one.head.account.id, partitions) % rebuildLanes]?.push(one)
        }
        const written = yield* Effect.forEach(
          lanes.filter((lane) => lane.length > 0),
          writeLane,
          { concurrency: rebuildLanes }
        )
        if (written.every(Boolean)) return folded.posted.length
        // What some lanes wrote is skipped below, and counted once.
        const { events, repeats } = yield* next.bookkeeping.project(rows, [])
        return events + repeats
      }
      return (yield* next.bookkeeping.project(rows, [])).events
    })
  }
})
