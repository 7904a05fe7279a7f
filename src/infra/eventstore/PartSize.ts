/**
 * How many keys are looked up at once, where a row that cannot be read fails the look-up of all: one alone after a failure, and twice as
 * many after each success. So such a row keeps those beside it waiting for a few look-ups only, and a store that is back is soon
 * asked in full again.
 */
export class PartSize {
  readonly #most: number
  #size: number

  constructor(most: number) {
    this.#most = most
    this.#size = most
  }

  get size(): number {
    return this.#size
  }

  noteSuccess(): void {
    this.#size = Math.min(this.#most, this.#size * 2)
  }

  noteFailure(): void {
    this.#size = 1
  }
}
