/** The stores of a live ledger enter; which invariants hold, and the rows that break them, leave. */
import { Context, Effect, Layer } from "effect"
import type { AccountId } from "../domain/Ids.ts"
import type { Asset } from "../domain/Money.ts"
import { EventStore, type StoreUnavailable, type WriterRow } from "../infra/EventStore.ts"
import { type Parked, ReadModel } from "../infra/ReadModel.ts"
import type { FrozenBooks } from "../infra/ReadModelFrozen.ts"
import { Snapshots } from "../infra/Snapshots.ts"
import type { EventKey } from "../infra/StoreValues.ts"
import { checkTransfers, makeContraSums } from "./AuditBooks.ts"
import { dropListed, Listing, listCommits, type TailPart } from "./AuditCommits.ts"
import { AuditConfig } from "./AuditConfig.ts"
import { keyMax, makeCursor } from "./AuditCursor.ts"
import { type Finding, Findings, type Invariant } from "./AuditFindings.ts"
import type { Run, Tally } from "./AuditRun.ts"
import { makeWalk, type Slice } from "./AuditWalk.ts"

export type { Finding, Invariant } from "./AuditFindings.ts"

/** How far an audit is; a walk in order of account. */
export interface AuditProgress {
  readonly accounts: number
  readonly events: number
  readonly account: string
}

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
  yield* walkAll(run, parts, options)
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

/** Before every row of an account, also of one that a tamperer numbered below 1. */
const startOf = (account: string): EventKey => ({ account, version: Number.MIN_SAFE_INTEGER })

/** Slice by slice: the versions that commits list are held in memory, then met by the rows of those accounts. */
const walkAll = Effect.fnUntraced(function* (
  run: Run,
  parts: ReadonlyArray<TailPart>,
  { account, onProgress }: AuditOptions
) {
  const walk = makeWalk(run)
  let from = account ?? ""
  for (let isFirst = true; ; isFirst = false) {
    const listing = new Listing(from, account)
    const commits = yield* listCommits(parts, listing, run.limits, isFirst ? run.findings : undefined)
    if (isFirst) run.tally.commits = commits
    const slice: Slice = { listing, late: new Map() }
    let after = startOf(from)
    let rows = yield* run.store.scan({ after, limit: run.limits.pageRows })
    for (;;) {
      const own = rows.filter((row) => listing.upTo === undefined || row.accountId <= listing.upTo)
      const last = own.at(-1)
      const isLast = own.length < run.limits.pageRows || last === undefined
      const end = isLast
        ? { account: listing.upTo ?? keyMax.account, version: keyMax.version }
        : { account: last.accountId, version: last.version }
      after = end
      const next = isLast ? Effect.succeed([]) : run.store.scan({ after, limit: run.limits.pageRows })
      const page = yield* Effect.all([next, walk.checkPage(own, end, slice)], { concurrency: 2 })
      onProgress?.({ accounts: run.tally.accounts, events: run.tally.events, account: end.account })
      if (isLast || slice.late.size > run.limits.sliceAccounts) yield* reportUnlisted(run, parts, slice)
      if (isLast) break
      rows = page[0]
    }
    reportMissing(run, listing)
    if (listing.upTo === undefined || account !== undefined) return
    // The least text above it.
    from = `${listing.upTo}\u0001`
  }
})

/** Rows that were listed and not met. */
const reportMissing = ({ findings }: Run, listing: Listing): void => {
  for (const [account, versions] of listing.accounts) {
    if (versions.isEmpty) continue
    const { least: version, count } = versions.summary()
    const more = count > 1 ? `, as are ${count - 1} later ones` : ""
    const reason = `it was committed, and is missing${more}`
    findings.add({ invariant: "I1", where: "events", account, version, reason })
  }
}

/** Rows that were met and not listed, not even by what was committed since. */
const reportUnlisted = Effect.fnUntraced(function* (
  run: Run,
  parts: ReadonlyArray<TailPart>,
  { late }: Slice
) {
  if (late.size === 0) return
  const noted = new Map(parts.map((part) => [part.writerId, part.upTo]))
  const since = (yield* run.store.listWriters).map(({ writerId, lastSeq }) => ({
    writerId,
    after: noted.get(writerId) ?? 0,
    upTo: lastSeq
  }))
  yield* dropListed(since, late, run.limits.pageCommits)
  for (const [account, versions] of late) {
    const { least: version, count } = versions.summary()
    const more = count > 1 ? `, nor ${count - 1} later ones` : ""
    const reason = `no commit of a known writer lists it${more}`
    run.findings.add({ invariant: "I4", where: "events", account, version, reason })
  }
  late.clear()
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
