/**
 * What the commits say was written: each commit row lists the versions of its events, account by account. The audit sets
 * this against the rows of the log, so that neither an event nor a commit can be lost or added alone.
 */
import { Effect } from "effect"
import {
  type CommitRow,
  EventStore,
  type StoreUnavailable,
  type WriterId
} from "../../infra/eventstore/EventStore.ts"
import type { Findings } from "./AuditFindings.ts"

const wordBits = 30

/**
 * A set of versions of one account, which mostly are all from 1 on: about a bit each, and no more than a map entry for 30
 * where they lie far apart.
 */
export class Versions {
  // Most accounts have at most 30 events, whose bits need no map.
  #first = 0
  #words: Map<number, number> | undefined

  /** False if the version was in the set already. */
  add(version: number): boolean {
    const index = Math.floor((version - 1) / wordBits)
    const bit = 1 << (version - 1 - index * wordBits)
    const word = this.#wordAt(index)
    if ((word & bit) !== 0) return false
    this.#set(index, word | bit)
    return true
  }

  /** False if the version was not in the set. */
  delete(version: number): boolean {
    const index = Math.floor((version - 1) / wordBits)
    const bit = 1 << (version - 1 - index * wordBits)
    const word = this.#wordAt(index)
    if ((word & bit) === 0) return false
    this.#set(index, word & ~bit)
    return true
  }

  /** About how much memory the set takes, in units of a set without a map. */
  get weight(): number {
    return 1 + (this.#words?.size ?? 0)
  }

  get isEmpty(): boolean {
    return this.#first === 0 && (this.#words?.size ?? 0) === 0
  }

  /** The lowest version, and how many there are. */
  summary(): { readonly least: number; readonly count: number } {
    let least = Number.POSITIVE_INFINITY
    let count = 0
    for (const [index, word] of [[0, this.#first] as const, ...(this.#words ?? [])]) {
      for (let bit = 0; bit < wordBits; bit++) {
        if ((word & (1 << bit)) === 0) continue
        count++
        least = Math.min(least, index * wordBits + bit + 1)
      }
    }
    return { least, count }
  }

  #wordAt(index: number): number {
    return index === 0 ? this.#first : (this.#words?.get(index) ?? 0)
  }

  #set(index: number, word: number): void {
    if (index === 0) {
      this.#first = word
      return
    }
    this.#words ??= new Map()
    if (word === 0) this.#words.delete(index)
    else this.#words.set(index, word)
  }
}

/** A part of a writer's tail: above `after`, up to and including `upTo`. */
export interface TailPart {
  readonly writerId: WriterId
  readonly after: number
  readonly upTo: number
}

/** More events than any commit has: a row that names more was not written by the ledger. */
const commitEventsMax = 1_000_000

/**
 * The versions that commits list, of the accounts from `from` up to `upTo`, both included; without `upTo`, of all from
 * `from` on. The walk takes out each version whose row it meets: what is left is missing from the log.
 */
export class Listing {
  readonly from: string
  upTo: string | undefined
  readonly accounts = new Map<string, Versions>()
  /** The weight of all accounts together, beyond one each. */
  #excess = 0

  constructor(from: string, upTo: string | undefined) {
    this.from = from
    this.upTo = upTo
  }

  covers(account: string): boolean {
    return account >= this.from && (this.upTo === undefined || account <= this.upTo)
  }

  /** Adds versions `first` to `last`; answers the first that was listed before, if there is one. */
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

  /** Leaves the upper accounts to a later slice where the listing weighs more than twice `max` (I10). */
  narrow(max: number): void {
    if (this.accounts.size < 2 || this.accounts.size + this.#excess <= 2 * max) return
    const inOrder = [...this.accounts].toSorted(([a], [b]) => (a < b ? -1 : 1))
    let weight = 0
    // The first account that does not fit ends the slice, even where a lighter one after it would fit.
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

/** After so many unreadable rows the rest of a writer's tail is not read. */
const unreadableMax = 100

/** Hands over the rows of a part, page by page, each with the sequence number that was expected. */
const eachCommit = Effect.fnUntraced(function* (
  part: TailPart,
  limit: number,
  onRow: (row: CommitRow, due: number) => void,
  onUnreadable: (seq: number) => void
) {
  const store = yield* EventStore
  const read = (after: number, rows: number): Effect.Effect<Page, StoreUnavailable> =>
    store.readTail({ writerId: part.writerId, after, limit: rows }).pipe(
      // Keys that are no JSON are a defect of the reader. Reading row by row finds the row.
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

/** Why a row cannot have been written by the ledger. */
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
 * One pass over the tails. It lists the versions of the first accounts that the listing covers, as many as the limits
 * allow. Only the first pass of an audit checks the tails themselves. Answers how many commits it saw.
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

/** Takes out of `late` what later commits list. What is left was written by no commit. */
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
