/**
 * The net under the bus: follows the tail of every writer in the log, and loads what of it the projection lacks and
 * the bus will not bring any more. Runs beside the projectors, on one node of a cluster.
 */
import { Cause, Clock, Effect, Result, Semaphore } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import {
  EventStore,
  type FinishedWriter,
  StoreUnavailable,
  type WriterId,
  type WriterRow
} from "../../infra/eventstore/EventStore.ts"
import { type CheckpointAt, type ProjectionModel, sweptFinished } from "../../infra/readmodel/ReadModel.ts"
import { makeSilentWriters } from "../commit/SilentWriters.ts"
import { reasonOf, supervise, toldOf } from "../relay/Supervisor.ts"
import { orUnreadable } from "../relay/TailReader.ts"
import type { ProjectionEngine } from "./ProjectionEngine.ts"
import { noReconcileCounts, type ProjectionHealth, type ReconcileCounts } from "./ProjectionHealth.ts"
import { finishedAtOnce, type LagSum, type Missing, makeLag, missingIn } from "./ProjectionLag.ts"
import { RecordedBeyond } from "./RecordedBeyond.ts"

export interface ReconcileReport {
  /** Commits that were found in the read model, or brought there. */
  readonly commits: number
  /** Events that the bus had not brought. */
  readonly loaded: number
  /** Accounts that are still behind; 0 when the read model has all that was in the log when the round began, and could be read there. */
  readonly behind: number
}

const nothing: ReconcileReport = { commits: 0, loaded: 0, behind: 0 }

const isNothing = ({ commits, loaded, behind }: ReconcileReport): boolean => commits + loaded + behind === 0

const added = (a: ReconcileReport, b: ReconcileReport): ReconcileReport => ({
  commits: a.commits + b.commits,
  loaded: a.loaded + b.loaded,
  behind: a.behind + b.behind
})

/** What became of one tail, or of several. */
interface Followed {
  readonly report: ReconcileReport
  /** The projection has all of it. */
  readonly isComplete: boolean
}

const joined = (a: Followed, b: Followed): Followed => ({
  report: added(a.report, b.report),
  isComplete: a.isComplete && b.isComplete
})

/** What one round does about missing events: nothing, load all of them, or load what the bus will not bring any more. */
type Loads = "nothing" | "everything" | "lost"

type TailEnd = Pick<WriterRow, "writerId" | "lastSeq">

interface Round {
  /** Up to where each tail is known to be in the projection. */
  readonly swept: ReadonlyMap<WriterId, number>
  /**
   * Of the tables that the tails are held against. An account that is parked in them lacks nothing, as far as a round goes; in those that a
   * rebuild exchanges for them it may not be parked, and lack what was recorded last.
   */
  readonly generation: number
  /** Commits recorded later are left to the bus. */
  readonly youngest: Instant
  /** Asked for before anything is found missing, so that it knows no more of the bus than that. */
  readonly isLost: Effect.Effect<(missing: Missing) => boolean, StoreUnavailable>
  readonly lag: LagSum
}

/** Rounds in `sweepMs`: an event that the bus lost waits for its grace and one round, and is there within `sweepMs`. */
export const roundsASweep = 4

