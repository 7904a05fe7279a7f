/** The limits of the write path and of the event store (I10), each overridable by the environment. */
import { Context } from "effect"
import { limit, limitGroup } from "./Limits.ts"

export const ledgerLimits = limitGroup("CHRONICLE", {
  partitions: limit(16, "Partitions of accounts on the bus. Fixed for the life of an installation."),
  lanes: limit(
    2,
    "Commit lanes: connections of the write path. They work on disjoint accounts, or one behind another."
  ),
  batchRowsMax: limit(1_000, "Events of one INSERT; a command is never split."),
  batchBytesMax: limit(
    4_000_000,
    "Payload characters of one INSERT, about. A command whose events come to more is refused as `InvalidCommand`."
  ),
  inFlightMax: limit(20_000, "Commands of one node that are accepted and not answered yet."),
  inFlightPerAccountMax: limit(
    10_000,
    "Commands of one account that are accepted and not answered yet, so that one account cannot fill the node."
  ),
  decidedBytesMax: limit(
    32_000_000,
    "Payload characters, about, of the events that are decided and not committed: from half of it on a batch waits, and at the whole of it commands get `Overloaded`. Most commands have some hundred; a journal of 100 legs with the longest metadata has half a million."
  ),
  residentsMax: limit(
    50_000,
    "Accounts held in memory. A command that names more is refused as `InvalidCommand`."
  ),
  idleMs: limit(60_000, "An account that was not used for this long leaves memory."),
  commandDeadlineMs: limit(10_000, "How long a caller waits for the outcome of a command."),
  queryDeadlineMs: limit(
    5_000,
    "How long a query waits for a read token or an instant; it does not count while the read side of a node is started for the first time."
  ),
  redecideMax: limit(10, "How often a command is decided again after conflicts before it fails."),
  snapshotEvery: limit(500, "Events of an account from one snapshot to the next."),
  outcomesMax: limit(
    100_000,
    "Outcomes of accepted commands kept in memory to answer repeats; one of more than four postings counts for several."
  ),
  lookupsAtOnce: limit(
    8,
    "Look-ups in the log that commands wait for and that may take long: so many at once for what became of holds, and so many for what reversals are about."
  ),
  lookupsWaitingMax: limit(
    1_000,
    "Look-ups of either kind that wait for their turn; further ones are `Overloaded`."
  ),
  holdLookupMs: limit(
    5_000,
    "How long the log is searched for the end of a hold before `HoldClosed` is told without how and when; below `CHRONICLE_COMMAND_DEADLINE_MS`."
  ),
  clockSkewMaxMs: limit(500, "Largest distance between a node's clock and the store's."),
  heartbeatMs: limit(500, "How often a node reports to the store that its writers live."),
  storeReaders: limit(8, "Connections of the event store for everything but commits, which have one a lane."),
  storeStatementMs: limit(
    4_000,
    "The event store cancels a statement that takes longer; well below `CHRONICLE_COMMAND_DEADLINE_MS`."
  ),
  storeConnectMs: limit(3_000, "How long opening a connection to the event store may take."),
  storeStartMs: limit(
    120_000,
    "How long a node that starts tries again while the event store does not answer, each time with a warning, before it ends."
  ),
  storeConnectionMs: limit(
    60_000,
    "Age by which a connection to either database is replaced, one after another: after a failover an old one may lead to a server that only reads, and is never cut."
  ),
  sweepMs: limit(
    2_000,
    "What the bus lost is loaded from the log within this time: the read model is compared with the writers' tails four times as often, and what is younger than three quarters of it is left to the bus."
  )
})

export type LedgerLimits = typeof ledgerLimits.schema.Type
export const defaultLimits: LedgerLimits = ledgerLimits.defaults

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const LedgerConfig = Context.Reference<LedgerLimits>("chronicle/infra/LedgerConfig", {
  defaultValue: () => defaultLimits
})
