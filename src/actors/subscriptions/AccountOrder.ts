/**
 * Tells whether a commit may be delivered: whether everything of its accounts before it was delivered. Two bounded
 * memories answer that. Of accounts that were delivered lately, the last version is known, which is exact. Of others,
 * only the commits that were read ahead are known: the lowest version among them is taken for the next.
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

export class AccountOrder {
  readonly #awaiting = new Map<AccountId, Awaiting>()
  /** Last versions of accounts without commits that were read ahead, the longest unused first. */
  readonly #delivered = new Map<AccountId, Version>()
  readonly #deliveredMax: number
  /** Everything that was ever delivered is known: of an unknown account nothing was. */
  #isComplete: boolean

  constructor(options: { readonly deliveredMax: number; readonly isFromStart: boolean }) {
    this.#deliveredMax = options.deliveredMax
    this.#isComplete = options.isFromStart
  }

  /** A commit was read ahead. */
  add({ keys }: CommitRow): void {
    for (const [account, first] of keys) {
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
      return !this.#isComplete && first <= (found?.lowest ?? first)
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
