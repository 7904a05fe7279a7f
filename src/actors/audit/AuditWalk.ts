/**
 * The walk of an audit: the whole log once, in order of account and version, each row checked with all that depends on it
 * (I1-I5, I8). A log whose commits list more accounts than may be held at once is walked slice by slice.
 */

import { Effect, Result } from "effect"
import { contrasOf, type Posted, postedOf } from "../../domain/Books.ts"
import { amountOf, type Event } from "../../domain/Event.ts"
import { type BrokenLog, emptyHead, type Head, step } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventKey, StoreUnavailable } from "../../infra/eventstore/EventStoreTypes.ts"
import { everyTail } from "../../infra/eventstore/EveryTail.ts"
import type { BalanceRow } from "../../infra/readmodel/ReadModelRows.ts"
import { checkBalance, checkLine, checkPresent } from "./AuditBooks.ts"
import { dropListed, Listing, listCommits, type TailPart, Versions } from "./AuditCommits.ts"
import { checkSnapshot, keyMax, readAlongside } from "./AuditCursors.ts"
import { type AccountHolds, followHolds, noHolds } from "./AuditHolds.ts"
import { checkLookups } from "./AuditLookups.ts"
import { type Entry, keyOf, type Run } from "./AuditRun.ts"

/** How far an audit has come, in order of account. */
export interface AuditProgress {
  readonly accounts: number
  readonly events: number
  readonly account: string
}

/** What commits list of the accounts of a slice, and rows that were met without being listed. */
interface Slice {
  /** The walk takes out each version whose row it meets. */
  readonly listing: Listing
  /** Versions whose rows no commit listed so far: they may have been committed since. */
  readonly late: Map<string, Versions>
}

/** Before every row of an account, even one that a tamperer numbered below 1. */
export const startOf = (account: string): EventKey => ({ account, version: Number.MIN_SAFE_INTEGER })

/** Walks the log, or one account of it. The versions that commits list are held in memory, as many as the limits allow. */
export const walkAll = Effect.fnUntraced(function* (
  run: Run,
  parts: ReadonlyArray<TailPart>,
  account: AccountId | undefined,
  onProgress: ((progress: AuditProgress) => void) | undefined
) {
  const walk = makeWalk(run)
  let from = account ?? ""
  for (let isFirst = true; ; isFirst = false) {
    const listing = new Listing(from, account)
    const commits = yield* listCommits(parts, listing, run.limits, run.findings, isFirst)
    if (isFirst) run.tally.commits = commits
    const slice: Slice = { listing, late: new Map() }
    yield* walkSlice(run, walk, from, slice, parts, onProgress)
    reportMissing(run, listing)
    if (listing.upTo === undefined || account !== undefined) return
    // The lowest text above it.
    from = `${listing.upTo}\u0001`
  }
})

/** The next page of the log is read while this one is checked. */
const walkSlice = Effect.fnUntraced(function* (
  run: Run,
  walk: Walk,
  from: string,
  slice: Slice,
  parts: ReadonlyArray<TailPart>,
  onProgress: ((progress: AuditProgress) => void) | undefined
) {
  const { listing, late } = slice
  const limit = run.limits.pageRows
  let after = startOf(from)
  let rows = yield* run.store.scan({ after, limit })
  for (;;) {
    const own = rows.filter((row) => listing.upTo === undefined || row.accountId <= listing.upTo)
    const last = own.at(-1)
    const isLast = own.length < limit || last === undefined
    const end = isLast
      ? { account: listing.upTo ?? keyMax.account, version: keyMax.version }
      : { account: last.accountId, version: last.version }
    after = end
    const next = isLast ? Effect.succeed([]) : run.store.scan({ after, limit })
    const page = yield* Effect.all([next, walk.checkPage(own, end, slice)], { concurrency: 2 })
    onProgress?.({ accounts: run.tally.accounts, events: run.tally.events, account: end.account })
    if (isLast || late.size > run.limits.sliceAccounts) yield* reportUnlisted(run, parts, slice)
    if (isLast) return
    rows = page[0]
  }
})

/** Reports rows that commits list and the walk did not meet. */
const reportMissing = ({ findings }: Run, listing: Listing): void => {
  for (const [account, versions] of listing.accounts) {
    if (versions.isEmpty) continue
    const { least: version, count } = versions.summary()
    const more = count > 1 ? `, as are ${count - 1} later ones` : ""
    const reason = `it was committed, and is missing${more}`
    findings.add({ invariant: "I1", where: "events", account, version, reason })
  }
}

