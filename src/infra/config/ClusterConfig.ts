/** The limits of a cluster of nodes (I10), each overridable by the environment. */
import { Context } from "effect"
import { limit, limitGroup } from "./Limits.ts"

export const clusterLimits = limitGroup("CHRONICLE_CLUSTER", {
  shards: limit(
    120,
    "Shares of the accounts that move between nodes as one. The same on all nodes, for the life of an installation."
  ),
  affinitySegments: limit(
    64,
    "Segments of an account id (parted by `:`) that say where it lives: accounts that have them in common live on one node. An id has at most 64, which is the whole id. The same on all nodes, for the life of an installation."
  ),
  lockExpirationMs: limit(8_000, "A node that has not confirmed its shards for this long has lost them."),
  lockRefreshMs: limit(2_500, "How often a node confirms its shards."),
  membershipPollMs: limit(200, "How often each node looks which nodes there are."),
  healthCheckMs: limit(1_000, "How often one node asks the others whether they live."),
  pingMs: limit(2_000, "How long a node may take to answer that; it is asked twice."),
  memberSilentMs: limit(
    3_000,
    "A node that has asked the database of the locks nothing for this long is frozen or cut off: another one ends its sessions there, and so frees its shards. Above `CHRONICLE_CLUSTER_LEASE_MS`."
  ),
  acquireMs: limit(700, "How long a node that was given shards looks again for those not released yet."),
  retryMs: limit(25, "The pause before a command whose account is moving is tried again."),
  mailboxMax: limit(
    20_000,
    "Commands of one other node that this node takes before it has answered some; beyond it the callers there get `Overloaded`."
  ),
  unsentBytesMax: limit(
    16_000_000,
    "Bytes for one other node that have not left this one; beyond it callers get `Overloaded` for what needs that node."
  ),
  leaseMs: limit(
    1_000,
    "How long another node may keep an account of this one; then the account is read from the log again."
  ),
  shareMs: limit(25, "How long further commands may join those that decide on an account of another node."),
  shareMax: limit(500, "Commands that one lease of an account serves."),
  drainMs: limit(1_000, "How long a shard that leaves waits for the commands under way on its accounts."),
  answerGraceMs: limit(
    500,
    "How much longer than the deadline of a command its sender waits for the answer of the owner."
  ),
  askMs: limit(
    3_000,
    "Commands that are not answered for this long are put to their owner again, which may be another node by now."
  ),
  dutyReportMs: limit(
    1_000,
    "How often a node reports which singletons it runs, and reads what the others reported."
  ),
  dutySilentMs: limit(
    15_000,
    "A singleton whose owner has not reported for this long has no owner: another node stands in, until the owner reports it again."
  ),
  dutyForgottenMs: limit(
    3_600_000,
    "A singleton that no node has reported for this long is forgotten: no program has it any more."
  ),
  connections: limit(
    3,
    "Connections to the database that holds the locks; one of them is kept for the locks."
  )
})

export type ClusterLimits = typeof clusterLimits.schema.Type
export const defaultClusterLimits: ClusterLimits = clusterLimits.defaults

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const ClusterConfig = Context.Reference<ClusterLimits>("chronicle/infra/ClusterConfig", {
  defaultValue: () => defaultClusterLimits
})
