/** Postings in order of account and version enter; the one batch that writes them leaves. Pure. */
import type { Posted } from "../../domain/Books.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { BooksBatch, Checkpoint } from "../../infra/readmodel/ReadModel.ts"

/** The rows of a run of postings, in order of account and version, as one batch. */
export const toBatch = (
  posted: ReadonlyArray<Posted>,
  checkpoints: ReadonlyArray<Checkpoint>,
  partitions: number
): BooksBatch => {
  const moves = new Map<AccountId, BooksBatch["moves"][number]>()
  const contras: Array<BooksBatch["contras"][number]> = []
  for (const { head, contra } of posted) {
    const { id, version } = head.account
    moves.set(id, { from: moves.get(id)?.from ?? version - 1, head })
    if (contra !== undefined) contras.push({ ...contra, partition: partitionOf(id, partitions) })
  }
  return {
    moves: [...moves.values()],
    lines: posted.map(({ line }) => line),
    transfers: posted.flatMap(({ transfer }) => (transfer === undefined ? [] : [transfer])),
    contras,
    checkpoints
  }
}