/** The reconciler of one projection; `regularly` never ends, and calls `onRound` after each round. */
export const makeReconcileTails = Effect.fnUntraced(function* (
  name: string,
  model: ProjectionModel,
  engine: ProjectionEngine["Service"],
  health: ProjectionHealth["Service"],
  onRound: (counts: ReconcileCounts) => void = () => {}
) {
  const pauseMs = (yield* LedgerConfig).sweepMs / roundsASweep
  const { sweepGraceMs } = yield* ReadSideConfig
  const clock = yield* Clock.Clock
  const walk = yield* makeHeadWalk(model, engine)
  const counts = noReconcileCounts()
  const round = yield* makeRound(model, engine, health, walk, counts)

  const regularRound = Effect.gen(function* () {
    const { report, isQuiet, now, askedAtMs } = yield* round("lost")
    yield* walk.step
    counts.sweeps++
    counts.sweptElapsedMs = elapsedMsUnsafe(clock)
    counts.sweptAt = now + Math.round(counts.sweptElapsedMs - askedAtMs)
    counts.lastError = undefined
    onRound(counts)
    const { loaded } = report
    if (loaded > 0)
      yield* Effect.logInfo(`${loaded} events that the bus had not brought in time were read from the log`)
    return isQuiet
  })

  const regularly = supervise(
    (alive) =>
      Effect.gen(function* () {
        let isQuiet = false
        while (true) {
          // What is recorded just after a quiet round has its grace before the next one: the bus may bring it until then anyway.
          yield* Effect.sleep(isQuiet ? pauseMs + sweepGraceMs : pauseMs)
          isQuiet = yield* regularRound
          alive()
        }
      }),
    (cause) =>
      Effect.suspend(() => {
        const reason = toldOf(cause)
        const isNews = reason !== counts.lastError
        counts.lastError = reason
        counts.restarts++
        // A read model that was away may come back with less than it had.
        if (!isOfLog(cause)) counts.completeTo = 0
        onRound(counts)
        return isNews ? Effect.logWarning(`reconciler of ${name}: ${reasonOf(cause)}`) : Effect.void
      })
  )

  return {
    /** One round now over all commits, however young. With `load` false it changes no rows. */
    sweep: ({ load }: { readonly load: boolean }) =>
      round(load ? "everything" : "nothing").pipe(
        Effect.tap(() => (load ? walk.whole : Effect.void)),
        Effect.map(({ report }) => report)
      ),
    /** The same with `load`, without comparing every account with the log; fails where a tail cannot be read to its end. */
    follow: Effect.flatMap(round("everything"), whole),
    statusUnsafe: () => ({ ...counts }),
    regularly,
    /** Another node reconciles from now on, or has until now: what it finds meanwhile is not known here. */
    forgetUnsafe: () => {
      counts.lastError = undefined
      counts.completeTo = 0
    }
  }
})

/**
 * One comparison of all tails with the projection, one at a time; what it finds goes into `counts`. It goes by the event store's clock, as
 * what is recorded does: the machine's may be off, and a node that takes no commands for that goes on to reconcile.
 */
