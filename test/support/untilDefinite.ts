/** Sends a commit as the ledger does: again, the identical one, until it is known whether it landed. */
import { Effect } from "effect"
import type { CommitOutcome } from "../../src/infra/eventstore/EventStore.ts"

/**
 * The pool may still be opening a connection that a fault had struck, which has to fail first; a machine that stands still
 * for a moment outlasts short limits; and fifty that want one key wait for each other, on CockroachDB longer than a statement may take.
 */
export const untilDefinite = (commit: Effect.Effect<CommitOutcome>) =>
  Effect.repeat(commit, { while: ({ _tag }) => _tag === "NotWritten" || _tag === "Unknown", times: 50 })
