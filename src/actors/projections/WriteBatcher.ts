/**
 * Group commit of the read side. A commit touches many partitions, and one transaction for each of them would be all
 * that the database has to do; so a free lane takes whatever is waiting, of any partitions, and writes it as one
 * batch, and the busier the larger. Partitions share no account, so that lanes never conflict. At low rates, where a lane
 * is always free, it waits until the oldest event has used up its budget of lag, unless a query waits for what is there.
 *
 * Where such a batch fails, or is not written within `togetherMs`, one of its partitions may be the reason. Each of
 * them is isolated: written alone, on lanes of their own, until that succeeded once. So a partition that hangs holds
 * up the others for `togetherMs` and no longer. Where rows are missing before some of a batch, these are read from the log once it is
 * written, which has as much time again; a log that is slow isolates the partitions that lack something, and those alone.
 */
import { Cause, Clock, Deferred, Effect, Exit, Latch, Semaphore } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeHurriedPause, type ProjectedSignal } from "../../infra/readmodel/ProjectionWaiters.ts"
import type { Checkpoint } from "../../infra/readmodel/ReadModel.ts"
import { reasonOf } from "../relay/Supervisor.ts"
import type { ProjectionEngine, ProjectionResult, WrittenFirst } from "./ProjectionEngine.ts"

type Waiters = Pick<ProjectedSignal["Service"], "isAwaitedUnsafe" | "onJoinUnsafe">

interface Entry {
  readonly rows: ReadonlyArray<StoredEvent>
  readonly checkpoint: Checkpoint
  readonly onWritten: () => void
  readonly done: Deferred.Deferred<ProjectionResult, StoreUnavailable>
}

type Written = Exit.Exit<ProjectionResult, StoreUnavailable>

interface Attempt {
  readonly exit: Written
  /** The rows are written, also where what is missing before some of them could not be read from the log. */
  readonly first: WrittenFirst | undefined
}

/** Writes entries as one batch, in time or not at all. What has to be read from the log then has as much time once more. */
const makeWrite =
  (engine: Pick<ProjectionEngine["Service"], "project">) =>
  (entries: ReadonlyArray<Entry>, patienceMs: number): Effect.Effect<Attempt> =>
    Effect.suspend(() => {
      const isWritten = Latch.makeUnsafe(false)
      let first: WrittenFirst | undefined
      // Made where it is needed: an error takes its trace of the stack with it, and most writes are in time.
      const tooLate = (what: string) =>
        Effect.suspend(() =>
          Effect.fail(
            new StoreUnavailable({ store: "read model", reason: `${what} within ${patienceMs} ms` })
          )
        )
      const patience = Effect.timeoutOrElse(isWritten.await, {
        duration: patienceMs,
        orElse: () => tooLate("nothing was written")
      }).pipe(
        Effect.andThen(Effect.sleep(patienceMs)),
        Effect.andThen(tooLate("what the bus had not brought was not read from the log and written"))
      )
      return engine
        .project(
          entries.flatMap((entry) => entry.rows),
          entries.map((entry) => entry.checkpoint),
          (written) => {
            first = written
            isWritten.openUnsafe()
          }
        )
        .pipe(
          Effect.raceFirst(patience),
          Effect.exit,
          Effect.map((exit) => ({ exit, first }))
        )
    })

/** Waits, from the first entry on, for as long as the oldest of what waits may still become older. */
const makePacing = Effect.fnUntraced(function* (queue: EntryQueue, waiters: Waiters) {
  const { lagBudgetMs, projectEventsMax } = yield* ReadSideConfig
  const clock = yield* Clock.Clock
  const oneAtATime = yield* Semaphore.make(1)
  const { pause } = yield* makeHurriedPause(waiters)

  const gather = Effect.gen(function* () {
    yield* queue.awaitSome
    const { recordedAt, events } = queue.oldestUnsafe()
    const restMs = recordedAt + lagBudgetMs - clock.currentTimeMillisUnsafe()
    if (restMs <= 0 || events >= projectEventsMax) return
    // A clock that was set back must not make it wait for longer than the budget.
    yield* pause(Math.min(restMs, lagBudgetMs), queue.awaitFull(projectEventsMax))
  })
  /** Takes in the same turn, so that the next lane does not wait for what this one has taken. */
  return oneAtATime.withPermit(
    Effect.andThen(gather, queue.take({ entriesMax: Number.POSITIVE_INFINITY, eventsMax: projectEventsMax }))
  )
})