/** Reports rows that the walk met and no commit lists, even those that were written since. */
const reportUnlisted = Effect.fnUntraced(function* (
  run: Run,
  parts: ReadonlyArray<TailPart>,
  { late }: Slice
) {
  if (late.size === 0) return
  const noted = new Map(parts.map((part) => [part.writerId, part.upTo]))
  const since = (yield* everyTail(run.store)).map(({ writerId, lastSeq }) => ({
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

/** The account whose rows are being met. */
interface Passing {
  readonly id: AccountId
  head: Head
  isBroken: boolean
  readonly balance: BalanceRow | undefined
  /** Whether the row of the balance row's version was met. */
  isBalanceMet: boolean
  readonly holds: AccountHolds
}

interface Walk {
  /** Checks the rows of one page, and all rows elsewhere up to the key `end`; `keyMax.version` ends an account. */
  readonly checkPage: ReturnType<typeof makeWalk>["checkPage"]
}

/** Goes through all pages in order, and carries the account at the end of a page over to the next. */
const makeWalk = (run: Run) => {
  let passing: Passing | undefined

  const leave = Effect.suspend(() => {
    const left = passing
    passing = undefined
    return left === undefined ? Effect.void : leaveAccount(run, left)
  })

  const enter = (id: AccountId, balance: BalanceRow | undefined) =>
    Effect.map(leave, (): Passing => {
      const holds = noHolds(balance?.version ?? 0)
      passing = { id, head: emptyHead(id), isBroken: false, balance, isBalanceMet: false, holds }
      return passing
    })

  const checkPage = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    end: EventKey,
    slice: Slice
  ) {
    const alongside = yield* readAlongside(run, rows, end, passing?.id)
    const entries = new Map<string, Entry>()
    for (const row of rows) {
      const { accountId: account, version } = row
      const current =
        passing?.id === account ? passing : yield* enter(account, alongside.balances.get(account))
      const entry = enterRow(run, row, current, slice)
      const key = keyOf({ account, version })
      entries.set(key, entry)
      const saved = alongside.saved.get(key)
      if (saved !== undefined && entry.posted !== undefined) checkSnapshot(run, entry.posted.head, saved)
    }
    if (end.version === keyMax.version) yield* leave
    yield* Effect.all([checkRows(run, entries, end), checkLookups(run, entries)], {
      concurrency: 2,
      discard: true
    })
  })

  return { checkPage }
}

/** The read model's rows of the events on a page. */
const checkRows = Effect.fnUntraced(function* (run: Run, entries: ReadonlyMap<string, Entry>, end: EventKey) {
  yield* run.lines.drain(end, (lines) =>
    Effect.sync(() => {
      for (const line of lines) checkLine(run.findings, entries.get(keyOf(line)), line)
    })
  )
  const met = yield* checkPresent(run.findings, run.books, entries.values(), run.limits)
  run.tally.transfersMet += met
})

const leaveAccount = (
  { findings, tally, holdRows }: Run,
  { id, head, balance, holds, isBalanceMet, isBroken }: Passing
): Effect.Effect<void, StoreUnavailable> => {
  tally.accounts++
  const { version } = head.account
  if ((balance?.version ?? 0) < version) tally.behind++
  if (balance !== undefined && !isBalanceMet && !isBroken)
    findings.add({
      invariant: "I8",
      where: "read model",
      account: id,
      version: balance.version,
      column: "version",
      reason: `balance row: the log ends at version ${version}`
    })
  return holdRows.checkAccount(id, isBroken && !isBalanceMet ? undefined : holds.projected)
}

const enterRow = (run: Run, row: StoredEvent, account: Passing, { listing, late }: Slice): Entry => {
  const { accountId, version } = row
  const posted = follow(run, account, row)
  const event = posted === undefined ? Result.getOrUndefined(decodeStored(row)) : posted.event
  const isListed = listing.accounts.get(accountId)?.delete(version) === true
  if (!isListed) {
    const versions = late.get(accountId) ?? new Versions()
    versions.add(version)
    late.set(accountId, versions)
  }
  sum(run, account, event, isListed)
  const projected = account.balance?.version ?? 0
  if (version <= projected) {
    if (posted === undefined) run.contras.isKnown = false
    else for (const entry of posted.contras) run.contras.add(entry)
  }
  run.tally.events++
  return { row, event, posted, projected, lineSeen: false }
}

/** Checks chain and fold, and the balance row where it is of this very version. */
const follow = ({ findings }: Run, account: Passing, row: StoredEvent): Posted | undefined => {
  if (account.isBroken) return undefined
  const followed = step(account.head, row)
  if (Result.isFailure(followed)) {
    account.isBroken = true
    reportBroken(findings, account, followed.failure, row)
    return undefined
  }
  const posted = postedOf(row, followed.success)
  account.head = posted.head
  followHolds(findings, account.holds, posted, account.balance?.version ?? 0)
  if (account.balance?.version === row.version) {
    account.isBalanceMet = true
    checkBalance(findings, posted.head, account.balance)
  }
  return posted
}

/** Only the first broken row of an account is reported: the rows after it cannot be chained to anything. */
const reportBroken = (
  findings: Run["findings"],
  { id: account, head }: Passing,
  { invariant, reason }: BrokenLog,
  row: StoredEvent
): void => {
  const isGap = invariant === "I1"
  findings.add({
    invariant: invariant === "I1" || invariant === "I3" ? invariant : "I5",
    where: "events",
    account,
    version: isGap ? head.account.version + 1 : row.version,
    reason: isGap ? `it is missing, the next one is ${row.version}` : reason
  })
}

/**
 * I2 over the whole ledger, as of the commits that were listed before the walk began: a commit holds whole commands. What
 * contras have is the opposite of what came from them.
 */
const sum = (run: Run, account: Passing, event: Event | undefined, isListed: boolean): void => {
  const asset = account.head.account._tag === "Opened" ? account.head.account.asset : undefined
  if (event === undefined || asset === undefined) {
    run.areSumsKnown = false
    return
  }
  if (!isListed) return
  const add = (of: Asset, amount: bigint) => run.sums.set(of, (run.sums.get(of) ?? 0n) + amount)
  add(asset, amountOf(event))
  for (const entry of contrasOf(event, asset)) add(entry.asset, entry.amount)
}
