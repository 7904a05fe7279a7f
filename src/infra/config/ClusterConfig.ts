/** Every limit of a cluster of nodes in one place (I10), each with its default. */
import { Context } from "effect"

export interface ClusterLimits {
  /** Groups of accounts that move between nodes as one. The same on all nodes, for the life of an installation. */
  readonly shards: number
  /** A node that does not confirm its shards for so long has lost them, in milliseconds. */
  readonly lockExpirationMs: number
  /** How often a node confirms its shards, in milliseconds. */
  readonly lockRefreshMs: number
  /** How often each node looks which nodes there are, in milliseconds. */
  readonly membershipPollMs: number
  /** How often one node asks the others whether they live, in milliseconds. */
  readonly healthCheckMs: number
  /** How long a node may take to answer that, in milliseconds; it is asked twice. */
  readonly pingMs: number
  /** How long a node that was given shards looks again for those not released yet, in milliseconds. */
  readonly acquireMs: number
  /** The pause before a command whose account is moving tries again, in milliseconds. */
  readonly retryMs: number
  /** Messages of other nodes that wait for one shard. */
  readonly mailboxMax: number
  /** How long another node may keep an account of ours, in milliseconds; then it is read from the log again. */
  readonly leaseMs: number
  /** How long further commands may join those that decide on an account of another node, in milliseconds. */
  readonly shareMs: number
  /** The most commands that one borrowing of an account serves. */
  readonly shareMax: number
  /** How long a shard that leaves waits for what is under way on its accounts, in milliseconds. */
  readonly drainMs: number
  /** How much longer than the deadline of a command its sender waits for the answer of the owner, in milliseconds. */
  readonly answerGraceMs: number
  /** After so long without an answer commands are put to their owner again, which may be another by now, in milliseconds. */
  readonly askMs: number
  /** How often a node says which of the common work is its own, and looks what the others said, in milliseconds. */
  readonly dutyReportMs: number
  /** Work whose owner did not say so for so long is nobody's, in milliseconds. */
  readonly dutySilentMs: number
  /** Work of which nothing was heard for so long is forgotten: the program has it no more, in milliseconds. */
  readonly dutyForgottenMs: number
  /** Connections to the database that holds the locks; one of them is the locks' own. */
  readonly connections: number
}

export const defaultClusterLimits: ClusterLimits = {
  shards: 120,
  lockExpirationMs: 8_000,
  lockRefreshMs: 2_500,
  membershipPollMs: 200,
  healthCheckMs: 1_000,
  pingMs: 2_000,
  acquireMs: 700,
  retryMs: 25,
  mailboxMax: 20_000,
  leaseMs: 3_000,
  shareMs: 25,
  shareMax: 500,
  drainMs: 1_000,
  answerGraceMs: 500,
  askMs: 3_000,
  dutyReportMs: 1_000,
  dutySilentMs: 15_000,
  dutyForgottenMs: 3_600_000,
  connections: 3
}

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const ClusterConfig = Context.Reference<ClusterLimits>("chronicle/infra/ClusterConfig", {
  defaultValue: () => defaultClusterLimits
})
