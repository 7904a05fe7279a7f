/**
 * The holds of the frozen read model against the fold of the log (I8), account by account in step with the walk: those that were
 * placed and neither ended nor noticed as expired by the version that the account's row is at. And each notice against the hold
 * that it is of, for the state of an account says nothing of one that has expired.
 */
import { Effect } from "effect"
import type { HoldRow, Posted } from "../../domain/Books.ts"
import type { AccountId, CommandId, Version } from "../../domain/Ids.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStoreTypes.ts"
import type { FrozenBooks } from "../../infra/readmodel/ReadModelFrozen.ts"
import { difference, type Findings } from "./AuditFindings.ts"

const place = { invariant: "I8", where: "read model" } as const

/** The holds of one account by the log: those of the newest row that was met, and those of the version that is projected. */
export interface AccountHolds {
  readonly now: Map<CommandId, HoldRow>
  /** The state of `now` at the version of the balance row; undefined where the walk did not meet that. */
  projected: ReadonlyMap<CommandId, HoldRow> | undefined
}

const none: ReadonlyMap<CommandId, HoldRow> = new Map()

/** `projectedTo`: the version of the balance row, 0 without one. */
export const noHolds = (projectedTo: Version): AccountHolds => ({
  now: new Map(),
  projected: projectedTo === 0 ? none : undefined
})

/** Follows one event of the account, and holds a notice against the hold. */
export const followHolds = (
  findings: Findings,
  holds: AccountHolds,
  { event, hold, line }: Posted,
  projectedTo: Version
): void => {
  if (event._tag === "HoldExpired") checkNotice(findings, holds, event, line)
  if (hold !== undefined) {
    if (hold.row === undefined) holds.now.delete(hold.hold)
    else holds.now.set(hold.hold, hold.row)
  }
  // Later events go on without it.
  if (line.version === projectedTo) holds.projected = holds.now.size === 0 ? none : new Map(holds.now)
}

const checkNotice = (
  findings: Findings,
  { now }: AccountHolds,
  event: Extract<Posted["event"], { readonly _tag: "HoldExpired" }>,
  { account, version, recordedAt }: Posted["line"]
): void => {
  const hold = now.get(event.hold)
  const broken = (reason: string) =>
    findings.add({
      invariant: "I3",
      where: "events",
      account,
      version,
      reason: `notice of ${event.hold}: ${reason}`
    })
  if (hold === undefined) return broken("there is no such hold that was open")
  if (hold.expiresAt !== event.expiredAt || event.expiredAt > recordedAt)
    return broken(`it says that the hold expired at ${event.expiredAt}, where the log has ${hold.expiresAt}`)
  if (hold.remaining !== event.amount)
    broken(`it says that ${event.amount} minor units became free, where ${hold.remaining} remained`)
}

/** A merge of the rows of the read model with the accounts of the walk, in order of account; holds a page of rows. */
export interface HoldRows {
  /**
   * Compares the rows of the next account in order; rows of accounts before it belong to no account of the log. `undefined`: the
   * holds of the account are not known.
   */
  readonly checkAccount: (
    account: AccountId,
    expected: ReadonlyMap<CommandId, HoldRow> | undefined
  ) => Effect.Effect<void, StoreUnavailable>
  /** Reports the rows behind the last account, which belong to none. */
  readonly finish: Effect.Effect<void, StoreUnavailable>
}

export const makeHoldRows = (
  findings: Findings,
  books: FrozenBooks,
  only: AccountId | undefined,
  limit: number
): HoldRows => {
  let after = { account: only ?? "", hold: "" }
  let page: ReadonlyArray<HoldRow> = []
  let isAtEnd = false

  /** The next row up to an account, and not further. */
  const next = Effect.fnUntraced(function* (upTo: string | undefined) {
    if (page.length === 0 && !isAtEnd) {
      page = yield* books.holds({ after, limit })
      const last = page.at(-1)
      if (last !== undefined) after = { account: last.account, hold: last.hold }
      isAtEnd = page.length < limit
    }
    const [row] = page
    if (row === undefined || (upTo !== undefined && row.account > upTo)) return undefined
    page = page.slice(1)
    return row
  })

  const stray = ({ account, hold }: HoldRow) =>
    findings.add({ ...place, account, reason: `hold ${hold}: the log has no such open hold` })

  return {
    checkAccount: Effect.fnUntraced(function* (account, expected) {
      const missing = new Map(expected ?? [])
      for (;;) {
        const row = yield* next(account)
        if (row === undefined) break
        if (row.account === account && expected === undefined) continue
        const wanted = row.account === account ? missing.get(row.hold) : undefined
        if (wanted === undefined) {
          stray(row)
          continue
        }
        missing.delete(row.hold)
        const fault = difference(wanted, row)
        if (fault !== undefined)
          findings.add({
            ...place,
            account,
            column: fault.column,
            reason: `hold ${row.hold}: ${fault.reason}`
          })
      }
      for (const hold of missing.keys())
        findings.add({ ...place, account, reason: `hold ${hold}: its row is missing` })
    }),
    finish: Effect.gen(function* () {
      for (;;) {
        const row = yield* next(only)
        if (row === undefined) return
        stray(row)
      }
    })
  }
}