/** Those of the entries that are not done: all of them, unless only what was missing before the rows of some is. */
const unfinishedOf = (taken: ReadonlyArray<Entry>, first: WrittenFirst | undefined): ReadonlyArray<Entry> => {
  const left = taken.filter(({ checkpoint }) => first?.unfinished.has(checkpoint.partition) ?? true)
  return left.length === 0 ? taken : left
}

/** Runs the lanes in the scope: those that write what is waiting together, and those that write it alone. */
const runLanes = Effect.fnUntraced(function* (
  engine: Pick<ProjectionEngine["Service"], "project">,
  queues: { readonly shared: EntryQueue; readonly alone: EntryQueue },
  /** Partitions that are written alone, and how long each write of theirs may take. */
  isolated: Map<number, number>,
  waiters: Waiters,
  complete: (taken: ReadonlyArray<Entry>, exit: Written) => void
) {
  const { projectEventsMax, projectLanes, togetherMs, aloneMsMax } = yield* ReadSideConfig
  const { shared, alone } = queues
  const write = makeWrite(engine)

  const takePaced = yield* makePacing(shared, waiters)

  const flushShared = Effect.gen(function* () {
    const taken = yield* takePaced
    if (taken.length === 0) return
    const { exit, first } = yield* write(taken, togetherMs)
    if (Exit.isSuccess(exit)) return complete(taken, exit)
    const left = unfinishedOf(taken, first)
    for (const { checkpoint } of left) isolated.set(checkpoint.partition, togetherMs)
    if (taken.length === 1 || Cause.hasInterrupts(exit.cause)) return complete(taken, exit)
    yield* Effect.logWarning(
      `of a batch of ${taken.length} partitions ${left.length} were not written, each of them is tried alone: ${reasonOf(exit.cause)}`
    )
    if (first !== undefined)
      complete(
        taken.filter((entry) => !left.includes(entry)),
        Exit.succeed(first.result)
      )
    for (const entry of left) alone.add(entry)
  })

  const flushAlone = Effect.gen(function* () {
    const taken = yield* alone.take({ entriesMax: 1, eventsMax: projectEventsMax })
    for (const { checkpoint } of taken) {
      const patienceMs = isolated.get(checkpoint.partition) ?? togetherMs
      const { exit } = yield* write(taken, patienceMs)
      if (Exit.isSuccess(exit)) isolated.delete(checkpoint.partition)
      // A partition that is far behind needs longer than one batch, and goes on where it was cut off.
      else isolated.set(checkpoint.partition, Math.min(patienceMs * 2, aloneMsMax))
      complete(taken, exit)
    }
  })

  for (let lane = 0; lane < projectLanes; lane++) {
    yield* Effect.forkScoped(Effect.forever(flushShared))
    yield* Effect.forkScoped(Effect.forever(flushAlone))
  }
})

