/**
 * A hash of a set of events for each account, which does not depend on the order in which they are added: the load test
 * compares what was acknowledged with what is in the log without keeping either.
 */

/** 64 bits of an event's hash, which covers the whole row, and of the figures that are told of the account after it. */
export type Digest = readonly [low: number, high: number]

/** In minor units; absent where a row of an early version binds none. */
interface Figures {
  readonly balance?: bigint
  readonly held?: bigint
  readonly available?: bigint
}

/** Of a figure that is not told: none that an account of a load has. */
const absent = -0x7fffffff

export const digestOf = (hash: string, { balance, held, available }: Figures): Digest => {
  let low = 0x811c9dc5
  let high = 0x9e3779b9
  for (let index = 0; index < hash.length; index++) {
    const code = hash.charCodeAt(index)
    low = Math.imul(low ^ code, 0x01000193)
    high = Math.imul(high ^ code, 0x85ebca6b)
  }
  for (const figure of [balance, held, available]) {
    // Those of a load are exact as numbers, of which an operator on bits takes the lower half.
    const units = figure === undefined ? absent : Number(figure)
    low = Math.imul(low ^ units, 0x01000193)
    high = Math.imul(high ^ units ^ (units / 2 ** 32), 0x85ebca6b)
  }
  return [low >>> 0, high >>> 0]
}

/**
 * The sum of the digests of each account, and their number. Two accounts with equal sums hold the same events, but for a
 * chance of 1 in 2^64.
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
    // The index is below the length of the arrays, whose elements wrap at 2^32.
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
