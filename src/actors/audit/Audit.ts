/** The stores of a live ledger enter; which invariants hold, and the rows that break them, leave. */
import { Context, Effect, Layer } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { EventStore, type StoreUnavailable, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import { Snapshots } from "../../infra/eventstore/Snapshots.ts"
import { type Parked, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import type { FrozenBooks } from "../../infra/readmodel/ReadModelFrozen.ts"
import { checkTransfers, makeContraSums } from "./AuditBooks.ts"
import type { TailPart } from "./AuditCommits.ts"
import { AuditConfig } from "./AuditConfig.ts"
import { makeCursor } from "./AuditCursor.ts"
import { type Finding, Findings, type Invariant } from "./AuditFindings.ts"
import type { Run, Tally } from "./AuditRun.ts"
import { type AuditProgress, startOf, walkAll } from "./AuditSlices.ts"

export type { Finding, Invariant } from "./AuditFindings.ts"
export type { AuditProgress } from "./AuditSlices.ts"

export interface AuditReport {
  readonly accounts: number
  readonly events: number
  readonly commits: number
  readonly snapshots: number
  /** Accounts that the projection has not caught up with; lag is no fault. */
  readonly behind: number
  /** Accounts that the projection has given up on for now, at most a hundred of them; no fault of the rows. */
  readonly parked: ReadonlyArray<Parked>
  readonly invariants: Readonly<Record<Invariant, boolean>>
  /** The root causes first; at most twenty of a kind. */
  readonly findings: ReadonlyArray<Finding>
  readonly findingsTotal: number
  readonly ok: boolean
}

export interface AuditOptions {
  /** This one account alone, with its counter-legs; sums over the ledger are left out. */
  readonly account?: AccountId
  readonly onProgress?: (progress: AuditProgress) => void
}

const parkedMax = 100

/**
 * Checks I1-I5 and I8 in one walk, beside running nodes and without any, in bounded memory. Rows of the log are
 * never changed, so whatever is read is final, and four orderings make false alarms impossible:
 * the read model is frozen first, so all it holds is in the log; then the writers' ends are noted, so all that
 * commits list up to there must be met by the walk; then the log is walked; then commits since are read, so all
 * that was met must be listed. A commit holds whole commands, so the sums over listed events are exact.
 *
 * What a tamperer with full access to the databases can do unseen: nothing to one row alone. Who changes a row
 * and recomputes its hash breaks the next row; who recomputes the whole rest of an account is found by the
 * counter-legs on other accounts (amount, command, times and places of transfers and journals), by snapshots and
 * by the read model, each until it is changed too. Deposits, withdrawals and texts of one account, changed
 * together with its chain, its snapshots and its read-model rows, are found only against a receipt or a hash
 * kept elsewhere. The same holds for a history cut off at its end together with its commits, if the last commits
 * of a writer, and for a whole forged commit: nothing is signed.
 */
export class Audit extends Context.Service<
  Audit,
  {
    readonly verify: (options?: AuditOptions) => Effect.Effect<AuditReport, StoreUnavailable>
  }
>()("chronicle/actors/Audit") {
  static readonly layer = Layer.effect(
    Audit,
    Effect.gen(function* () {
      const context = yield* Effect.context<EventStore | Snapshots | ReadModel>()
      return {
        verify: Effect.fn("Audit.verify")((options: AuditOptions = {}) =>
          verify(options).pipe(Effect.scoped, Effect.provideContext(context))
        )
      }
    })
  )
}

const verify = Effect.fnUntraced(function* (options: AuditOptions) {
  const books = yield* (yield* ReadModel).frozen
  const store = yield* EventStore
  const parts = tailsOf(yield* store.listWriters)
  const run = yield* makeRun(books, options.account)
  yield* walkAll(run, parts, options.account, options.onProgress)
  if (options.account === undefined) {
    yield* checkSums(run)
    yield* run.contras.check(run.findings, books)
    if ((yield* books.countTransfers) !== run.tally.transfersMet) {
      yield* checkTransfers(run.findings, books, store, run.limits)
    }
  }
  const { accounts, events, commits, snapshots, behind } = run.tally
  const parked = (yield* books.parked({ after: "", limit: parkedMax })).filter(
    (one) => options.account === undefined || one.account === options.account
  )
  return {
    accounts,
    events,
    commits,
    snapshots,
    behind,
    parked,
    invariants: run.findings.held(),
    findings: run.findings.list(),
    findingsTotal: run.findings.total,
    ok: run.findings.total === 0
  } satisfies AuditReport
})

/** All that the writers had committed at this moment. */
const tailsOf = (writers: ReadonlyArray<WriterRow>): ReadonlyArray<TailPart> =>
  writers.map(({ writerId, lastSeq }) => ({ writerId, after: 0, upTo: lastSeq }))

const makeRun = Effect.fnUntraced(function* (books: FrozenBooks, account: AccountId | undefined) {
  const store = yield* EventStore
  const snapshots = yield* Snapshots
  const limits = yield* AuditConfig
  const from = startOf(account ?? "")
  const tally: Tally = { accounts: 0, events: 0, commits: 0, snapshots: 0, behind: 0, transfersMet: 0 }
  return {
    limits,
    store,
    books,
    findings: new Findings(),
    tally,
    balances: makeCursor(from, limits.pageRows, books.balances),
    lines: makeCursor(from, limits.pageRows, books.lines),
    snapshots: makeCursor(from, limits.pageRows, snapshots.list),
    contras: makeContraSums(limits),
    sums: new Map<Asset, bigint>(),
    areSumsKnown: true,
    assets: new Map<AccountId, Asset>()
  } satisfies Run as Run // `areSumsKnown` may become false
})

const checkSums = (run: Run) =>
  Effect.sync(() => {
    if (!run.areSumsKnown) return
    for (const [asset, sum] of run.sums) {
      if (sum === 0n) continue
      const reason = `the whole ledger is ${sum} minor units of ${asset} off zero`
      run.findings.add({ invariant: "I2", where: "events", reason })
    }
  })
