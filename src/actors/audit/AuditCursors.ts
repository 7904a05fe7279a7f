/**
 * The relations that an audit reads in step with the log: balance rows, statement lines and snapshots. All of them are in
 * order of account and version, as the log is, so each is read once, however large it is (a merge join by hand).
 */
import { Effect, Schema } from "effect"
import { Account } from "../../domain/Account.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventKey, StoreUnavailable } from "../../infra/eventstore/EventStoreTypes.ts"
import type { Saved } from "../../infra/eventstore/Snapshots.ts"
import type { BalanceRow } from "../../infra/readmodel/ReadModelRows.ts"
import { difference } from "./AuditFindings.ts"
import { keyOf, type Run } from "./AuditRun.ts"

/** Above every account id and version. */
export const keyMax: EventKey = { account: "\uffff", version: Number.MAX_SAFE_INTEGER }

/** The stores order ids by bytes. So does JavaScript, for ids are ASCII. */
const isAfter = (a: EventKey, b: EventKey): boolean =>
  a.account === b.account ? a.version > b.version : a.account > b.account

export interface Cursor<A> {
  /** Hands over the next rows up to and including a key, page by page. */
  readonly drain: (
    upTo: EventKey,
    visit: (rows: ReadonlyArray<A>) => Effect.Effect<void, StoreUnavailable>
  ) => Effect.Effect<void, StoreUnavailable>
}

/** Reads a relation in its order, as far as it is asked to. Holds at most one page of `limit` rows. */
export const makeCursor = <A extends EventKey>(
  from: EventKey,
  limit: number,
  load: (page: {
    readonly after: EventKey
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<A>, StoreUnavailable>
): Cursor<A> => {
  let after = from
  let page: ReadonlyArray<A> = []
  let isAtEnd = false
  return {
    drain: Effect.fnUntraced(function* (upTo, visit) {
      for (;;) {
        const beyond = page.findIndex((row) => isAfter(row, upTo))
        const due = beyond === -1 ? page : page.slice(0, beyond)
        page = beyond === -1 ? [] : page.slice(beyond)
        if (due.length > 0) yield* visit(due)
        if (page.length > 0 || isAtEnd) return
        page = yield* load({ after, limit })
        const last = page.at(-1)
        if (last !== undefined) after = { account: last.account, version: last.version }
        isAtEnd = page.length < limit
      }
    })
  }
}

/** Rows elsewhere of the accounts and events on a page of the log. */
interface Alongside {
  /** By account. */
  readonly balances: ReadonlyMap<string, BalanceRow>
  /** By `account@version`. */
  readonly saved: ReadonlyMap<string, Saved>
}

/**
 * Reads the balance rows and snapshots up to the end of a page of the log, and reports those whose account or event the
 * log does not have. `passing` is the account that began on an earlier page.
 */
export const readAlongside = Effect.fnUntraced(function* (
  run: Run,
  rows: ReadonlyArray<StoredEvent>,
  end: EventKey,
  passing: AccountId | undefined
) {
  const accounts = new Set<string>(rows.map((row) => row.accountId))
  if (passing !== undefined) accounts.add(passing)
  const balances = new Map<string, BalanceRow>()
  // The read model was frozen before the walk began, so whatever it holds is in the log by now.
  yield* run.balances.drain({ account: end.account, version: keyMax.version }, (found) =>
    Effect.sync(() => {
      for (const row of found) {
        if (accounts.has(row.account)) {
          balances.set(row.account, row)
          continue
        }
        const { account, version } = row
        const reason = "balance row: the log has no such account"
        run.findings.add({ invariant: "I8", where: "read model", account, version, reason })
      }
    })
  )
  const saved = new Map<string, Saved>()
  const keys = new Set(rows.map((row) => keyOf({ account: row.accountId, version: row.version })))
  yield* run.snapshots.drain(end, (found) => {
    for (const one of found) if (keys.has(keyOf(one))) saved.set(keyOf(one), one)
    return checkExist(
      run,
      found.filter((one) => !keys.has(keyOf(one)))
    )
  })
  return { balances, saved } satisfies Alongside
})

/** Snapshots are not frozen: one may be newer than the page of the log, which has its event by now. */
const checkExist = Effect.fnUntraced(function* (run: Run, strays: ReadonlyArray<Saved>) {
  if (strays.length === 0) return
  // Text from the snapshots, which may be anything: the store only compares it.
  const wanted = strays.map(({ account, version }) => ({ account: account as AccountId, version }))
  const found = yield* run.store.readEvents(wanted)
  const exist = new Set(found.map((row) => keyOf({ account: row.accountId, version: row.version })))
  for (const { account, version } of strays) {
    if (exist.has(keyOf({ account, version }))) continue
    const reason = "snapshot: the log has no such event"
    run.findings.add({ invariant: "I8", where: "snapshots", account, version, reason })
  }
})

const encodeState = Schema.encodeSync(Schema.fromJsonString(Account))

/** A snapshot must be the fold of the log up to its version. */
export const checkSnapshot = (
  run: Run,
  head: Head,
  { account, version, head: saved, isAltered }: Saved
): void => {
  run.tally.snapshots++
  const columnsOf = (one: Head) => ({
    version: one.account.version,
    recordedAt: one.recordedAt,
    hash: one.hash,
    state: encodeState(one.account)
  })
  const fault =
    saved === undefined
      ? { column: "state", reason: "the state cannot be read" }
      : (difference(columnsOf(head), columnsOf(saved)) ??
        (isAltered ? { column: "digest", reason: "its digest is that of another row" } : undefined))
  if (fault === undefined) return
  run.findings.add({
    invariant: "I8",
    where: "snapshots",
    account,
    version,
    column: fault.column,
    reason: `snapshot: ${fault.reason}`
  })
}
