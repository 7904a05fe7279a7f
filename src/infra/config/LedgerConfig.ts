/** Every limit of the ledger in one place (I10), each with its default, overridable by the environment. */
import { Context } from "effect"

export interface LedgerLimits {
  /** Partitions of accounts on the bus. Fixed for the life of an installation. */
  readonly partitions: number
  /** Commit lanes: connections of the write path. They work on disjoint accounts, or one behind another. */
  readonly lanes: number
  /** Most events one INSERT carries; a command is never split. */
  readonly batchRowsMax: number
  /** Most payload characters one INSERT carries, about. */
  readonly batchBytesMax: number
  /** Commands of one node that are accepted and not answered yet. */
  readonly inFlightMax: number
  /** The same for one account, so that a storm on one does not starve the others. */
  readonly inFlightPerAccountMax: number
  /** Accounts held in memory. */
  readonly residentsMax: number
  /** An account unused for so long leaves memory, in milliseconds. */
  readonly idleMs: number
  /** How long a caller waits for the outcome of a command, in milliseconds. */
  readonly commandDeadlineMs: number
  /** How long a query waits for a read token or an instant, in milliseconds. */
  readonly queryDeadlineMs: number
  /** How often a command is decided again after conflicts before it fails. */
  readonly redecideMax: number
  /** A snapshot is written every so many events of an account. */
  readonly snapshotEvery: number
  /** Outcomes of accepted commands that are kept in memory to answer repeats. */
  readonly outcomesMax: number
  /** Largest distance between a node's clock and the store's, in milliseconds. */
  readonly clockSkewMaxMs: number
  /** How often a node reports to the store that its writers live, in milliseconds. */
  readonly heartbeatMs: number
  /** Connections of the event store for everything but commits, which have one a lane. */
  readonly storeReaders: number
  /** The event store cancels a statement after so long, in milliseconds; well below `commandDeadlineMs`. */
  readonly storeStatementMs: number
  /** How long opening a connection to the event store may take, in milliseconds. */
  readonly storeConnectMs: number
  /**
   * A connection to either database gives way to a new one after so long, in milliseconds: where an address leads
   * elsewhere after a failover, an old one may lead to a server that only reads, and is never cut.
   */
  readonly storeConnectionMs: number
  /**
   * What the bus lost is loaded from the log within this, in milliseconds: the read model is compared with the
   * writers' tails four times as often, and what is younger than three quarters of it is left to the bus.
   */
  readonly sweepMs: number
}

export const defaultLimits: LedgerLimits = {
  partitions: 16,
  lanes: 2,
  batchRowsMax: 1_000,
  batchBytesMax: 4_000_000,
  inFlightMax: 20_000,
  inFlightPerAccountMax: 10_000,
  residentsMax: 50_000,
  idleMs: 60_000,
  commandDeadlineMs: 10_000,
  queryDeadlineMs: 5_000,
  redecideMax: 10,
  snapshotEvery: 500,
  outcomesMax: 100_000,
  clockSkewMaxMs: 500,
  heartbeatMs: 500,
  storeReaders: 8,
  storeStatementMs: 4_000,
  storeConnectMs: 3_000,
  storeConnectionMs: 60_000,
  sweepMs: 2_000
}

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const LedgerConfig = Context.Reference<LedgerLimits>("chronicle/infra/LedgerConfig", {
  defaultValue: () => defaultLimits
})