const makeRound = Effect.fnUntraced(function* (
  model: ProjectionModel,
  engine: ProjectionEngine["Service"],
  health: ProjectionHealth["Service"],
  walk: HeadWalk,
  counts: ReconcileCounts
) {
  const store = yield* EventStore
  const { partitions, clockSkewMaxMs, heartbeatMs } = yield* LedgerConfig
  const { lostAfterMs, sweepGraceMs, writerSilentMs } = yield* ReadSideConfig
  const clock = yield* Clock.Clock
  const oneAtATime = yield* Semaphore.make(1)
  const silent = makeSilentWriters(writerSilentMs, heartbeatMs)
  const reconcileTail = yield* makeReconcileTail(model, engine, walk)
  const reconcileFinished = yield* makeReconcileFinished(model, reconcileTail)
  const beyond = new RecordedBeyond()

  const look = Effect.gen(function* () {
    const askedAtMs = elapsedMsUnsafe(clock)
    // Read before the writers: one that is not among them begins above what the store's clock says to it then. That may be
    // another clock, of another gateway or after a failover, behind this one by as much as the skew bound.
    const now = yield* store.heartbeat([])
    const unseenFrom = now - clockSkewMaxMs
    // Read anew each round: the cursors begin again at 0 when the read model was lost. And read before the writers, so
    // that a cursor which another node moves meanwhile is not beyond the end of its tail.
    const [{ generation }, swept] = [yield* model.look([]), yield* model.swept]
    return { askedAtMs, now, unseenFrom, generation, swept, writers: yield* store.listWriters }
  })

  return Effect.fnUntraced(function* (loads: Loads) {
    yield* refreshParked(engine, loads)
    const { askedAtMs, now, unseenFrom, generation, swept, writers } = yield* Effect.onError(look, () =>
      Effect.sync(silent.forgetUnsafe)
    )
    const youngest = loads === "lost" ? now - sweepGraceMs : Number.MAX_SAFE_INTEGER
    // What is complete would stop at them for ever. From the next listing on they count as fenced, with what they wrote by then.
    if (loads === "lost")
      for (const writerId of silent.look(writers, newestOf(writers))) yield* store.fenceWriter(writerId)
    beyond.note(writers, swept)
    // The projection has all of these tails, and nothing can be missing.
    const isQuiet = writers.every(({ writerId, lastSeq }) => (swept.get(writerId) ?? 0) === lastSeq)
    const isLost = yield* Effect.cached(
      loads === "lost"
        ? Effect.map(model.checkpoints, (checkpoints) => lostFrom(checkpoints, { lostAfterMs, partitions }))
        : Effect.succeed(() => loads === "everything")
    )
    const lag = makeLag(now, partitions)
    const round = { youngest, isLost, lag, generation, swept }
    let all: Followed = { report: nothing, isComplete: true }
    let completeTo = unseenFrom
    for (const writer of writers) {
      const done = yield* reconcileTail(writer, round)
      all = joined(all, done)
      if (!(writer.fenced && done.isComplete))
        completeTo = Math.min(completeTo, beyond.of(writer.writerId, done.reached))
    }
    const finished = yield* reconcileFinished(round)
    all = joined(all, finished)
    counts.loaded += all.report.loaded
    // An account that another process parked meanwhile was taken for one that lacks nothing.
    if (!(isQuiet && isNothing(finished.report))) yield* engine.refreshParked
    counts.parked = engine.parkedUnsafe()
    counts.lag = lag.total()
    const areSameTables = (yield* model.look([])).generation === generation
    counts.completeTo = finished.isComplete && areSameTables ? Math.max(0, completeTo) : 0
    for (let partition = 0; partition < partitions; partition++)
      Object.assign(health.ofUnsafe(partition), lag.of(partition))
    return { ...all, isQuiet: isQuiet && isNothing(finished.report), now, askedAtMs }
  }, oneAtATime.withPermit)
})

/** Takes over which accounts are parked; where rounds are made regularly, those are tried again for which it is time. */
const refreshParked = Effect.fnUntraced(function* (engine: ProjectionEngine["Service"], loads: Loads) {
  yield* engine.refreshParked
  if (loads === "lost") yield* engine.mendParked
})

/** Finished writers in order of their number: those whose tails are there need no cursors of their own any more. */
const makeReconcileFinished = Effect.fnUntraced(function* (
  model: ProjectionModel,
  reconcileTail: ReconcileTail
) {
  const store = yield* EventStore
  return Effect.fnUntraced(function* (round: Round) {
    let mark = round.swept.get(sweptFinished) ?? 0
    // Asked in each round: where rounds failed for long, a writer may have come, and been finished, between two listings.
    const lastSeq = yield* store.lastFinished
    if (mark > lastSeq) {
      // The store lost what it knew of them: they are listed again, and their numbers will be those of others.
      yield* model.moveSwept(sweptFinished, mark, lastSeq, round.generation)
      mark = lastSeq
    }
    let report = nothing
    while (mark < lastSeq) {
      const page = yield* store.finishedWriters({ above: mark, upTo: lastSeq, limit: finishedAtOnce })
      const there: Array<FinishedWriter> = []
      for (const [index, writer] of page.entries()) {
        const done = yield* reconcileTail(writer, round)
        report = added(report, done.report)
        if (done.isComplete && there.length === index) there.push(writer)
      }
      const isWhole = there.length === page.length
      const reached = isWhole && page.length < finishedAtOnce ? lastSeq : (there.at(-1)?.ordinal ?? mark)
      if (reached > mark) yield* model.moveSwept(sweptFinished, mark, reached, round.generation)
      if (there.length > 0)
        yield* model.forgetSwept(
          there.map(({ writerId }) => writerId),
          round.generation
        )
      if (!isWhole) {
        // Those after them are looked at once these are there; they have at least an event each.
        round.lag.estimate(lastSeq - (page.at(-1)?.ordinal ?? lastSeq))
        return { report, isComplete: false }
      }
      mark = reached
    }
    return { report, isComplete: true }
  })
})

