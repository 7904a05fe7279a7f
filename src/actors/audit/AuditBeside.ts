/** A page of the log enters; the balance rows and snapshots of its accounts leave, and those of nobody are reported. */
import { Effect, Schema } from "effect"
import { Account } from "../../domain/Account.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventKey } from "../../infra/eventstore/EventStoreTypes.ts"
import type { Saved } from "../../infra/eventstore/Snapshots.ts"
import type { BalanceRow } from "../../infra/readmodel/ReadModelRows.ts"
import { keyMax } from "./AuditCursor.ts"
import { difference } from "./AuditFindings.ts"
import { keyOf, type Run } from "./AuditRun.ts"

/** By account and by `account@version`. */
export interface Beside {
  readonly balances: ReadonlyMap<string, BalanceRow>
  readonly saved: ReadonlyMap<string, Saved>
}

/** `passing` is the account that began on an earlier page. */
export const loadBeside = Effect.fnUntraced(function* (
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
  return { balances, saved } satisfies Beside
})

/** Snapshots are not frozen: one may be newer than the page, and then its event is in the log by now. */
const checkExist = Effect.fnUntraced(function* (run: Run, strays: ReadonlyArray<Saved>) {
  if (strays.length === 0) return
  // Text from the snapshots, whatever it is: the store only compares it.
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

export const checkSnapshot = (run: Run, head: Head, { account, version, head: saved }: Saved): void => {
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
      : difference(columnsOf(head), columnsOf(saved))
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
