/** The roles that a node may have. */

/**
 * What a node does: all of it; commands alone, which it publishes on the bus but does not project; or the read side alone,
 * which projects what other nodes commit.
 */
export type NodeRole = "all" | "commands" | "read-side"