/**
 * Compares every account's row with the log, page by page and for ever: the only way to notice rows of an account to
 * which nothing happens any more.
 */
const makeHeadWalk = Effect.fnUntraced(function* (
  model: ProjectionModel,
  engine: ProjectionEngine["Service"]
) {
  const { verifyHeadsMax } = yield* ReadSideConfig
  let after = ""
  const stepFrom = Effect.fnUntraced(function* (from: string) {
    const held = yield* model.heldHeads({ after: from, limit: verifyHeadsMax })
    yield* engine.verifyHeads(held)
    return held.length < verifyHeadsMax ? "" : (held.at(-1)?.account ?? "")
  })
  return {
    step: Effect.suspend(() =>
      Effect.map(stepFrom(after), (reached) => {
        after = reached
      })
    ),
    whole: Effect.gen(function* () {
      for (let from = yield* stepFrom(""); from !== ""; ) from = yield* stepFrom(from)
    }),
    restartUnsafe: (): void => {
      after = ""
    }
  }
})

type HeadWalk = Effect.Success<ReturnType<typeof makeHeadWalk>>

/**
 * The bus brings a partition's messages about in order: what it should have brought before the latest, or has not
 * brought although nothing else came either, is lost. The rest is only late, and loading it would double the work of
 * the projectors when they have most.
 */
const lostFrom =
  (
    checkpoints: ReadonlyMap<number, CheckpointAt>,
    { lostAfterMs, partitions }: { readonly lostAfterMs: number; readonly partitions: number }
  ) =>
  (missing: Missing): boolean => {
    const checkpoint = checkpoints.get(partitionOf(missing.account, partitions))
    return (
      checkpoint === undefined ||
      checkpoint.recordedAt >= missing.recordedAt + lostAfterMs ||
      checkpoint.quietMs >= lostAfterMs ||
      // The read model's clock was set back, and does not say for how long it has been quiet.
      checkpoint.quietMs < 0
    )
  }

type TailPlace = Parameters<EventStore["Service"]["readTail"]>[0]

/** Looks at tails, and knows where those stop that cannot be read on. */
const makeLookAtTail = Effect.fnUntraced(function* (model: ProjectionModel) {
  const store = yield* EventStore
  const unreadable = new Map<WriterId, number>()
  return {
    /** The next commits, those of them that are old enough, and what the projection lacks of these. */
    lookAt: Effect.fnUntraced(function* (at: TailPlace, youngest: Instant) {
      const tail = yield* store.readTail(at)
      const young = tail.findIndex((row) => row.recordedAt > youngest)
      const rows = young === -1 ? tail : tail.slice(0, young)
      const missing = yield* missingIn(model, rows)
      return { isLast: tail.length === 0, young, rows, missing }
    }),
    /** Told once of each: which accounts the commit has is not known, and so not that they are complete. */
    stopAt: Effect.fnUntraced(function* (writerId: WriterId, seq: number, why: string) {
      if (unreadable.get(writerId) === seq) return
      unreadable.set(writerId, seq)
      yield* Effect.logError(
        `sweep: commit ${seq} of writer ${writerId} cannot be read, so that from there on nothing is known to be complete: ${why}`
      )
    })
  }
})

