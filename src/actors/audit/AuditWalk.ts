/** The log enters row by row in order of account and version; each is checked with all that depends on it (I1-I5, I8). */
import { Effect, Result } from "effect"
import { type Posted, postedOf } from "../../domain/Books.ts"
import { amountOf, type Event } from "../../domain/Event.ts"
import { type BrokenLog, emptyHead, type Head, step } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventKey } from "../../infra/eventstore/EventStoreTypes.ts"
import type { BalanceRow } from "../../infra/readmodel/ReadModelRows.ts"
import { checkSnapshot, loadBeside } from "./AuditBeside.ts"
import { checkBalance, checkLine, checkPresent } from "./AuditBooks.ts"
import type { Listing } from "./AuditCommits.ts"
import { keyMax } from "./AuditCursor.ts"
import { checkLookups } from "./AuditLookups.ts"
import { type Entry, keyOf, type Run } from "./AuditRun.ts"
import { Versions } from "./AuditVersions.ts"

/** The account whose rows are passing by. */
interface Passing {
  readonly id: AccountId
  head: Head
  isBroken: boolean
  readonly balance: BalanceRow | undefined
  isBalanceMet: boolean
}

/** What was found of the rows of a slice, and what is left to find of them. */
export interface Slice {
  /** Versions that commits list; each row met is taken out. */
  readonly listing: Listing
  /** Rows met that no commit listed so far. */
  readonly late: Map<string, Versions>
}

/** A walk goes through all pages in order; it carries the account at a page's end over to the next. */
export const makeWalk = (run: Run) => {
  const { findings, tally } = run
  let passing: Passing | undefined

  const finish = (): void => {
    if (passing === undefined) return
    const { id, head, balance, isBalanceMet, isBroken } = passing
    passing = undefined
    tally.accounts++
    const { version } = head.account
    if ((balance?.version ?? 0) < version) tally.behind++
    if (balance === undefined || isBalanceMet || isBroken) return
    findings.add({
      invariant: "I8",
      where: "read model",
      account: id,
      version: balance.version,
      column: "version",
      reason: `balance row: the log ends at version ${version}`
    })
  }

  const begin = (id: AccountId, balance: BalanceRow | undefined): Passing => {
    finish()
    passing = { id, head: emptyHead(id), isBroken: false, balance, isBalanceMet: false }
    return passing
  }

  /** Only the first broken row of an account is named: what follows it hangs in the air. */
  const breakOff = (account: Passing, { invariant, reason }: BrokenLog, row: StoredEvent): void => {
    account.isBroken = true
    const isGap = invariant === "I1"
    const due = account.head.account.version + 1
    findings.add({
      invariant: invariant === "I1" || invariant === "I3" ? invariant : "I5",
      where: "events",
      account: account.id,
      version: isGap ? due : row.version,
      reason: isGap ? `it is missing, the next one is ${row.version}` : reason
    })
  }

  /** Chain and fold, and the balance row of this very version. */
  const follow = (account: Passing, row: StoredEvent): Posted | undefined => {
    if (account.isBroken) return undefined
    const followed = step(account.head, row)
    if (Result.isFailure(followed)) {
      breakOff(account, followed.failure, row)
      return undefined
    }
    const posted = postedOf(row, followed.success)
    account.head = posted.head
    if (account.balance?.version === row.version) {
      account.isBalanceMet = true
      checkBalance(findings, posted.head, account.balance)
    }
    return posted
  }

  /**
   * I2 over the whole ledger, as of the commits that were listed before the walk: they hold whole commands.
   * Money from and to contras is left out on both sides.
   */
  const sum = (account: Passing, event: Event | undefined, isListed: boolean): void => {
    const asset = account.head.account._tag === "Opened" ? account.head.account.asset : undefined
    if (event === undefined || asset === undefined) {
      run.areSumsKnown = false
      return
    }
    const isContra = event._tag === "Deposited" || event._tag === "Withdrawn"
    if (isListed && !isContra) run.sums.set(asset, (run.sums.get(asset) ?? 0n) + amountOf(event))
  }

  const enter = (row: StoredEvent, account: Passing, { listing, late }: Slice): Entry => {
    const { accountId, version } = row
    const posted = follow(account, row)
    const event = posted === undefined ? Result.getOrUndefined(decodeStored(row)) : posted.event
    const isListed = listing.accounts.get(accountId)?.delete(version) === true
    if (!isListed) {
      const versions = late.get(accountId) ?? new Versions()
      versions.add(version)
      late.set(accountId, versions)
    }
    sum(account, event, isListed)
    const projected = account.balance?.version ?? 0
    if (version <= projected) {
      if (posted === undefined) run.contras.isKnown = false
      else if (posted.contra !== undefined) run.contras.add(posted.contra)
    }
    tally.events++
    return { row, event, posted, projected, lineSeen: false }
  }

  /** Checks the rows of one page, and all rows elsewhere up to the key `end`; `keyMax.version` ends an account. */
  const checkPage = Effect.fnUntraced(function* (
    rows: ReadonlyArray<StoredEvent>,
    end: EventKey,
    slice: Slice
  ) {
    const beside = yield* loadBeside(run, rows, end, passing?.id)
    const entries = new Map<string, Entry>()
    for (const row of rows) {
      const { accountId: account, version } = row
      const current = passing?.id === account ? passing : begin(account, beside.balances.get(account))
      const entry = enter(row, current, slice)
      const key = keyOf({ account, version })
      entries.set(key, entry)
      const saved = beside.saved.get(key)
      if (saved !== undefined && entry.posted !== undefined) checkSnapshot(run, entry.posted.head, saved)
    }
    if (end.version === keyMax.version) finish()
    const checkBooks = Effect.gen(function* () {
      yield* run.lines.drain(end, (lines) =>
        Effect.sync(() => {
          for (const line of lines) checkLine(findings, entries.get(keyOf(line)), line)
        })
      )
      tally.transfersMet += yield* checkPresent(findings, run.books, entries.values(), run.limits)
    })
    yield* Effect.all([checkBooks, checkLookups(run, entries)], { concurrency: 2, discard: true })
  })

  return { checkPage }
}
