/**
 * The head of a stream: folds rows one after another, each checked against the one before, so that a changed log is
 * found.
 */
import { Data, Result } from "effect"
import { type Account, type After, absent, afterOf, evolve, isCovered } from "./Account.ts"
import type { Event } from "./Event.ts"
import { genesis, isLinked } from "./HashChain.ts"
import type { AccountId, Instant } from "./Ids.ts"
import { boundBy, readStored, type StoredEvent } from "./StoredEvent.ts"

/** The folded state of an account at some version, and what the next event is chained to. */
export interface Head {
  readonly account: Account
  /** The hash of the event at `account.version`, `genesis` at 0. */
  readonly hash: string
  /** The `recordedAt` of that event, 0 at version 0. */
  readonly recordedAt: Instant
}

/** The log is not what this program wrote: the first row that breaks a rule, and the rule. */
export class BrokenLog extends Data.TaggedError("BrokenLog")<{
  readonly invariant: "I1" | "I3" | "I5" | "time" | "form"
  readonly account: string
  readonly version: number
  readonly reason: string
}> {
  override get message() {
    return `${this.invariant} is broken at ${this.account}@${this.version}: ${this.reason}`
  }
}

/** The head of a stream without events. */
export const emptyHead = (id: AccountId): Head => ({ account: absent(id), hash: genesis, recordedAt: 0 })

/** A row that follows a head: the event it holds, and the head after it. */
export interface Step {
  readonly head: Head
  readonly event: Event
}

/** Follows the stream by one row, if it is dense (I1), chained (I5), readable, not back in time, covered (I3), and binds what it comes to. */
export const follow = (head: Head, row: StoredEvent): Result.Result<Head, BrokenLog> =>
  Result.map(step(head, row), (followed) => followed.head)

/** The same, with the event, for callers that derive rows from it. */
export const step = (head: Head, row: StoredEvent): Result.Result<Step, BrokenLog> => {
  const broken = (invariant: BrokenLog["invariant"], reason: string) =>
    Result.fail(new BrokenLog({ invariant, account: row.accountId, version: row.version, reason }))
  const expected = head.account.version + 1
  if (row.version !== expected) return broken("I1", `version ${expected} is missing`)
  if (!isLinked(head.hash, row)) {
    return broken("I5", "the hash does not cover this row and the hash before it: the row was changed")
  }
  if (row.recordedAt < head.recordedAt) return broken("time", "recorded before the event before it")
  const decoded = readStored(row)
  if (Result.isFailure(decoded)) return broken("form", decoded.failure.reason)
  const { event, after } = decoded.success
  const evolved = Result.try({
    try: () => evolve(head.account, event, row.recordedAt),
    catch: (cause) => (cause instanceof Error ? cause.message : String(cause))
  })
  if (Result.isFailure(evolved)) return broken("form", evolved.failure)
  if (!isCovered(evolved.success))
    return broken("I3", "the balance, less what is held, is below minus the overdraft limit")
  if (after !== undefined) {
    const difference = differenceOf(afterOf(evolved.success), after)
    if (difference !== undefined) return broken("form", difference)
  }
  const next = { account: evolved.success, hash: row.hash, recordedAt: row.recordedAt }
  return Result.succeed({ head: next, event })
}

/**
 * Whether a head that was saved elsewhere stands at this row: of its version, hash and instant, and with the amounts that the row binds; a
 * row from before version 2 binds none.
 */
export const isAt = ({ account, hash, recordedAt }: Head, row: StoredEvent): boolean => {
  if (row.version !== account.version || row.hash !== hash || row.recordedAt !== recordedAt) return false
  const bound = boundBy(row)
  return bound === undefined || differenceOf(afterOf(account), bound) === undefined
}

/** How what a row binds differs from what the events come to; undefined where it does not. */
const differenceOf = (folded: After, bound: After): string | undefined => {
  for (const key of ["balance", "held", "available"] as const) {
    if (folded[key] === bound[key]) continue
    return `it says ${key} ${bound[key]} after it, where the events up to it come to ${folded[key]} minor units`
  }
  return undefined
}
