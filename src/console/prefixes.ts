/** Accounts by the next segment of their ids, so that sums are drilled down: `merchant:` into `merchant:books:` and `merchant:coffee`. */

export interface Group {
  /** Of accounts that have more segments: up to and with the next `:`; of an account that ends here: its id. */
  readonly prefix: string
  readonly isAccount: boolean
  readonly accounts: number
}

export const groupsOf = (ids: ReadonlyArray<string>, prefix: string): ReadonlyArray<Group> => {
  const groups = new Map<string, Group>()
  for (const id of ids) {
    const end = id.indexOf(":", prefix.length)
    const isAccount = end < 0
    const key = isAccount ? id : id.slice(0, end + 1)
    const before = groups.get(key)?.accounts ?? 0
    groups.set(key, { prefix: key, isAccount, accounts: before + 1 })
  }
  return [...groups.values()]
}

/** The prefixes on the way to this one, the empty one first: `merchant:books:` goes by way of `merchant:`. */
export const wayTo = (prefix: string): ReadonlyArray<string> => {
  const way = [""]
  for (let end = prefix.indexOf(":"); end >= 0 && end < prefix.length - 1; end = prefix.indexOf(":", end + 1))
    way.push(prefix.slice(0, end + 1))
  return prefix === "" ? way : [...way, prefix]
}
