/** The hashes of events enter, in any order; for each account a sum that tells two sets of them apart leaves. */

/** Twice 32 bits of a hash. An event's hash covers its whole row. */
export type Digest = readonly [low: number, high: number]

export const digestOf = (hash: string): Digest => {
  let low = 0x811c9dc5
  let high = 0x9e3779b9
  for (let index = 0; index < hash.length; index++) {
    const code = hash.charCodeAt(index)
    low = Math.imul(low ^ code, 0x01000193)
    high = Math.imul(high ^ code, 0x85ebca6b)
  }
  return [low >>> 0, high >>> 0]
}

/**
 * The same for the same set in any order, wherever it was added up: two equal sums (and counts) mean the same rows, by
 * any chance that matters for finding mistakes.
 */
export class MultisetHashes {
  readonly count: Uint32Array
  readonly low: Uint32Array
  readonly high: Uint32Array

  constructor(accounts: number) {
    this.count = new Uint32Array(accounts)
    this.low = new Uint32Array(accounts)
    this.high = new Uint32Array(accounts)
  }

  add(account: number, [low, high]: Digest): void {
    // Every index given to these arrays is below their length; the arrays wrap at 2^32 by themselves.
    this.count[account] = (this.count[account] ?? 0) + 1
    this.low[account] = (this.low[account] ?? 0) + low
    this.high[account] = (this.high[account] ?? 0) + high
  }

  equals(other: MultisetHashes, account: number): boolean {
    return (
      this.count[account] === other.count[account] &&
      this.low[account] === other.low[account] &&
      this.high[account] === other.high[account]
    )
  }
}
