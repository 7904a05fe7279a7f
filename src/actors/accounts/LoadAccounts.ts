/** Reads the heads of accounts from their latest snapshots and the events after them, many accounts in few queries. */
import { Effect, Result } from "effect"
import { type BrokenLog, emptyHead, follow, type Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { Snapshots } from "../../infra/eventstore/Snapshots.ts"

/** Rows of one query while accounts are loaded. */
const rowsMax = 5_000

/** What was found of one account. */
export interface LoadedAccount {
  readonly head: Result.Result<Head, BrokenLog>
  /** Heads passed on the way that a snapshot would have saved the reading of. */
  readonly milestones: ReadonlyArray<Head>
  /** Events that were read after the snapshot. */
  readonly eventsRead: number
}

interface Reading {
  head: Result.Result<Head, BrokenLog>
  milestones: Array<Head>
  eventsRead: number
}

/** Loads many accounts with a few queries, however many they are; checks every row against the one before. */
export const loadAccounts = Effect.fnUntraced(function* (
  accounts: ReadonlyArray<AccountId>,
  snapshotEvery: number
) {
  const store = yield* EventStore
  const snapshots = yield* Snapshots
  const readings = new Map<AccountId, Reading>()
  for (const id of accounts) {
    readings.set(id, { head: Result.succeed(emptyHead(id)), milestones: [], eventsRead: 0 })
  }
  for (const head of yield* snapshots.latest(accounts)) {
    const reading = readings.get(head.account.id)
    if (reading !== undefined) reading.head = Result.succeed(head)
  }
  const isReadable = (account: AccountId) => {
    const reading = readings.get(account)
    return reading !== undefined && Result.isSuccess(reading.head)
  }
  let unread: ReadonlyArray<AccountId> = accounts
  while (unread.length > 0) {
    const from = unread.map((account) => ({ account, after: versionReached(readings.get(account)) }))
    const rows = yield* store.readStreams(from, rowsMax)
    for (const row of rows) {
      const reading = readings.get(row.accountId)
      if (reading === undefined || Result.isFailure(reading.head)) continue
      reading.head = follow(reading.head.success, row)
      reading.eventsRead++
      if (Result.isSuccess(reading.head) && row.version % snapshotEvery === 0) {
        reading.milestones.push(reading.head.success)
      }
    }
    if (rows.length < rowsMax) break
    // The order of ids is the store's: all that appeared are read, but for the last, which may go on.
    const last = rows.at(-1)?.accountId
    const appeared = new Set(rows.map((row) => row.accountId))
    unread = unread.filter((account) => isReadable(account) && (!appeared.has(account) || account === last))
  }
  return readings as ReadonlyMap<AccountId, LoadedAccount>
})

const versionReached = (reading: Reading | undefined): number =>
  reading !== undefined && Result.isSuccess(reading.head) ? reading.head.success.account.version : 0
