/**
 * Tells whether a commit may be delivered: whether everything of its accounts before it was delivered. Three bounded
 * memories answer that. Of accounts that were delivered lately, the last version is known, which is exact. Of others,
 * only the commits that were read ahead are known, and those beyond that were looked at: the lowest version among them is
 * taken for the next, which is exact once everything that may hold an earlier one was looked at.
 */
import type { AccountId, Version } from "../../domain/Ids.ts"
import type { CommitRow } from "../../infra/eventstore/EventStore.ts"

interface Awaiting {
  /** The last version that was delivered; undefined where it is not known. */
  delivered: Version | undefined
  /** The lowest version in the commits that were read ahead, while nothing is known of the account. */
  lowest: Version
  /** Commits that were read ahead and touch the account. */
  commits: number
}

/** Commits of an account beyond those that were read ahead. */
interface Beyond {
  /** None of them has a lower version. */
  lowest: Version
  commits: number
}

export class AccountOrder {
  readonly #awaiting = new Map<AccountId, Awaiting>()
  /** Last versions of accounts without commits that were read ahead, the longest unused first. */
  readonly #delivered = new Map<AccountId, Version>()
  readonly #beyond = new Map<AccountId, Beyond>()
  readonly #deliveredMax: number
  /** Everything that was ever delivered is known: of an unknown account nothing was. */
  #isComplete: boolean

  constructor(options: { readonly deliveredMax: number; readonly isFromStart: boolean }) {
    this.#deliveredMax = options.deliveredMax
    this.#isComplete = options.isFromStart
  }

  /** Accounts of which commits beyond those that were read ahead are noted. */
  get beyondSize(): number {
    return this.#beyond.size
  }

  /** A commit beyond was looked at; noted are those of its accounts that are wanted, or all. */
  noteBeyond({ keys }: CommitRow, wanted: ReadonlySet<AccountId> | undefined): void {
    for (const [account, first] of keys) {
      if (wanted !== undefined && !wanted.has(account)) continue
      const found = this.#beyond.get(account)
      if (found === undefined) this.#beyond.set(account, { lowest: first, commits: 1 })
      else {
        found.lowest = Math.min(found.lowest, first)
        found.commits++
      }
    }
  }

  forgetBeyond(): void {
    this.#beyond.clear()
  }

  /** Accounts of commits that were read ahead of which it is not known what was delivered. */
  awaitedUnknown(): ReadonlySet<AccountId> {
    const unknown = new Set<AccountId>()
    for (const [account, { delivered }] of this.#awaiting) if (delivered === undefined) unknown.add(account)
    return unknown
  }

  /** Those of the commit. */
  unknownOf({ keys }: CommitRow): ReadonlyArray<AccountId> {
    return keys.flatMap(([account, first]) => (this.#isUnknown(account, first) ? [account] : []))
  }

  /** What `isReady` says of the commit does not rest on what was looked at. */
  isCertain({ keys }: CommitRow): boolean {
    return this.#isComplete || !keys.some(([account, first]) => this.#isUnknown(account, first))
  }

  #isUnknown(account: AccountId, first: Version): boolean {
    return first > 1 && this.#awaiting.get(account)?.delivered === undefined
  }

  #takeFromBeyond(account: AccountId, first: Version, last: Version): void {
    const found = this.#beyond.get(account)
    if (found === undefined) return
    if (--found.commits === 0) this.#beyond.delete(account)
    else if (first === found.lowest) found.lowest = last + 1
  }

  /** A commit was read ahead, which was looked at before or not. */
  add({ keys }: CommitRow, wasBeyond = false): void {
    for (const [account, first, last] of keys) {
      if (wasBeyond) this.#takeFromBeyond(account, first, last)
      const found = this.#awaiting.get(account)
      if (found !== undefined) {
        found.commits++
        if (first < found.lowest) found.lowest = first
        continue
      }
      this.#awaiting.set(account, { delivered: this.#delivered.get(account), lowest: first, commits: 1 })
      this.#delivered.delete(account)
    }
  }

  isReady({ keys }: CommitRow): boolean {
    return keys.every(([account, first]) => {
      if (first === 1) return true
      const found = this.#awaiting.get(account)
      if (found?.delivered !== undefined) return first <= found.delivered + 1
      const lowest = Math.min(found?.lowest ?? first, this.#beyond.get(account)?.lowest ?? first)
      return !this.#isComplete && first <= lowest
    })
  }

  /** A commit that was read ahead is delivered. */
  deliver({ keys }: CommitRow): void {
    for (const [account, , last] of keys) {
      const found = this.#awaiting.get(account)
      if (found === undefined) continue
      found.delivered = Math.max(last, found.delivered ?? 0)
      found.commits--
      if (found.commits > 0) continue
      this.#awaiting.delete(account)
      this.#delivered.set(account, found.delivered)
    }
    for (const account of this.#delivered.keys()) {
      if (this.#delivered.size <= this.#deliveredMax) break
      this.#delivered.delete(account)
      this.#isComplete = false
    }
  }
}
