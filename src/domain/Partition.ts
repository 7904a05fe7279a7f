/**
 * Which partition of the bus carries an account's events. Fixed for ever, because the events of one account are only in
 * order within one partition.
 */
import type { AccountId } from "./Ids.ts"

/** FNV-1a over the characters (ids are ASCII), folded to `partitions`: 0 … partitions - 1. */
export const partitionOf = (account: AccountId, partitions: number): number => {
  let hash = 0x811c9dc5
  for (let index = 0; index < account.length; index++) {
    hash = Math.imul(hash ^ account.charCodeAt(index), 0x01000193)
  }
  return (hash >>> 0) % partitions
}

/** Values sorted into the partitions of their accounts; the order within a partition is kept. */
export const byPartition = <A>(
  values: ReadonlyArray<A>,
  partitions: number,
  accountOf: (value: A) => AccountId
): ReadonlyMap<number, ReadonlyArray<A>> => {
  const groups = new Map<number, Array<A>>()
  for (const value of values) {
    const partition = partitionOf(accountOf(value), partitions)
    const group = groups.get(partition)
    if (group === undefined) groups.set(partition, [value])
    else group.push(value)
  }
  return groups
}