/**
 * Follows one tail from its cursor; stops at the first commit that is too young, that the bus may still bring, or that cannot be read.
 * `reached` is the last commit up to which everything is there.
 */
const makeReconcileTail = Effect.fnUntraced(function* (
  model: ProjectionModel,
  engine: ProjectionEngine["Service"],
  walk: HeadWalk
) {
  const { sweepCommitsMax } = yield* ReadSideConfig
  const { lookAt, stopAt } = yield* makeLookAtTail(model)

  /** A cursor beyond the end of its tail: the store lost commits, and rows that came of them may be there. */
  const cursorOf = Effect.fnUntraced(function* (
    { writerId, lastSeq }: TailEnd,
    { generation, swept }: Round
  ) {
    const cursor = swept.get(writerId) ?? 0
    if (cursor <= lastSeq) return cursor
    yield* Effect.logError(
      `the event store lost commits ${lastSeq + 1} to ${cursor} of writer ${writerId}, which were projected: ` +
        "every account is compared with the log, and reloaded where its rows are not in it"
    )
    yield* model.moveSwept(writerId, cursor, lastSeq, generation)
    walk.restartUnsafe()
    return lastSeq
  })

  return Effect.fnUntraced(function* (end: TailEnd, round: Round) {
    const { writerId, lastSeq } = end
    let report = nothing
    let from = yield* cursorOf(end, round)
    if (from >= lastSeq) return { report, reached: from, isComplete: true }
    const isLost = yield* round.isLost
    /** One alone after a failure, and twice as many after each success. */
    let limit = sweepCommitsMax
    while (from < lastSeq) {
      const looked = yield* orUnreadable(lookAt({ writerId, after: from, limit }, round.youngest))
      if (Result.isFailure(looked)) {
        if (limit === 1) {
          yield* stopAt(writerId, from + 1, looked.failure)
          return { report, reached: from, isComplete: false }
        }
        limit = 1
        continue
      }
      limit = Math.min(sweepCommitsMax, limit * 2)
      const { isLast, young, rows, missing } = looked.success
      const to = rows.at(-1)?.seq
      if (to === undefined) return { report, reached: from, isComplete: isLast }
      const lost = missing.filter(isLost)
      const loaded = lost.length === 0 ? 0 : yield* engine.catchUp(lost.map(({ account }) => account))
      report = { ...report, loaded: report.loaded + loaded }
      if (lost.length < missing.length) {
        round.lag.add(missing.filter((one) => !isLost(one)))
        // Later commits come in the same order: their number of events is estimated by that of these.
        const eventsACommit = rows.reduce((sum, row) => sum + row.rows, 0) / rows.length
        if (young === -1) round.lag.estimate(eventsACommit * (lastSeq - to))
        report = { ...report, behind: missing.length - lost.length }
        return { report, reached: from, isComplete: false }
      }
      yield* model.moveSwept(writerId, from, to, round.generation)
      report = { ...report, commits: report.commits + rows.length }
      from = to
    }
    return { report, reached: from, isComplete: true }
  })
})

type ReconcileTail = Effect.Success<ReturnType<typeof makeReconcileTail>>

/** What a round did that loads everything, unless a tail stopped: tables that lack what stands behind may not take the place of others. */
const whole = ({ report, isComplete }: Followed) =>
  isComplete
    ? Effect.succeed(report)
    : new StoreUnavailable({
        store: "event store",
        reason: "the row of a commit cannot be read, and what it and those behind it brought is not known"
      })

/** The log could not be read, which says nothing of the read model. */
const isOfLog = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.squash(cause)
  return error instanceof StoreUnavailable && error.store === "event store"
}

/** When the last of the writers gave a sign of life. Where all of them are silent, none is called so. */
const newestOf = (writers: ReadonlyArray<WriterRow>): Instant =>
  writers.reduce((latest, row) => Math.max(latest, row.heartbeatAt), 0)
