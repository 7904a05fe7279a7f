/** The writers' tails enter; what of them the read model lacks is loaded from the log: the net under the bus. */
import { Clock, Effect, Semaphore } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import type { CheckpointAt, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"
import { reasonOf, supervise } from "../relay/Supervisor.ts"
import type { ProjectionEngine } from "./ProjectionEngine.ts"
import type { ProjectionHealth } from "./ProjectionHealth.ts"
import { type Lag, type Missing, makeLag, missingIn } from "./ProjectionLag.ts"

export interface ReconcileReport {
  /** Commits that were found in the read model, or brought there. */
  readonly commits: number
  /** Events that the bus had not brought. */
  readonly loaded: number
  /** Accounts that are behind still; 0 when the read model has all that was in the log when the sweep began. */
  readonly behind: number
}

/** What this node's sweep went through. */
export interface ReconcileCounts {
  /** Sweeps that came to their end, and when the last one did (0: none yet). */
  sweeps: number
  sweptAt: Instant
  loaded: number
  /** What the last sweep found to be waiting for the bus to bring it. */
  lag: Lag
  /** What was recorded before then is in the read model, but for parked accounts; 0: not known. */
  completeTo: Instant
  /** Accounts that are parked. */
  parked: number
  lastError: string | undefined
  restarts: number
}

/** What is loaded: nothing, everything that is missing, or what the bus will not bring any more. */
type Loads = "nothing" | "everything" | "lost"

export interface Swept {
  readonly model: ProjectionModel
  readonly bookkeeping: ProjectionEngine["Service"]
  readonly health: ProjectionHealth["Service"]
}

/** So many looks in `sweepMs`: what is lost waits for its grace and one of them, and is there within the interval. */
const looksASweep = 4

/** The sweep of one projection; `regularly` never ends, and tells after each sweep what was found. */
export const makeReconcileTails = Effect.fnUntraced(function* (
  { model, bookkeeping, health }: Swept,
  tell: (status: ReconcileCounts) => void = () => {}
) {
  const store = yield* EventStore
  const { sweepMs, partitions } = yield* LedgerConfig
  const { sweepGraceMs, lostAfterMs, sweepCommitsMax, writerSilentMs } = yield* ReadSideConfig
  const oneAtATime = yield* Semaphore.make(1)
  const status: ReconcileCounts = {
    sweeps: 0,
    sweptAt: 0,
    loaded: 0,
    lag: { events: 0, ms: 0, isExact: true },
    completeTo: 0,
    parked: 0,
    lastError: undefined,
    restarts: 0
  }

  /**
   * The bus brings a partition's messages about in order: what it should have brought before the latest, or has not
   * brought though nothing else came, is lost. The rest is only late, and loading it would double the work of the
   * projectors when they have most.
   */
  const isLost = (checkpoints: ReadonlyMap<number, CheckpointAt>, now: Instant) => (missing: Missing) => {
    const checkpoint = checkpoints.get(partitionOf(missing.account, partitions))
    return (
      checkpoint === undefined ||
      checkpoint.recordedAt >= missing.recordedAt + lostAfterMs ||
      now - checkpoint.updatedAt >= lostAfterMs
    )
  }

  /** Follows one writer from where it was swept to; stops at the first commit that is too young, or must wait. */
  const sweepWriter = Effect.fnUntraced(function* (
    { writerId, lastSeq }: WriterRow,
    swept: number,
    options: {
      readonly youngest: number
      readonly isLost: (missing: Missing) => boolean
      readonly lag: Lagging
    }
  ) {
    let report: ReconcileReport = { commits: 0, loaded: 0, behind: 0 }
    let from = swept
    while (from < lastSeq) {
      const tail = yield* store.readTail({ writerId, after: from, limit: sweepCommitsMax })
      const young = tail.findIndex((row) => row.recordedAt > options.youngest)
      const rows = young === -1 ? tail : tail.slice(0, young)
      const to = rows.at(-1)?.seq
      if (to === undefined) return report
      const missing = yield* missingIn(model, rows)
      const lost = missing.filter(options.isLost)
      const loaded = lost.length === 0 ? 0 : yield* bookkeeping.catchUp(lost.map(({ account }) => account))
      report = { ...report, loaded: report.loaded + loaded }
      if (lost.length < missing.length) {
        options.lag.add(missing.filter((one) => !lost.includes(one)))
        // Those after it are in the same order on the bus: how many they are is told by how many these are.
        options.lag.guess(
          young === -1 ? (rows.reduce((sum, row) => sum + row.rows, 0) / rows.length) * (lastSeq - to) : 0
        )
        return { ...report, behind: missing.length - lost.length }
      }
      yield* model.moveSwept(writerId, from, to)
      report = { ...report, commits: report.commits + rows.length }
      from = to
    }
    return report
  })

  const sweepAll = Effect.fnUntraced(function* (options: {
    readonly youngest: number
    readonly loads: Loads
  }) {
    yield* bookkeeping.refreshParked
    const began = yield* Clock.currentTimeMillis
    // The cursors are asked for anew each time: they begin again at 0 when the read model was lost.
    const writers = yield* store.listWriters
    const swept = yield* model.swept
    const now = yield* Clock.currentTimeMillis
    const lost =
      options.loads === "lost" ? isLost(yield* model.checkpoints, now) : () => options.loads === "everything"
    const lag = makeLag(now, partitions)
    let sum: ReconcileReport = { commits: 0, loaded: 0, behind: 0 }
    for (const writer of writers) {
      const from = swept.get(writer.writerId) ?? 0
      const report = yield* sweepWriter(writer, from, { youngest: options.youngest, isLost: lost, lag })
      sum = {
        commits: sum.commits + report.commits,
        loaded: sum.loaded + report.loaded,
        behind: sum.behind + report.behind
      }
    }
    status.loaded += sum.loaded
    status.parked = (yield* model.parked).length
    status.lag = lag.total()
    const oldestMissing = status.lag.events > 0 ? now - status.lag.ms : now
    status.completeTo = Math.max(
      0,
      Math.min(began, options.youngest + 1, oldestMissing, closedTo(writers, writerSilentMs))
    )
    for (let partition = 0; partition < partitions; partition++) {
      Object.assign(health.ofUnsafe(partition), lag.of(partition))
    }
    return sum
  }, oneAtATime.withPermit)

  const regular = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const { loaded } = yield* sweepAll({ youngest: now - sweepGraceMs, loads: "lost" })
    status.sweeps++
    status.sweptAt = yield* Clock.currentTimeMillis
    status.lastError = undefined
    tell(status)
    if (loaded > 0)
      yield* Effect.logInfo(`sweep: ${loaded} events came from the log, the bus had not brought them`)
  })

  const regularly = supervise(
    (alive) => regular.pipe(Effect.map(alive), Effect.delay(sweepMs / looksASweep), Effect.forever),
    (cause) =>
      Effect.suspend(() => {
        const reason = reasonOf(cause)
        const isNews = reason !== status.lastError
        status.lastError = reason
        status.restarts++
        tell(status)
        return isNews ? Effect.logWarning(`sweep: ${reason}`) : Effect.void
      })
  )

  return {
    sweep: ({ load }: { readonly load: boolean }) =>
      sweepAll({ youngest: Number.MAX_SAFE_INTEGER, loads: load ? "everything" : "nothing" }),
    statusUnsafe: () => ({ ...status }),
    regularly,
    /** Somebody else sweeps from now on. */
    forgetUnsafe: () => {
      status.lastError = undefined
    }
  }
})

/** None of those that live can still commit what is recorded before then; the dead are left to the relays. */
const closedTo = (writers: ReadonlyArray<WriterRow>, silentMs: number): Instant => {
  const newest = writers.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
  return writers.reduce(
    (least, row) =>
      row.fenced || newest - row.heartbeatAt > silentMs ? least : Math.min(least, row.closedAt + 1),
    Number.MAX_SAFE_INTEGER
  )
}

type Lagging = ReturnType<typeof makeLag>
