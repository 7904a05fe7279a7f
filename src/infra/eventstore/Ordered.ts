/** Rows in order of a number that mostly grows; a search is a bisection. */
export class Ordered<A> {
  readonly rows: Array<A> = []
  private readonly numberOf: (row: A) => number

  constructor(numberOf: (row: A) => number) {
    this.numberOf = numberOf
  }

  /** The index of the first row whose number is above. */
  private indexAbove(number: number): number {
    let low = 0
    let high = this.rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const row = this.rows[middle]
      if (row !== undefined && this.numberOf(row) <= number) low = middle + 1
      else high = middle
    }
    return low
  }

  add(row: A): void {
    this.rows.splice(this.indexAbove(this.numberOf(row)), 0, row)
  }

  at(number: number): A | undefined {
    const row = this.rows[this.indexAbove(number) - 1]
    return row !== undefined && this.numberOf(row) === number ? row : undefined
  }

  above(number: number, limit: number): ReadonlyArray<A> {
    const start = this.indexAbove(number)
    return this.rows.slice(start, start + limit)
  }

  get last(): A | undefined {
    return this.rows.at(-1)
  }
}
