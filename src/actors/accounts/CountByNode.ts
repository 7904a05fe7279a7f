/** How many commands there are of each other node, and in all: one node that stands still is not to fill this one with its own. */
export class CountByNode {
  readonly #byNode = new Map<string | undefined, number>()
  #all = 0

  get all(): number {
    return this.#all
  }

  of(node: string | undefined): number {
    return this.#byNode.get(node) ?? 0
  }

  /** So many more, or fewer. */
  add(node: string | undefined, count: number): void {
    this.#all += count
    const there = this.of(node) + count
    if (there === 0) this.#byNode.delete(node)
    else this.#byNode.set(node, there)
  }
}