/** Runs in the scope. */
export const makeWriteBatcher = Effect.fnUntraced(function* (
  engine: Pick<ProjectionEngine["Service"], "project">,
  waiters: Waiters
) {
  const { handoverMs } = yield* ReadSideConfig
  const [shared, alone] = [makeEntryQueue(), makeEntryQueue()]
  const isolated = new Map<number, number>()
  /** A fiber that was interrupted waited for its write in vain: the others that end need not wait, one by one. */
  let isStalled = false

  yield* runLanes(engine, { shared, alone }, isolated, waiters, (taken, exit) => {
    if (Exit.isSuccess(exit)) isStalled = false
    answerAll(taken, exit)
  })

  const awaitWrite = (done: Entry["done"]) =>
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

  return {
    /**
     * Ends when the batch with these rows is written. `onWritten`, which must not throw, is called then, even if the
     * caller no longer waits. An interrupted caller withdraws its rows where their write has not begun, and waits for
     * it at most `handoverMs` where it has.
     */
    project: (rows: ReadonlyArray<StoredEvent>, checkpoint: Checkpoint, onWritten: () => void) =>
      Effect.suspend(() => {
        const done = Deferred.makeUnsafe<ProjectionResult, StoreUnavailable>()
        const entry: Entry = { rows, checkpoint, onWritten, done }
        const queue = isolated.has(checkpoint.partition) ? alone : shared
        queue.add(entry)
        return Effect.onInterrupt(Deferred.await(done), () =>
          shared.withdraw(entry) || alone.withdraw(entry) ? Effect.void : awaitWrite(done)
        )
      })
  }
})

export type WriteBatcher = Effect.Success<ReturnType<typeof makeWriteBatcher>>

/**
 * Answers the fiber of each partition. A failure ends it, and its supervisor starts it again; when a lane is
 * interrupted, its callers get a defect instead of the interruption, or they would wait for ever.
 */
const answerAll = (taken: ReadonlyArray<Entry>, exit: Written): void => {
  const answer =
    Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause) ? Exit.die("the projectors stop") : exit
  for (const [index, { checkpoint, onWritten, done }] of taken.entries()) {
    if (Exit.isSuccess(exit)) onWritten()
    Deferred.doneUnsafe(
      done,
      Exit.map(answer, (all) => shareOf(all, checkpoint.partition, index === 0))
    )
  }
}

/** Entries in order of arrival; unlike a `Queue`, it can be taken from by size and withdrawn from. */
const makeEntryQueue = () => {
  const wake = Latch.makeUnsafe(false)
  const full = Latch.makeUnsafe(false)
  let waiting: Array<Entry> = []
  let fullAt = Number.POSITIVE_INFINITY
  const eventsWaiting = () => waiting.reduce((sum, { rows }) => sum + rows.length, 0)
  const keep = (entries: Array<Entry>): void => {
    waiting = entries
    if (waiting.length === 0) wake.closeUnsafe()
  }
  return {
    add: (entry: Entry): void => {
      waiting.push(entry)
      wake.openUnsafe()
      if (eventsWaiting() >= fullAt) full.openUnsafe()
    },
    awaitSome: wake.await,
    /** Completes once so many events wait. */
    awaitFull: (events: number) =>
      Effect.suspend(() => {
        fullAt = events
        full.closeUnsafe()
        return full.await
      }),
    /** Of what waits: when the oldest event was recorded, and how many there are. */
    oldestUnsafe: () => ({
      recordedAt: waiting.reduce(
        (oldest, { rows }) => Math.min(oldest, rows[0]?.recordedAt ?? Number.NEGATIVE_INFINITY),
        Number.POSITIVE_INFINITY
      ),
      events: eventsWaiting()
    }),
    /** At least one entry, and about so many events; none where another lane was faster. */
    take: ({ entriesMax, eventsMax }: { readonly entriesMax: number; readonly eventsMax: number }) =>
      wake.await.pipe(
        // The partitions of one commit arrive in the same turn of the event loop: each fiber may add its rows first.
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
    /** True if the entry was still waiting. */
    withdraw: (entry: Entry): boolean => {
      const left = waiting.filter((one) => one !== entry)
      const wasThere = left.length < waiting.length
      keep(left)
      return wasThere
    }
  }
}

type EntryQueue = ReturnType<typeof makeEntryQueue>

/** What cannot be told apart by partition is counted for the first one of the batch. */
const shareOf = (all: ProjectionResult, partition: number, isFirst: boolean): ProjectionResult => {
  const own = all.byPartition.get(partition) ?? 0
  if (!isFirst) return { events: own, byPartition: new Map(), repeats: 0, gaps: 0, faulty: 0 }
  const brought = all.byPartition.values().reduce((sum, events) => sum + events, 0)
  return { ...all, events: all.events - brought + own }
}
