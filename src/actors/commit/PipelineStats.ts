/** What the commit pipeline counts, since the start of the node. */

export interface PipelineStats {
  batches: number
  /** Sendings behind a batch that was not durable yet. */
  behind: number
  rows: number
  rowsMax: number
  committed: number
  /** Accounts that another writer wrote to while this node believed it owned them (split brain). */
  conflicts: number
  repeats: number
  /** Sendings whose outcome had to be asked for again. */
  unknown: number
  fenced: number
  /** What the store said last when it did not commit; undefined while it does. */
  trouble: string | undefined
  /** Moving average of a successful sending, in milliseconds. */
  commitMs: number
}

export const noStats = (): PipelineStats => ({
  batches: 0,
  behind: 0,
  rows: 0,
  rowsMax: 0,
  committed: 0,
  conflicts: 0,
  repeats: 0,
  unknown: 0,
  fenced: 0,
  trouble: undefined,
  commitMs: 1
})
