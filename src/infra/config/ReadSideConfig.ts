/** Every limit of the read side (bus, relay, projections, queries) in one place (I10), each with its default. */
import { Context } from "effect"

export interface ReadSideLimits {
  /** Events the feed holds between the commit pipeline and the relay; what is above is read from the store. */
  readonly feedEventsMax: number
  /** Events the relay publishes before it waits for their acknowledgements. */
  readonly publishEventsMax: number
  /** Bytes of one message of the bus, about; well below the server's `max_payload`. */
  readonly messageBytesMax: number
  /** How often the relay writes its cursors to the store, in milliseconds. */
  readonly relayCursorMs: number
  /** How often the relay looks for tails that dead nodes left unpublished, in milliseconds. */
  readonly orphansMs: number
  /** A writer that did not report for so long is taken for dead by the relay, in milliseconds. */
  readonly writerSilentMs: number
  /** The longest pause between two tries of anything that failed, in milliseconds; it starts at 50 and doubles. */
  readonly backoffMaxMs: number
  /** Messages a consumer may hold unacknowledged; what a projector takes at once is at most this. */
  readonly unackedMax: number
  /** A message not acknowledged for so long is delivered again, in milliseconds. */
  readonly ackWaitMs: number
  /** Events one transaction of the read model carries, about. */
  readonly projectEventsMax: number
  /** Transactions of the read model that the partitions of one projection share, and that run at once. */
  readonly projectLanes: number
  /** Partitions whose common transaction is not over after so long go on one by one, in milliseconds … */
  readonly togetherMs: number
  /** … each of which may take so long for its own, doubled after each failure up to this. */
  readonly aloneMsMax: number
  /** How long a partition that moves to another node waits for what it is writing, in milliseconds. */
  readonly handoverMs: number
  /** Heads that a projection keeps in memory as it wrote them, so that it need not read them again. */
  readonly headsKeptMax: number
  /** How often a batch is folded again because another projector moved its rows. */
  readonly contendedMax: number
  /** Commits younger than this are left to the bus by the sweep, in milliseconds. */
  readonly sweepGraceMs: number
  /** A commit is lost, and loaded by the sweep, when its partition has been silent or further on for so long, in ms. */
  readonly lostAfterMs: number
  /** Commits of one writer that the sweep compares at once. */
  readonly sweepCommitsMax: number
  /** Connections to the read model. */
  readonly readModelConnections: number
  /** The read model cancels a statement after so long, in milliseconds. */
  readonly readModelStatementMs: number
  /** How long opening a connection to the read model or the bus may take, in milliseconds. */
  readonly connectMs: number
  /** Queries that wait for a read token at once. */
  readonly tokenWaitersMax: number
  /** How often they look into the read model, all by one statement, in milliseconds … */
  readonly tokenPollMs: number
  /** … and how soon for what the projectors of other nodes bring; doubled up to `tokenPollMs` while nobody joins. */
  readonly tokenSoonMs: number
  /** Rows of one page of an answer. */
  readonly pageMax: number
  /** Statements for balances by id that run at once; each carries all that were asked while others ran. */
  readonly headStatementsMax: number
  /** A node is not ready while a projection lacks more events than this … */
  readonly readyLagEventsMax: number
  /** … or the oldest of them has been waiting for longer than this, in milliseconds. */
  readonly readyLagMsMax: number
  /** Events that a rebuild reads from the log and writes at once … */
  readonly rebuildEventsMax: number
  /** … by so many statements beside each other. */
  readonly rebuildLanes: number
  /** How long a rebuild may take for the indexes of one table, in milliseconds. */
  readonly rebuildIndexMsMax: number
  /** How long a rebuild may hold up projectors and readers while it exchanges the tables, in milliseconds. */
  readonly swapMsMax: number
  /** How often a subscription looks for commits of other nodes, in milliseconds. */
  readonly subscribePollMs: number
  /** Events that a subscription reads from the log at once, about. */
  readonly subscribeEventsMax: number
  /** Commits of one writer whose keys a subscription looks ahead to put accounts in order. */
  readonly subscribeCommitsMax: number
}

export const defaultReadSideLimits: ReadSideLimits = {
  feedEventsMax: 20_000,
  publishEventsMax: 5_000,
  messageBytesMax: 256_000,
  relayCursorMs: 1_000,
  orphansMs: 5_000,
  writerSilentMs: 10_000,
  backoffMaxMs: 5_000,
  unackedMax: 128,
  ackWaitMs: 10_000,
  projectEventsMax: 2_000,
  projectLanes: 2,
  togetherMs: 2_000,
  aloneMsMax: 60_000,
  handoverMs: 1_000,
  headsKeptMax: 20_000,
  contendedMax: 20,
  sweepGraceMs: 1_400,
  lostAfterMs: 1_400,
  sweepCommitsMax: 100,
  readModelConnections: 8,
  readModelStatementMs: 10_000,
  connectMs: 3_000,
  tokenWaitersMax: 10_000,
  tokenPollMs: 100,
  tokenSoonMs: 8,
  pageMax: 1_000,
  headStatementsMax: 2,
  readyLagEventsMax: 50_000,
  readyLagMsMax: 10_000,
  rebuildEventsMax: 5_000,
  rebuildLanes: 3,
  rebuildIndexMsMax: 3_600_000,
  swapMsMax: 3_000,
  subscribePollMs: 250,
  subscribeEventsMax: 1_000,
  subscribeCommitsMax: 100
}

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const ReadSideConfig = Context.Reference<ReadSideLimits>("chronicle/infra/ReadSideConfig", {
  defaultValue: () => defaultReadSideLimits
})
