/** Keeps what is remembered within its limit (I10). */

/** A map or a set, the oldest of which come first. */
interface Kept<Key> {
  readonly size: number
  keys(): Iterable<Key>
  delete(key: Key): boolean
}

/** Forgets the oldest, until no more than `max` are left. */
export const forgetOldest = <Key>(kept: Kept<Key>, max: number): void => {
  for (const oldest of kept.keys()) {
    if (kept.size <= max) return
    kept.delete(oldest)
  }
}
