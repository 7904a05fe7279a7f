/** The writers' tails enter; what of them the read model lacks is loaded from the log: the net under the bus. */
import { Clock, Context, Effect, Layer, Semaphore } from "effect"
import type { AccountId, Version } from "../domain/Ids.ts"
import type { Position } from "../domain/Receipt.ts"
import { type CommitRow, EventStore, type StoreUnavailable, type WriterRow } from "../infra/EventStore.ts"
import { LedgerConfig } from "../infra/LedgerConfig.ts"
import { ReadModel } from "../infra/ReadModel.ts"
import { ReadSideConfig } from "../infra/ReadSideConfig.ts"
import { Bookkeeping } from "./Bookkeeping.ts"
import { reasonOf, supervise } from "./Supervisor.ts"

export interface SweepReport {
  /** Commits that were found in the read model, or brought there. */
  readonly commits: number
  /** Events that the bus had not brought. */
  readonly loaded: number
  /** Accounts that are behind still; 0 when the read model has all that was in the log when the sweep began. */
  readonly behind: number
}

export interface SweepStatus {
  /** Sweeps that came to their end. */
  readonly sweeps: number
  readonly loaded: number
  readonly lastError: string | undefined
}

export class Sweep extends Context.Service<
  Sweep,
  {
    /** One sweep now over all commits, however young. With `load` false it only looks. */
    readonly sweep: (options: { readonly load: boolean }) => Effect.Effect<SweepReport, StoreUnavailable>
    readonly statusUnsafe: () => SweepStatus
  }
>()("chronicle/actors/Sweep") {
  static readonly layer = Layer.effect(
    Sweep,
    Effect.suspend(() => makeSweep)
  )
}

/** Positions of one question to the read model. */
const positionsMax = 5_000

const makeSweep = Effect.gen(function* () {
  const store = yield* EventStore
  const readModel = yield* ReadModel
  const bookkeeping = yield* Bookkeeping
  const { sweepMs } = yield* LedgerConfig
  const { sweepGraceMs, sweepCommitsMax } = yield* ReadSideConfig
  const oneAtATime = yield* Semaphore.make(1)
  const status: { -readonly [Key in keyof SweepStatus]: SweepStatus[Key] } = {
    sweeps: 0,
    loaded: 0,
    lastError: undefined
  }

  const behindOf = Effect.fnUntraced(function* (rows: ReadonlyArray<CommitRow>) {
    const behind: Array<AccountId> = []
    const positions = latestOf(rows)
    for (let start = 0; start < positions.length; start += positionsMax) {
      const found = yield* readModel.behind(positions.slice(start, start + positionsMax))
      behind.push(...found.map((position) => position.account))
    }
    return behind
  })

  /** Follows one writer from where it was swept to; stops at the first commit that is too young, or is behind. */
  const sweepWriter = Effect.fnUntraced(function* (
    { writerId, lastSeq }: WriterRow,
    swept: number,
    options: { readonly youngest: number; readonly load: boolean }
  ) {
    let report: SweepReport = { commits: 0, loaded: 0, behind: 0 }
    let from = swept
    while (from < lastSeq) {
      const tail = yield* store.readTail({ writerId, after: from, limit: sweepCommitsMax })
      const young = tail.findIndex((row) => row.recordedAt > options.youngest)
      const rows = young === -1 ? tail : tail.slice(0, young)
      const to = rows.at(-1)?.seq
      if (to === undefined) return report
      const behind = yield* behindOf(rows)
      if (behind.length > 0 && !options.load) return { ...report, behind: behind.length }
      const loaded = behind.length === 0 ? 0 : yield* bookkeeping.catchUp(behind)
      yield* readModel.moveSwept(writerId, from, to)
      report = { ...report, commits: report.commits + rows.length, loaded: report.loaded + loaded }
      from = to
    }
    return report
  })

  const sweepAll = Effect.fnUntraced(function* (options: {
    readonly youngest: number
    readonly load: boolean
  }) {
    yield* bookkeeping.refreshParked
    // The cursors are asked for anew each time: they begin again at 0 when the read model was lost.
    const writers = yield* store.listWriters
    const swept = yield* readModel.swept
    let sum: SweepReport = { commits: 0, loaded: 0, behind: 0 }
    for (const writer of writers) {
      const report = yield* sweepWriter(writer, swept.get(writer.writerId) ?? 0, options)
      sum = {
        commits: sum.commits + report.commits,
        loaded: sum.loaded + report.loaded,
        behind: sum.behind + report.behind
      }
    }
    status.loaded += sum.loaded
    return sum
  }, oneAtATime.withPermit)

  const regular = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const { loaded } = yield* sweepAll({ youngest: now - sweepGraceMs, load: true })
    status.sweeps++
    status.lastError = undefined
    if (loaded > 0)
      yield* Effect.logInfo(`sweep: ${loaded} events came from the log, the bus had not brought them`)
  })

  yield* supervise(
    (alive) => regular.pipe(Effect.map(alive), Effect.delay(sweepMs), Effect.forever),
    (cause) =>
      Effect.suspend(() => {
        const reason = reasonOf(cause)
        const isNews = reason !== status.lastError
        status.lastError = reason
        return isNews ? Effect.logWarning(`sweep: ${reason}`) : Effect.void
      })
  ).pipe(Effect.forkScoped)

  return {
    sweep: ({ load }) => sweepAll({ youngest: Number.MAX_SAFE_INTEGER, load }),
    statusUnsafe: () => ({ ...status })
  } satisfies Sweep["Service"]
})

/** The last version of each account in these commits. */
const latestOf = (rows: ReadonlyArray<CommitRow>): ReadonlyArray<Position> => {
  const latest = new Map<AccountId, Version>()
  for (const { keys } of rows) {
    for (const [account, , last] of keys) latest.set(account, Math.max(last, latest.get(account) ?? 0))
  }
  return [...latest].map(([account, version]) => ({ account, version }))
}
