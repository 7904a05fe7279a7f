/** Versions of one account enter; which of them were marked leaves. About a bit each, sparse ones too. */

const wordBits = 30

/** A set of whole numbers around 1 … n, which mostly are all of them. */
export class Versions {
  // Most accounts have few events: their bits need no map.
  #first = 0
  #words: Map<number, number> | undefined

  /** False if it was marked already. */
  add(version: number): boolean {
    const index = Math.floor((version - 1) / wordBits)
    const bit = 1 << (version - 1 - index * wordBits)
    const word = this.#wordAt(index)
    if ((word & bit) !== 0) return false
    this.#set(index, word | bit)
    return true
  }

  /** False if it was not marked. */
  delete(version: number): boolean {
    const index = Math.floor((version - 1) / wordBits)
    const bit = 1 << (version - 1 - index * wordBits)
    const word = this.#wordAt(index)
    if ((word & bit) === 0) return false
    this.#set(index, word & ~bit)
    return true
  }

  /** What it takes of memory, about, in units of one small set. */
  get weight(): number {
    return 1 + (this.#words?.size ?? 0)
  }

  get isEmpty(): boolean {
    return this.#first === 0 && (this.#words?.size ?? 0) === 0
  }

  /** The least one, and how many there are. */
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
