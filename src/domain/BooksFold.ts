/**
 * Folds rows of the log, in any order, onto the heads of their accounts: what can be posted now, what is missing before
 * it, and what contradicts the rows that were posted before. Pure.
 */
import { Result } from "effect"
import { type OpenedHead, type Posted, post } from "./Books.ts"
import { BrokenLog, emptyHead, type Head } from "./Head.ts"
import type { AccountId } from "./Ids.ts"
import type { StoredEvent } from "./StoredEvent.ts"

export interface Folded {
  /** In order of account and version, each following the one before or the account's head. */
  readonly posted: ReadonlyArray<Posted>
  /**
   * Accounts with rows beyond their next version, or with a row that does not follow: their rows must be read from
   * the log.
   */
  readonly gaps: ReadonlyArray<AccountId>
  /** Why rows did not follow; each account is in `gaps` too. */
  readonly broken: ReadonlyArray<BrokenLog>
  /** Number of rows that were projected before, or were delivered twice. */
  readonly repeats: number
  /** Accounts with a row of the head's version and another hash: one of the two is not in the log (I8). */
  readonly diverged: ReadonlyArray<AccountId>
  /** Accounts with a row below the head's version, of which the head cannot say whether it was posted. */
  readonly older: ReadonlyArray<AccountId>
}

/** Accepts the next version, skips lower ones, reports higher ones. */
export const fold = (heads: ReadonlyMap<AccountId, OpenedHead>, rows: ReadonlyArray<StoredEvent>): Folded => {
  const posted: Array<Posted> = []
  const gaps = new Set<AccountId>()
  const broken: Array<BrokenLog> = []
  const diverged = new Set<AccountId>()
  const older = new Set<AccountId>()
  let repeats = 0
  let head: Head | undefined
  for (const row of rows.toSorted(byAccountAndVersion)) {
    const { accountId, version } = row
    if (gaps.has(accountId)) continue
    if (head?.account.id !== accountId) head = heads.get(accountId) ?? emptyHead(accountId)
    if (version <= head.account.version) {
      if (version < head.account.version) older.add(accountId)
      else if (row.hash !== head.hash) diverged.add(accountId)
      repeats++
      continue
    }
    if (version > head.account.version + 1) {
      gaps.add(accountId)
      continue
    }
    const followed = tryPost(head, row)
    if (Result.isSuccess(followed)) {
      posted.push(followed.success)
      head = followed.success.head
    } else {
      gaps.add(accountId)
      broken.push(followed.failure)
    }
  }
  return { posted, gaps: [...gaps], broken, repeats, diverged: [...diverged], older: [...older] }
}

/** A reducer that throws on a row is a reason to park one account, not to stop its partition. */
export const tryPost = (head: Head, row: StoredEvent): Result.Result<Posted, BrokenLog> => {
  const followed = Result.try({
    try: () => post(head, row),
    catch: (cause) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      return new BrokenLog({ invariant: "form", account: row.accountId, version: row.version, reason })
    }
  })
  return Result.isSuccess(followed) ? followed.success : Result.fail(followed.failure)
}

const byAccountAndVersion = (a: StoredEvent, b: StoredEvent): number =>
  a.accountId === b.accountId ? a.version - b.version : a.accountId < b.accountId ? -1 : 1
