/** Turns folded events into the batches that a projection writes, and writes them. */
import { Effect } from "effect"
import type { Posted } from "../../domain/Books.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { BooksBatch, Checkpoint, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"
import type { Parking } from "./Parking.ts"

/**
 * Writes a run of postings. A batch that the database refuses is halved until the guilty row is alone, and the account
 * of that row is parked. Answers false when another projector moved an account of the batch.
 */
export const makeBatchWriter = (readModel: ProjectionModel, parking: Parking, partitions: number) => {
  const write = (
    posted: ReadonlyArray<Posted>,
    checkpoints: ReadonlyArray<Checkpoint>,
    generation: number
  ): Effect.Effect<boolean, StoreUnavailable> => {
    const batch = { ...toBatch(posted, checkpoints, partitions), generation }
    return Effect.catchTag(readModel.apply(batch), "RowsRefused", (refused) => {
      const [only] = posted
      if (only === undefined) return Effect.die(refused)
      if (posted.length === 1) {
        const { id: account, version } = only.head.account
        return Effect.as(parking.park({ account, version, reason: refused.reason }), true)
      }
      const middle = Math.floor(posted.length / 2)
      const secondHalf = Effect.suspend(() => {
        const rest = posted.slice(middle).filter(({ head }) => !parking.isParked(head.account.id))
        return write(rest, checkpoints, generation)
      })
      return Effect.flatMap(write(posted.slice(0, middle), [], generation), (written) =>
        written ? secondHalf : Effect.succeed(false)
      )
    })
  }
  return write
}

/** The rows of a run of postings, in order of account and version, as one batch. */
export const toBatch = (
  posted: ReadonlyArray<Posted>,
  checkpoints: ReadonlyArray<Checkpoint>,
  partitions: number
): BooksBatch => {
  const moves = new Map<AccountId, BooksBatch["moves"][number]>()
  const contras: Array<BooksBatch["contras"][number]> = []
  /** By account and hold: only what the last event made of it is written. */
  const holds = new Map<string, BooksBatch["holds"][number]>()
  for (const { head, contras: entries, hold } of posted) {
    const { id, version } = head.account
    moves.set(id, { from: moves.get(id)?.from ?? version - 1, head })
    if (hold !== undefined) holds.set(`${id} ${hold.hold}`, hold)
    for (const entry of entries) contras.push({ ...entry, partition: partitionOf(id, partitions) })
  }
  return {
    moves: [...moves.values()],
    lines: posted.map(({ line }) => line),
    transfers: posted.flatMap(({ transfer }) => (transfer === undefined ? [] : [transfer])),
    contras,
    holds: [...holds.values()],
    checkpoints
  }
}
