/** What single partitions have to project enters; few batches that carry many partitions' rows are written. */
import { Cause, Deferred, Effect, Exit, Latch } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { Checkpoint } from "../../infra/readmodel/ReadModel.ts"
import { reasonOf } from "../relay/Supervisor.ts"
import type { ProjectionEngine, ProjectionResult } from "./ProjectionEngine.ts"

interface Entry {
  readonly rows: ReadonlyArray<StoredEvent>
  readonly checkpoint: Checkpoint
  readonly onWritten: () => void
  readonly done: Deferred.Deferred<ProjectionResult, StoreUnavailable>
}

/**
 * A commit touches many partitions, and a transaction for each of them would be all the database has to do. So a
 * free lane takes what is waiting, of whatever partitions: as with commits, no timer, and the busier the larger.
 * Partitions have no account in common, so lanes do not meet.
 *
 * Where such a batch fails, or is not written within `togetherMs`, one of its partitions may be the reason: each
 * is written alone, on lanes of their own, until that succeeded once. So one that hangs holds up the others for
 * `togetherMs` and no longer. Runs in the scope.
 */
export const makeWriteBatcher = Effect.fnUntraced(function* (
  bookkeeping: Pick<ProjectionEngine["Service"], "project">
) {
  const { projectEventsMax, projectLanes, togetherMs, aloneMsMax, handoverMs } = yield* ReadSideConfig
  const [together, alone] = [makeLine(), makeLine()]
  /** Partitions that are written alone, and how long each may take for it. */
  const suspects = new Map<number, number>()

  /** Somebody waited in vain for the end of a write: the others who leave need not, one after another. */
  let isStalled = false

  const write = (entries: ReadonlyArray<Entry>, patienceMs: number) =>
    bookkeeping
      .project(
        entries.flatMap((entry) => entry.rows),
        entries.map((entry) => entry.checkpoint)
      )
      .pipe(
        Effect.timeoutOrElse({
          duration: patienceMs,
          orElse: () => {
            const reason = `nothing was written within ${patienceMs} ms`
            return Effect.fail(new StoreUnavailable({ store: "read model", reason }))
          }
        }),
        Effect.exit
      )

  const end = (taken: ReadonlyArray<Entry>, exit: Exit.Exit<ProjectionResult, StoreUnavailable>): void => {
    if (Exit.isSuccess(exit)) isStalled = false
    tell(taken, exit)
  }

  const flushTogether = Effect.gen(function* () {
    const taken = yield* together.take({ entriesMax: Number.POSITIVE_INFINITY, eventsMax: projectEventsMax })
    if (taken.length === 0) return
    const exit = yield* write(taken, togetherMs)
    if (Exit.isFailure(exit) && taken.length > 1 && !Cause.hasInterrupts(exit.cause)) {
      yield* Effect.logWarning(`${taken.length} partitions go on one by one: ${reasonOf(exit.cause)}`)
      for (const entry of taken) {
        suspects.set(entry.checkpoint.partition, togetherMs)
        alone.add(entry)
      }
      return
    }
    if (Exit.isFailure(exit))
      for (const { checkpoint } of taken) suspects.set(checkpoint.partition, togetherMs)
    end(taken, exit)
  })

  const flushAlone = Effect.gen(function* () {
    const taken = yield* alone.take({ entriesMax: 1, eventsMax: projectEventsMax })
    for (const { checkpoint } of taken) {
      const patienceMs = suspects.get(checkpoint.partition) ?? togetherMs
      const exit = yield* write(taken, patienceMs)
      if (Exit.isSuccess(exit)) suspects.delete(checkpoint.partition)
      // A long way to catch up takes longer than a batch, and goes on where it was cut off.
      else suspects.set(checkpoint.partition, Math.min(patienceMs * 2, aloneMsMax))
      end(taken, exit)
    }
  })

  const written = (done: Entry["done"]) =>
    Effect.suspend(() =>
      isStalled
        ? Effect.void
        : Effect.timeoutOrElse(Effect.exit(Deferred.await(done)), {
            duration: handoverMs,
            orElse: () =>
              Effect.sync(() => {
                isStalled = true
              })
          })
    )

  for (let lane = 0; lane < projectLanes; lane++) {
    yield* Effect.forkScoped(Effect.forever(flushTogether))
    yield* Effect.forkScoped(Effect.forever(flushAlone))
  }

  return {
    /**
     * Ends when the batch it was put into is written; `onWritten`, which must not throw, is called then even if nobody
     * waits any more. Who is interrupted withdraws what is not under way, and waits for the rest at most `handoverMs`.
     */
    project: (rows: ReadonlyArray<StoredEvent>, checkpoint: Checkpoint, onWritten: () => void) =>
      Effect.suspend(() => {
        const done = Deferred.makeUnsafe<ProjectionResult, StoreUnavailable>()
        const entry: Entry = { rows, checkpoint, onWritten, done }
        const line = suspects.has(checkpoint.partition) ? alone : together
        line.add(entry)
        return Effect.onInterrupt(Deferred.await(done), () =>
          together.withdraw(entry) || alone.withdraw(entry) ? Effect.void : written(done)
        )
      })
  }
})

/** Each partition's fiber ends of a failure, and begins again by itself; a lane that is stopped leaves nobody waiting. */
const tell = (taken: ReadonlyArray<Entry>, exit: Exit.Exit<ProjectionResult, StoreUnavailable>): void => {
  const told =
    Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause) ? Exit.die("the projectors stop") : exit
  for (const [index, { checkpoint, onWritten, done }] of taken.entries()) {
    if (Exit.isSuccess(exit)) onWritten()
    Deferred.doneUnsafe(
      done,
      Exit.map(told, (all) => shareOf(all, checkpoint.partition, index === 0))
    )
  }
}

/** Entries in the order in which they came. */
const makeLine = () => {
  const wake = Latch.makeUnsafe(false)
  let waiting: Array<Entry> = []
  const keep = (entries: Array<Entry>): void => {
    waiting = entries
    if (waiting.length === 0) wake.closeUnsafe()
  }
  return {
    add: (entry: Entry): void => {
      waiting.push(entry)
      wake.openUnsafe()
    },
    /** At least one, and about so many events; none where another lane was faster. */
    take: ({ entriesMax, eventsMax }: { readonly entriesMax: number; readonly eventsMax: number }) =>
      wake.await.pipe(
        // The partitions of one commit arrive together: each fiber gets its turn to say what it has.
        Effect.andThen(Effect.yieldNow),
        Effect.map((): ReadonlyArray<Entry> => {
          let events = 0
          const end = waiting.findIndex((entry, index) => {
            events += entry.rows.length
            return index >= entriesMax || (index > 0 && events > eventsMax)
          })
          const taken = end === -1 ? waiting : waiting.slice(0, end)
          keep(end === -1 ? [] : waiting.slice(end))
          return taken
        })
      ),
    /** True if it was still there. */
    withdraw: (entry: Entry): boolean => {
      const left = waiting.filter((one) => one !== entry)
      const wasThere = left.length < waiting.length
      keep(left)
      return wasThere
    }
  }
}

/** The first partition of a batch tells what cannot be told apart. */
const shareOf = (all: ProjectionResult, partition: number, isFirst: boolean): ProjectionResult => {
  const own = all.byPartition.get(partition) ?? 0
  if (!isFirst) return { events: own, byPartition: new Map(), repeats: 0, gaps: 0, faulty: 0 }
  const came = all.byPartition.values().reduce((sum, events) => sum + events, 0)
  return { ...all, events: all.events - came + own }
}
