/**
 * Finds what follows an account, by its id or by how the id begins, with one look-up for each length of a followed prefix: a thousand
 * readers of an account each cost an event no more than one does.
 */
export class FollowerIndex<F> {
  readonly #ofAccounts = new Map<string, F>()
  /** By the length of the prefix. */
  readonly #ofPrefixes = new Map<number, Map<string, F>>()

  all(): ReadonlyArray<F> {
    const ofPrefixes = [...this.#ofPrefixes.values()].flatMap((found) => [...found.values()])
    return [...this.#ofAccounts.values(), ...ofPrefixes]
  }

  /** What follows the account alone; made where nothing does yet. */
  ofAccount(account: string, make: () => F): F {
    return getOrMake(this.#ofAccounts, account, make)
  }

  /** What follows all accounts whose ids begin like this. */
  ofPrefix(prefix: string, make: () => F): F {
    const ofLength = getOrMake(this.#ofPrefixes, prefix.length, () => new Map<string, F>())
    return getOrMake(ofLength, prefix, make)
  }

  dropAccount(account: string): void {
    this.#ofAccounts.delete(account)
  }

  dropPrefix(prefix: string): void {
    const ofLength = this.#ofPrefixes.get(prefix.length)
    ofLength?.delete(prefix)
    if (ofLength?.size === 0) this.#ofPrefixes.delete(prefix.length)
  }

  /** Everything that follows the account, each once. */
  find(account: string, visit: (follower: F) => void): void {
    const own = this.#ofAccounts.get(account)
    if (own !== undefined) visit(own)
    for (const [length, ofLength] of this.#ofPrefixes) {
      if (length > account.length) continue
      const found = ofLength.get(account.slice(0, length))
      if (found !== undefined) visit(found)
    }
  }
}

const getOrMake = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
