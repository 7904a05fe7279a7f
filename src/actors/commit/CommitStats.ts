/** What the commit pipeline counts and tells: plain counters, two histograms, and the alarm of a split brain. */
import { Effect, Latch, Metric } from "effect"
import type { CommitOutcome } from "../../infra/eventstore/EventStore.ts"
import { makeFailureLog } from "../../infra/telemetry/GoesOn.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { type AccountActor, about, type PendingCommand } from "../accounts/Lifecycle.ts"

/** Since the start of the node. */
export interface PipelineStats {
  /** Commits that are durable. */
  batches: number
  /** Batches that were sent while their predecessor was not yet committed. */
  behind: number
  /** Events in the durable commits, and the most of one. */
  rows: number
  rowsMax: number
  /** Commands accepted. */
  committed: number
  /** Accounts that another writer wrote to while this node believed it owned them (split brain). */
  conflicts: number
  /** Commands whose id the log held already. */
  repeats: number
  /** Attempts whose outcome had to be asked for again. */
  unknown: number
  /** Lanes whose writer was fenced. */
  fenced: number
  /** Why the store did not commit the last time; undefined while it does. */
  trouble: string | undefined
  /** Moving average of a successful attempt, in milliseconds. */
  commitMs: number
}

const noStats = (): PipelineStats => ({
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

const batchRows = Metric.histogram("chronicle_commit_batch_rows", {
  description: "Events that one commit carried",
  boundaries: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000]
})

const commitSeconds = Metric.histogram("chronicle_commit_seconds", {
  description:
    "Seconds from sending a commit until the store confirmed it; for a batch chained behind another, the wait for that one is included",
  boundaries: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
})

export interface CommitStats {
  readonly counts: PipelineStats
  /** One commit is durable. `isChained`: it waited for its predecessor, which says nothing of the store. */
  readonly noteCommit: (rows: number, millis: number, isChained: boolean) => void
  /** The store did not commit: callers are told the reason, and the log all that is known. */
  readonly noteTrouble: (outcome: NotCommitted) => Effect.Effect<void>
}

type NotCommitted = Extract<CommitOutcome, { readonly _tag: "NotWritten" | "Unknown" }>

/** The weight of one commit in the moving average. */
const smoothing = 1 / 16

export const makeCommitStats = Effect.map(Effect.context<never>(), (context): CommitStats => {
  const counts = noStats()
  const tell = makeFailureLog()
  return {
    counts,
    noteCommit: (rows, millis, isChained) => {
      if (!isChained) counts.commitMs += (millis - counts.commitMs) * smoothing
      counts.batches++
      counts.rows += rows
      counts.rowsMax = Math.max(counts.rowsMax, rows)
      counts.trouble = undefined
      batchRows.updateUnsafe(rows, context)
      commitSeconds.updateUnsafe(millis / 1_000, context)
    },
    noteTrouble: ({ reason, detail = reason }) => {
      counts.trouble = reason
      return tell({ reason, message: `the event store did not commit, and is asked again: ${detail}` })
    }
  }
})

/** Two nodes that fight over many accounts must not also fill the disk with saying so. */
const warnEveryMs = 1_000
/** Account ids that one warning names. */
const namedMax = 10

/**
 * Warns that another writer wrote to accounts of this node: at once, but no more than one warning a second. The
 * numbers of all warnings add up to the count of conflicts, also when the node ends in between.
 */
export const makeSplitBrainAlarm = Effect.gen(function* () {
  const clock = yield* LedgerClock
  let warnedAt = Number.NEGATIVE_INFINITY
  let untold = 0
  const hasUntold = Latch.makeUnsafe(false)

  const warn = (count: number, accounts: ReadonlyArray<string>) =>
    Effect.logWarning(
      `split brain: another writer wrote to accounts this node owned, ${count} times; they are reloaded`,
      accounts
    )
  const catchUp = Effect.suspend(() => {
    const count = untold
    untold = 0
    hasUntold.closeUnsafe()
    return count === 0 ? Effect.void : warn(count, [])
  })
  yield* hasUntold.await.pipe(
    Effect.andThen(Effect.sleep(warnEveryMs)),
    Effect.andThen(catchUp),
    Effect.forever,
    Effect.forkScoped
  )
  yield* Effect.addFinalizer(() => catchUp)

  return Effect.fnUntraced(function* (
    stale: ReadonlySet<AccountActor>,
    commands: ReadonlyArray<PendingCommand>
  ) {
    if (stale.size === 0) return
    const now = clock.nowUnsafe()
    if (now - warnedAt < warnEveryMs) {
      untold += stale.size
      hasUntold.openUnsafe()
      return
    }
    const accounts = new Set([...stale].map((actor) => actor.id))
    warnedAt = now
    yield* warn(stale.size, [...accounts].slice(0, namedMax)).pipe(
      about(commands.filter((command) => command.accounts.some((id) => accounts.has(id))))
    )
  })
})

export type SplitBrainAlarm = Effect.Success<typeof makeSplitBrainAlarm>
