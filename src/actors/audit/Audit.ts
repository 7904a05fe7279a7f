/**
 * `chronicle verify`: whether the invariants hold on the stores of a ledger, live or not, and which rows break them. The
 * load test, the chaos runs and the demo end with it.
 */
import { Context, Effect, Layer } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { EventStore, type StoreUnavailable, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import { everyTail } from "../../infra/eventstore/EveryTail.ts"
import { Snapshots } from "../../infra/eventstore/Snapshots.ts"
import { type Parked, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import type { FrozenBooks } from "../../infra/readmodel/ReadModelFrozen.ts"
import { checkPrefixSums, checkTransfers, makeContraSums } from "./AuditBooks.ts"
import type { TailPart } from "./AuditCommits.ts"
import { makeCursor } from "./AuditCursors.ts"
import { type Finding, Findings, type Invariant } from "./AuditFindings.ts"
import { makeHoldRows } from "./AuditHolds.ts"
import { AuditConfig, type Run, type Tally } from "./AuditRun.ts"
import { makeSnapshotList } from "./AuditSnapshots.ts"
import { type AuditProgress, startOf, walkAll } from "./AuditWalk.ts"

export type { Finding, Invariant } from "./AuditFindings.ts"
export type { AuditProgress } from "./AuditWalk.ts"

export interface AuditReport {
  readonly accounts: number
  readonly events: number
  readonly commits: number
  readonly snapshots: number
  /** Accounts that the projection has not caught up with. Lag is no fault. */
  readonly behind: number
  /** Accounts that are parked, at most a hundred of them. Their rows are right as far as they go. */
  readonly parked: ReadonlyArray<Parked>
  readonly invariants: Readonly<Record<Invariant, boolean>>
  /** The root causes first; at most twenty of a kind. */
  readonly findings: ReadonlyArray<Finding>
  readonly findingsTotal: number
  readonly ok: boolean
}

interface AuditOptions {
  /** Only this account, with its counter-legs. Sums over the ledger are left out. */
  readonly account?: AccountId
  readonly onProgress?: (progress: AuditProgress) => void
}

const parkedMax = 100

/**
 * Checks I1-I5 and I8 in one walk over the log, in bounded memory, whether nodes are running or not. Rows of the log are
 * never changed, so what was read once is final. Nodes that go on writing cause no false alarm, because of the order in
 * which the audit reads:
 * 1. It freezes the read model. All events in it are in the log by now.
 * 2. It notes the last commit of each writer. The walk must meet all that is listed up to there.
 * 3. It walks the log.
 * 4. It reads the commits that were written since. All rows that the walk met must be listed by now.
 * A commit holds whole commands, so the sums over listed events are exact.
 *
 * What a tamperer with full access to the databases can change unseen:
 * - Of one row, nothing. A row whose hash was computed anew no longer fits the row after it.
 * - Of an account whose rows were all computed anew: nothing that its counter-legs on other accounts, its snapshots or its
 *   read-model rows say as well, until those are changed too. What the account alone says (deposits, withdrawals, what is held,
 *   limits, freezes, texts) changed together with all of these is found only by a receipt or a hash that is kept elsewhere.
 * - The end of a history that is cut off together with its place in the commits, which no hash covers; and a whole forged
 *   commit. Nothing is signed.
 * - When a commit was recorded and where it stands among those of its writer, and what the writers' rows say of their times:
 *   readers order by the former and wait for the latter, and take no amount from either.
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
  const parts = tailsOf(yield* everyTail(store))
  const run = yield* makeRun(books, options.account)
  yield* walkAll(run, parts, options.account, options.onProgress)
  yield* run.holdRows.finish
  if (options.account === undefined) {
    yield* checkSums(run)
    yield* run.contras.check(run.findings, books)
    yield* checkPrefixSums(run.findings, books)
    if ((yield* books.countTransfers) !== run.tally.transfersMet) {
      yield* checkTransfers(run.findings, books, store, run.limits)
    }
  }
  const { accounts, events, commits, snapshots, behind } = run.tally
  const parked = yield* parkedOf(books, options.account)
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

/** The first of all parked accounts, or the one that is asked for, by pages up to its place in their order. */
const parkedOf = Effect.fnUntraced(function* (books: FrozenBooks, account: AccountId | undefined) {
  for (let after = ""; ; ) {
    const page: ReadonlyArray<Parked> = yield* books.parked({ after, limit: parkedMax })
    if (account === undefined) return page
    const last = page.at(-1)
    if (last === undefined || page.length < parkedMax || last.account >= account)
      return page.filter((one) => one.account === account)
    after = last.account
  }
})

/** All that the writers have committed by now. */
const tailsOf = (writers: ReadonlyArray<Pick<WriterRow, "writerId" | "lastSeq">>): ReadonlyArray<TailPart> =>
  writers.map(({ writerId, lastSeq }) => ({ writerId, after: 0, upTo: lastSeq }))

const makeRun = Effect.fnUntraced(function* (books: FrozenBooks, account: AccountId | undefined) {
  const store = yield* EventStore
  const snapshots = yield* Snapshots
  const limits = yield* AuditConfig
  const from = startOf(account ?? "")
  const tally: Tally = { accounts: 0, events: 0, commits: 0, snapshots: 0, behind: 0, transfersMet: 0 }
  const findings = new Findings()
  return {
    limits,
    store,
    books,
    findings,
    tally,
    balances: makeCursor(from, limits.pageRows, books.balances),
    lines: makeCursor(from, limits.pageRows, books.lines),
    snapshots: makeCursor(
      from,
      limits.pageSnapshots,
      makeSnapshotList(store, snapshots, { findings, limits }, account)
    ),
    contras: makeContraSums(limits),
    holdRows: makeHoldRows(findings, books, account, limits.pageRows),
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
