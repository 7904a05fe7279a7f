/** What single partitions have to project enters; few batches that carry many partitions' rows are written. */
import { Cause, Deferred, Effect, Exit, Latch } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { StoreUnavailable } from "../../infra/EventStore.ts"
import type { Checkpoint } from "../../infra/ReadModel.ts"
import { ReadSideConfig } from "../../infra/ReadSideConfig.ts"
import type { Bookkeeping, Projected } from "./Bookkeeping.ts"

interface Entry {
  readonly rows: ReadonlyArray<StoredEvent>
  readonly checkpoint: Checkpoint
  readonly done: Deferred.Deferred<Projected, StoreUnavailable>
}

/**
 * A commit touches many partitions, and a transaction for each of them would be all the database has to do. So a
 * free lane takes what is waiting, of whatever partitions: as with commits, no timer, and the busier the larger.
 * Partitions have no account in common, so lanes do not meet. Runs in the scope.
 */
export const makeFlush = Effect.fnUntraced(function* (bookkeeping: Bookkeeping["Service"]) {
  const { projectEventsMax, projectLanes } = yield* ReadSideConfig
  const wake = Latch.makeUnsafe(false)
  let waiting: Array<Entry> = []

  const takeSome = (): ReadonlyArray<Entry> => {
    let events = 0
    const end = waiting.findIndex((entry, index) => {
      events += entry.rows.length
      return index > 0 && events > projectEventsMax
    })
    const taken = end === -1 ? waiting : waiting.slice(0, end)
    waiting = end === -1 ? [] : waiting.slice(end)
    if (waiting.length === 0) wake.closeUnsafe()
    return taken
  }

  const flush = Effect.gen(function* () {
    yield* wake.await
    // The partitions of one commit arrive together: each fiber gets its turn to say what it has.
    yield* Effect.yieldNow
    const taken = takeSome()
    if (taken.length === 0) return
    const exit = yield* Effect.exit(
      bookkeeping.project(
        taken.flatMap((entry) => entry.rows),
        taken.map((entry) => entry.checkpoint)
      )
    )
    // Each partition's fiber ends of it, and begins again by itself; a lane that is stopped leaves nobody waiting.
    const told =
      Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause) ? Exit.die("the projectors stop") : exit
    for (const [index, { checkpoint, done }] of taken.entries()) {
      Deferred.doneUnsafe(
        done,
        Exit.map(told, (all) => shareOf(all, checkpoint.partition, index === 0))
      )
    }
  })
  for (let lane = 0; lane < projectLanes; lane++) yield* Effect.forkScoped(Effect.forever(flush))

  return {
    /** Ends when the batch it was put into is written. */
    project: (rows: ReadonlyArray<StoredEvent>, checkpoint: Checkpoint) =>
      Effect.suspend(() => {
        const done = Deferred.makeUnsafe<Projected, StoreUnavailable>()
        waiting.push({ rows, checkpoint, done })
        wake.openUnsafe()
        return Deferred.await(done)
      })
  }
})

/** The first partition of a batch tells what cannot be told apart. */
const shareOf = (all: Projected, partition: number, isFirst: boolean): Projected => {
  const own = all.byPartition.get(partition) ?? 0
  if (!isFirst) return { events: own, byPartition: new Map(), repeats: 0, gaps: 0, faulty: 0 }
  const came = all.byPartition.values().reduce((sum, events) => sum + events, 0)
  return { ...all, events: all.events - came + own }
}
