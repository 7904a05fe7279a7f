/** What flies: the tickets of a batch, the batch before it that it waits for, and the one that waits for it. */
import { Deferred } from "effect"
import type { PendingCommand } from "./Lifecycle.ts"

/** What one lane sends at once. */
export class CommitBatch {
  commands: ReadonlyArray<PendingCommand> = []
  /** The flight that must be durable before this one may be; undefined once it is. */
  predecessor: CommitBatch | undefined = undefined
  /** The flight that was decided upon this one, and is being written while this one is. */
  successor: CommitBatch | undefined = undefined
  /** Something befell it that was not a success: nothing follows it any more, for its outcome may take long. */
  isRetrying = false
  /** Of a follower: whether it may become durable, as soon as that is known. */
  readonly mayCommit = Deferred.makeUnsafe<boolean>()
}

export interface BatchLimits {
  readonly rowsMax: number
  readonly bytesMax: number
}

/** Fixed columns of a row, about, on top of its texts. */
const rowBytes = 250

/** A flight that the ticket waits for and that may be followed: one that nothing follows, and that follows nothing. */
export const predecessorOf = (ticket: PendingCommand | undefined): CommitBatch | undefined => {
  for (const { batch: flight } of ticket?.participants ?? []) {
    if (flight !== undefined && !flight.isRetrying && !flight.predecessor && !flight.successor) return flight
  }
  return undefined
}

/** What its rows take in one sending, about. */
export const bytesOf = (ticket: PendingCommand): number => {
  let bytes = 0
  for (const { row } of ticket.pendingEvents)
    bytes += rowBytes + row.payload.length + (row.context?.length ?? 0)
  return bytes
}
