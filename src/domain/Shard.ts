/**
 * Which shard an account falls into: accounts of one shard live on one node and move together. The rule is the same on
 * every node and for the life of an installation, and callers that know it can give a command to the node of its first
 * account.
 */
import { Schema } from "effect"
import type { AccountId } from "./Ids.ts"

export const ShardRule = Schema.Struct({
  /** Shards are numbered from 1 to this. */
  shards: Schema.Int,
  /**
   * How many `:`-separated segments at the beginning of an account id are its placement key: accounts with equal keys
   * fall into one shard, whatever follows. An id with fewer segments is its own key.
   */
  affinitySegments: Schema.Int
})
export type ShardRule = typeof ShardRule.Type

/** Segments that no id has more of, so that each whole id is its own placement key. */
export const wholeIdSegments = 64

/** The part of the id that decides where the account lives. */
const placementKey = (account: AccountId, segments: number): string => {
  if (segments >= wholeIdSegments) return account
  let end = -1
  for (let nth = 0; nth < segments; nth++) {
    end = account.indexOf(":", end + 1)
    if (end < 0) return account
  }
  return account.slice(0, end)
}

/** The hash by which Effect Cluster places an entity of this name (a test compares them): djb2, from the last character. */
export const shardOf = (account: AccountId, { shards, affinitySegments }: ShardRule): number => {
  const key = placementKey(account, affinitySegments)
  let hash = 5_381
  for (let index = key.length - 1; index >= 0; index--) hash = (hash * 33) ^ key.charCodeAt(index)
  const folded = (hash & 0xbfffffff) | ((hash >>> 1) & 0x40000000)
  return Math.abs(folded % shards) + 1
}

/** Which shards a node owns, as it tells callers. A word of what was so a moment ago: the node itself checks each command. */
export const OwnedShards = Schema.Struct({
  /** Another number whenever the shards are others, as long as the node's process lives. */
  change: Schema.Int,
  rule: ShardRule,
  owned: Schema.Array(Schema.Int)
})
export type OwnedShards = typeof OwnedShards.Type

/** What a node says that has all accounts. */
export const allShards: OwnedShards = {
  change: 0,
  rule: { shards: 1, affinitySegments: wholeIdSegments },
  owned: [1]
}
