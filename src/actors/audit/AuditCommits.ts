/** The writers' tails enter; which versions of a range of accounts they list leaves, and what is wrong in them. */
import { Effect } from "effect"
import {
  type CommitRow,
  EventStore,
  type StoreUnavailable,
  type WriterId
} from "../../infra/eventstore/EventStore.ts"
import type { Findings } from "./AuditFindings.ts"
import { Versions } from "./AuditVersions.ts"

/** A part of a writer's tail: above `after`, up to and including `upTo`. */
export interface TailPart {
  readonly writerId: WriterId
  readonly after: number
  readonly upTo: number
}

/** Most events one commit can have; a row that says more was not written by the ledger. */
const commitEventsMax = 1_000_000

/** Listed versions of the accounts from `from` up to `upTo`, both included; no upper end where it is undefined. */
export class Listing {
  readonly from: string
  upTo: string | undefined
  readonly accounts = new Map<string, Versions>()
  /** What the accounts weigh together, beyond one each. */
  #excess = 0

  constructor(from: string, upTo: string | undefined) {
    this.from = from
    this.upTo = upTo
  }

  covers(account: string): boolean {
    return account >= this.from && (this.upTo === undefined || account <= this.upTo)
  }

  /** Marks versions `first` … `last`; answers the first that was marked before. */
  add(account: string, first: number, last: number): number | undefined {
    const versions = this.accounts.get(account) ?? new Versions()
    this.accounts.set(account, versions)
    let twice: number | undefined
    const before = versions.weight
    for (let version = first; version <= last; version++) {
      if (!versions.add(version)) twice ??= version
    }
    this.#excess += versions.weight - before
    return twice
  }

  /** Keeps memory bounded: with more than twice `max` in it, the upper accounts are left to a later slice. */
  narrow(max: number): void {
    if (this.accounts.size < 2 || this.accounts.size + this.#excess <= 2 * max) return
    const inOrder = [...this.accounts].toSorted(([a], [b]) => (a < b ? -1 : 1))
    let weight = 0
    // The first one that does not fit ends the slice, also where a lighter one above it would.
    const end = inOrder.findIndex(([, versions], index) => {
      weight += versions.weight
      return index > 0 && weight > max
    })
    if (end === -1) return
    this.upTo = inOrder[end - 1]?.[0]
    for (const [account, versions] of inOrder.slice(end)) {
      this.#excess -= versions.weight - 1
      this.accounts.delete(account)
    }
  }
}

/** Unreadable rows of one writer after which the rest of its tail is left alone. */
const unreadableMax = 100

/** Hands over the rows of one part, page by page, each with the seq that was due. */
const eachCommit = Effect.fnUntraced(function* (
  part: TailPart,
  limit: number,
  onRow: (row: CommitRow, due: number) => void,
  onUnreadable: (seq: number) => void
) {
  const store = yield* EventStore
  const read = (after: number, rows: number): Effect.Effect<Page, StoreUnavailable> =>
    store.readTail({ writerId: part.writerId, after, limit: rows }).pipe(
      // Keys that are no JSON are a defect of the reader: one row at a time finds the row.
      Effect.catchDefect(() => (rows > 1 ? read(after, 1) : Effect.succeed("unreadable" as const)))
    )
  let after = part.after
  let unreadable = 0
  while (after < part.upTo && unreadable < unreadableMax) {
    const page = yield* read(after, limit)
    if (page === "unreadable") {
      onUnreadable(++after)
      unreadable++
      continue
    }
    for (const row of page) {
      if (row.seq > part.upTo) return after
      onRow(row, after + 1)
      after = row.seq
    }
    if (page.length === 0) return after
  }
  return after
})

type Page = ReadonlyArray<CommitRow> | "unreadable"

/** Why a row was not written by the ledger. */
const faultOf = (row: CommitRow): string | undefined => {
  const isKey = (key: unknown) =>
    Array.isArray(key) &&
    key.length === 3 &&
    typeof key[0] === "string" &&
    Number.isSafeInteger(key[1]) &&
    Number.isSafeInteger(key[2]) &&
    key[1] <= key[2]
  if (!Array.isArray(row.keys) || !row.keys.every(isKey)) return "its keys are no list of ranges"
  const listed = row.keys.reduce((sum, [, first, last]) => sum + last - first + 1, 0)
  if (listed !== row.rows) return `it lists ${listed} events and counts ${row.rows}`
  return listed > commitEventsMax ? `it lists ${listed} events` : undefined
}

/**
 * One pass over the tails: lists the versions of the least accounts that the listing covers, as many as memory is
 * allowed for. The tails themselves are checked by the first pass alone. Answers how many commits it saw.
 */
export const listCommits = Effect.fnUntraced(function* (
  parts: ReadonlyArray<TailPart>,
  listing: Listing,
  limits: { readonly pageCommits: number; readonly sliceAccounts: number },
  findings: Findings,
  isFirst: boolean
) {
  let commits = 0
  for (const part of parts) {
    const broken = (seq: number, what: string) => {
      const reason = `commit ${seq} of writer ${part.writerId}: ${what}`
      if (isFirst) findings.add({ invariant: "I1", where: "commits", reason })
    }
    let fencedAt: number | undefined
    const onRow = (row: CommitRow, due: number) => {
      commits++
      if (row.seq !== due) broken(due, `it is missing, the next one is ${row.seq}`)
      if (fencedAt !== undefined) broken(row.seq, `it follows the fence at ${fencedAt}`)
      if (row.rows === 0) fencedAt = row.seq
      const fault = faultOf(row)
      if (fault !== undefined) return broken(row.seq, fault)
      for (const [account, first, last] of row.keys) {
        if (!listing.covers(account)) continue
        const version = listing.add(account, first, last)
        if (version === undefined) continue
        const reason = `commit ${row.seq} of writer ${part.writerId} lists it, as another commit does`
        findings.add({ invariant: "I4", where: "commits", account, version, reason })
      }
      listing.narrow(limits.sliceAccounts)
    }
    const reached = yield* eachCommit(part, limits.pageCommits, onRow, (seq) =>
      broken(seq, "its row cannot be read")
    )
    if (reached < part.upTo) broken(reached + 1, `it is missing, and all up to ${part.upTo}`)
  }
  return commits
})

/** Unmarks what commits after the first look list: what is left was written by no commit. */
export const dropListed = Effect.fnUntraced(function* (
  parts: ReadonlyArray<TailPart>,
  late: Map<string, Versions>,
  pageCommits: number
) {
  for (const part of parts) {
    if (late.size === 0) return
    const onRow = (row: CommitRow) => {
      if (faultOf(row) !== undefined) return
      for (const [account, first, last] of row.keys) {
        const versions = late.get(account)
        if (versions === undefined) continue
        for (let version = first; version <= last; version++) versions.delete(version)
        if (versions.isEmpty) late.delete(account)
      }
    }
    yield* eachCommit(part, pageCommits, onRow, () => {})
  }
})
