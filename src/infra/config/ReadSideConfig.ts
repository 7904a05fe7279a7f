/** The limits of the read side (bus, relay, projections, queries, subscriptions; I10), each overridable by the environment. */
import { Context } from "effect"
import { limit, limitGroup } from "./Limits.ts"

/**
 * MiB that the thread of the read side needs: with 48 it was full again and again at 1,500 commands a second, with 32 it did not start, and
 * with fewer than 4 V8 ended the whole process.
 */
const readSideHeapMibMin = 64
/** The system has no further steps: it refuses them with an error, which ends the thread. */
const readSideNicenessMax = 19

export const readSideLimits = limitGroup("CHRONICLE", {
  feedEventsMax: limit(
    20_000,
    "Events held between the commit pipeline and the relay; further ones are read from the store."
  ),
  feedBytesMax: limit(
    32_000_000,
    "Characters of these, about: the payload and context of each, and 250 more. Most events have some hundred; one of a journal with the longest metadata has several thousand."
  ),
  publishEventsMax: limit(5_000, "Events the relay publishes before it waits for their acknowledgements."),
  messageBytesMax: limit(
    256_000,
    "Bytes of one message of the bus, about; well below the server's `max_payload`."
  ),
  relayCursorMs: limit(1_000, "How often the relay writes its cursors to the store."),
  orphansMs: limit(5_000, "How often the relay looks for tails that dead nodes left unpublished."),
  writerSilentMs: limit(
    10_000,
    "The relay takes a writer for dead that has not reported for this long; the reconciler fences it where it stays silent for four heartbeats more."
  ),
  writerKeptMs: limit(
    60_000,
    "A writer whose end is fenced and published is listed for this long after its last report, then only by number."
  ),
  backoffMaxMs: limit(
    5_000,
    "The longest pause between two tries of what failed; it starts at 50 ms and doubles."
  ),
  unackedMax: limit(128, "Messages a consumer may hold unacknowledged, and so take at once."),
  ackWaitMs: limit(10_000, "A message that is not acknowledged for this long is delivered again."),
  projectEventsMax: limit(2_000, "Events of one transaction of the read model, about."),
  lagBudgetMs: limit(
    50,
    "How old an event may become before its projection begins, so that few large transactions take the place of many small ones. Nothing is waited for where a query waits, where a transaction is full, or where the read side is behind."
  ),
  projectLanes: limit(
    2,
    "Transactions of the read model that the partitions of one projection share, and that run at once."
  ),
  togetherMs: limit(2_000, "Partitions whose common transaction takes longer are projected one by one."),
  aloneMsMax: limit(
    60_000,
    "The longest transaction of a partition projected by itself; its time is doubled after each failure up to this."
  ),
  handoverMs: limit(1_000, "How long a partition that moves to another node waits for what it is writing."),
  headsKeptMax: limit(
    20_000,
    "Heads that a projection keeps in memory as it wrote them, instead of reading them again."
  ),
  contendedMax: limit(20, "How often a batch is folded again because another projector moved its rows."),
  sweepGraceMs: limit(1_400, "Commits younger than this are left to the bus by the sweep."),
  lostAfterMs: limit(
    1_400,
    "The sweep loads a commit from the log when its partition has been silent, or further on, for this long."
  ),
  sweepCommitsMax: limit(100, "Commits of one writer that the sweep compares at once."),
  verifyHeadsMax: limit(
    250,
    "Accounts whose rows are compared with the log at once, every quarter of `CHRONICLE_SWEEP_MS`, in turn and after each change."
  ),
  readModelConnections: limit(
    8,
    "Connections to the read model: so many for questions, and in the thread of the read side so many for projections. A rebuild needs 2."
  ),
  readModelStatementMs: limit(
    10_000,
    "The read model cancels a statement that takes longer; where it does not answer at all, a node gives it up `CHRONICLE_CONNECT_MS` later, and its connection within 5 s more."
  ),
  readSideHungMs: limit(
    10_000,
    "The thread of the read side is ended and started anew when it has given no sign of life for this long; `/ready` says so after 1.5 s."
  ),
  readSideStartMs: limit(
    30_000,
    "How long the thread of the read side may take to start; twice as long after each that did not, up to 16 times."
  ),
  readSideHeapMib: limit(
    2_048,
    `MiB of objects in the old heap of the thread of the read side, ${readSideHeapMibMin} or more; once it is full, the thread is ended and started anew.`,
    readSideHeapMibMin
  ),
  readSideNiceness: limit(
    3,
    `How far the thread of the read side gives way to commands where cores are short: steps of niceness, 1 to ${readSideNicenessMax}. On Linux; elsewhere it does not.`,
    1,
    readSideNicenessMax
  ),
  connectMs: limit(3_000, "How long opening a connection to the read model or the bus may take."),
  tokenWaitersMax: limit(
    10_000,
    "Positions of read tokens that queries wait for at once; of one query a 500th of them, and its others after those."
  ),
  tokenPollMs: limit(100, "How often those queries look into the read model, all by one statement."),
  tokenSoonMs: limit(
    8,
    "How soon they look for what projectors of other nodes wrote; doubled up to `CHRONICLE_TOKEN_POLL_MS` while no query joins."
  ),
  pageMax: limit(1_000, "Rows of one page of an answer; no question may ask for more than 1,000."),
  sumAccountsMax: limit(
    1_000_000,
    "Accounts that one sum by prefix may add up; a declared prefix may have any number."
  ),
  sumsMs: limit(
    600_000,
    "How often the sums of declared prefixes are compared with their accounts; new ones are filled at the start."
  ),
  sumSettleMsMax: limit(
    120_000,
    "How long that may take for one of them, and a statement of `verify` about the whole read model."
  ),
  headStatementsMax: limit(
    2,
    "Statements for balances by id that run at once; each carries all that were asked while others ran."
  ),
  readyLagEventsMax: limit(50_000, "A node is not ready while a projection lacks more events than this."),
  readyLagMsMax: limit(
    10_000,
    "A node is not ready while an event has been waiting for its projection for longer."
  ),
  rebuildEventsMax: limit(5_000, "Events that a rebuild reads from the log and writes at once."),
  rebuildLanes: limit(3, "Statements by which a rebuild writes them beside each other."),
  rebuildIndexMsMax: limit(
    3_600_000,
    "How long a rebuild may take for the indexes of one table, and for each look at a whole table."
  ),
  swapMsMax: limit(
    3_000,
    "How long a rebuild may hold up projectors and readers while it exchanges the tables."
  ),
  noticeMs: limit(1_000, "How often holds that have expired are looked for, to write the notices."),
  noticesMax: limit(500, "Notices that are written at each of these times, at most."),
  subscribePollMs: limit(250, "How often a subscription looks for commits of other nodes."),
  subscribeSharedFrom: limit(
    3,
    "From so many subscriptions and followed accounts of a node on, one reader reads the end of the log for all that have caught up."
  ),
  subscribeSharedEventsMax: limit(
    20_000,
    "Events that this reader keeps for those that have not taken them, one of more than 2,000 characters for several; a subscription that is further behind reads the log by itself."
  ),
  subscribeEventsMax: limit(1_000, "Events that a subscription reads from the log at once, about."),
  subscribeCommitsMax: limit(
    100,
    "Commits of one writer whose keys a subscription looks ahead to put accounts in order, at most."
  ),
  subscribeKeysMax: limit(
    60_000,
    "Keys (an account's versions in a commit) that a subscription looks ahead over all writers, about."
  ),
  subscribeAccountsMax: limit(
    20_000,
    "Accounts whose last version a subscription keeps in memory to put their later ones in order."
  ),
  subscribeAloneMax: limit(
    16,
    "Subscriptions behind the end of the log that read it by themselves at once; others wait for their turn."
  ),
  subscribeUntakenEventsMax: limit(
    32_000,
    "Events that all of these, and readers of single accounts, read for their consumers at once, about; each of them reads one commit, or event, at least."
  )
})

export type ReadSideLimits = typeof readSideLimits.schema.Type
export const defaultReadSideLimits: ReadSideLimits = readSideLimits.defaults

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const ReadSideConfig = Context.Reference<ReadSideLimits>("chronicle/infra/ReadSideConfig", {
  defaultValue: () => defaultReadSideLimits
})

/**
 * Why the thread of the read side cannot start with these limits; undefined where it can. The environment is refused before; a host may
 * give any numbers.
 */
export const faultOfThread = ({ readSideHeapMib, readSideNiceness }: ReadSideLimits): string | undefined => {
  if (readSideHeapMib < readSideHeapMibMin)
    return `readSideHeapMib is ${readSideHeapMib}: the thread of the read side needs ${readSideHeapMibMin} MiB or more`
  if (readSideNiceness > readSideNicenessMax)
    return `readSideNiceness is ${readSideNiceness}: the thread of the read side can give way by ${readSideNicenessMax} steps or fewer`
  return undefined
}
