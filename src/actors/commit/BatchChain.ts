/**
 * A batch chained behind another. The commands of a hot account all depend on each other, so they could only ever be
 * committed one batch after another, with a whole round trip to the store for each. Chaining overlaps two of them:
 * where everything that is queued waits for one batch (the predecessor), the next batch (the successor) is taken by
 * another lane at once, its rows are written in a transaction that stays open, and that transaction commits only
 * after the predecessor's has.
 *
 * The one rule: **a successor commits if and only if its predecessor committed at its first attempt.** Its lane waits
 * for that verdict (`awaitVerdict`) before it commits. On any other outcome of the predecessor the successor rolls
 * back, and its commands are put back to the front of the queue as if they had never been taken: they may have to be
 * decided again. So a chain has two batches at most, and nothing is chained behind a batch that retries, because its
 * outcome may take long.
 *
 * The chained batch costs two more round trips (it has to begin and to commit by statements of their own), so it must
 * carry a quarter of a full batch at least.
 */
import { Deferred, Effect } from "effect"
import type { CommitBatch, PendingCommand } from "../accounts/Lifecycle.ts"

const leastPart = 1 / 4

/** Rows that a chained batch carries at least. */
export const chainedRowsMin = (rowsMax: number): number => rowsMax * leastPart

/** The batch that the command waits for, if another may be chained behind it. */
export const predecessorFor = (command: PendingCommand | undefined): CommitBatch | undefined => {
  for (const { batch } of command?.participants ?? []) {
    if (batch !== undefined && !batch.isRetrying && !batch.predecessor && !batch.successor) return batch
  }
  return undefined
}

/**
 * Whether a chained batch may commit, once that is known; undefined where it is not chained, or its predecessor has
 * committed by now. Its own lane goes on a turn later: the lane that gives the verdict is not done with it yet.
 */
export const awaitVerdict = ({ predecessor, verdict }: CommitBatch): Effect.Effect<boolean> | undefined =>
  predecessor === undefined || verdict === undefined
    ? undefined
    : Effect.tap(Deferred.await(verdict), () => Effect.yieldNow)
