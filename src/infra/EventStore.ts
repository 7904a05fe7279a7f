/** The log (CockroachDB, or PostgreSQL as its stand-in): groups of events enter in one statement, streams leave. */
import { Context, Data, type Effect } from "effect"
import type { AccountId, CommandId, Instant, Version } from "../domain/Ids.ts"
import type { StoredEvent } from "../domain/StoredEvent.ts"

/** One commit lane of one process life; it numbers its commits 1, 2, 3 … without a gap. */
export type WriterId = string

/** What one flush writes, in one statement: all of it lands or none. At least one event. */
export interface Commit {
  readonly writerId: WriterId
  /** The writer's next number. */
  readonly seq: number
  /** In the order in which they were decided; whole commands only. */
  readonly events: ReadonlyArray<StoredEvent>
}

/** The row of table `commits` that lands with the events: a writer's tail is these rows in order of `seq`. */
export interface CommitRow {
  readonly writerId: WriterId
  readonly seq: number
  /** The latest `recordedAt` of its events. */
  readonly recordedAt: Instant
  /** Number of events; 0 in the fence row that ends a dead writer's tail. */
  readonly rows: number
  /** Which versions of which accounts it wrote: `[account, first, last]`, in no particular order. */
  readonly keys: ReadonlyArray<readonly [AccountId, Version, Version]>
}

/** How the sending of a commit ended. Only `Committed` means that something is in the log. */
export type CommitOutcome = Data.TaggedEnum<{
  /** All of it is in the log, by this sending or an earlier one of the identical commit. */
  Committed: {}
  /**
   * Nothing was written: some keys are taken. `versions` are those of this commit that exist already (another
   * writer owned the account), `commands` the ids that were accepted before (repeats). Both may be empty when
   * the row in the way was gone again at the second look: then the commit may be sent again as it is.
   */
  Conflict: {
    readonly versions: ReadonlyArray<{ readonly account: AccountId; readonly version: Version }>
    readonly commands: ReadonlyArray<CommandId>
  }
  /** Nothing was written: somebody ended this writer's tail. Go on as a new writer, and decide again. */
  Fenced: {}
  /** Nothing was written (serialization failure, or no connection could be had): send the identical commit again. */
  NotWritten: { readonly reason: string }
  /** It may be in the log or not (connection lost, 40003, timeout): send the identical commit again to learn it. */
  Unknown: { readonly reason: string }
}>
export const CommitOutcome = Data.taggedEnum<CommitOutcome>()

/** A read could not be answered: which store, and what it said. */
export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<{
  readonly store: "event store" | "read model" | "bus"
  readonly reason: string
}> {
  override get message() {
    return `${this.store}: ${this.reason}`
  }
}

/** Where a stream is read from: events with a version above `after`. */
export interface StreamFrom {
  readonly account: AccountId
  readonly after: Version
}

/** The state of a writer as the store knows it. */
export interface WriterRow {
  readonly writerId: WriterId
  readonly node: string
  /** The number of its last commit, 0 before the first. */
  readonly lastSeq: number
  /** True once a fence row ended its tail. */
  readonly fenced: boolean
  /** Nothing of this writer will ever commit at or before this instant. */
  readonly closedAt: Instant
  /** The store's clock when the writer last reported. */
  readonly heartbeatAt: Instant
}

/**
 * The log of all accounts. Rows are never updated or deleted (I9). Every method is one or a few statements that
 * both engines accept (no advisory locks, no LISTEN, no jsonb[]); reads fail with `StoreUnavailable`.
 */
export class EventStore extends Context.Service<
  EventStore,
  {
    /** Product and version, for reports: "PostgreSQL 18.4", "CockroachDB v21.1.0". */
    readonly product: Effect.Effect<string, StoreUnavailable>
    /** Sends one commit once; never fails, interruption waits for the answer or the statement timeout. */
    readonly commit: (commit: Commit) => Effect.Effect<CommitOutcome>
    /** One account's events in order of version, at most `limit` of them. */
    readonly readStream: (
      from: StreamFrom & { readonly upTo?: Version; readonly limit: number }
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** Many accounts' events in one query, ordered by account and version, at most `limit` rows in all. */
    readonly readStreams: (
      from: ReadonlyArray<StreamFrom>,
      limit: number
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** Single events by their keys; those that do not exist are left out. */
    readonly readEvents: (
      keys: ReadonlyArray<{ readonly account: AccountId; readonly version: Version }>
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** The first event (ordinal 0) of each command id that was accepted. */
    readonly findCommands: (
      commands: ReadonlyArray<CommandId>
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** Account ids in order, above `after`, for walks over the whole log. */
    readonly listAccounts: (page: {
      readonly after: string
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<AccountId>, StoreUnavailable>
    /** Makes a writer known before its first commit. `closedAt` as in `heartbeat`. */
    readonly registerWriter: (writer: {
      readonly writerId: WriterId
      readonly node: string
      readonly closedAt: Instant
    }) => Effect.Effect<void, StoreUnavailable>
    /** Reports that a node's writers live and up to where each is closed; answers the store's clock. */
    readonly heartbeat: (
      writers: ReadonlyArray<{ readonly writerId: WriterId; readonly closedAt: Instant }>
    ) => Effect.Effect<Instant, StoreUnavailable>
    readonly listWriters: Effect.Effect<ReadonlyArray<WriterRow>, StoreUnavailable>
    /**
     * Ends a writer's tail with a fence row at its next number, so that not even a zombie can commit under it
     * again; answers the fence's seq. Safe to call twice, and against a writer that is committing just now.
     */
    readonly fenceWriter: (writerId: WriterId) => Effect.Effect<number, StoreUnavailable>
    /** A writer's commit rows above `after` in order of seq. */
    readonly readTail: (from: {
      readonly writerId: WriterId
      readonly after: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<CommitRow>, StoreUnavailable>
    /** The latest `recordedAt` in the log, 0 when it is empty. */
    readonly lastRecordedAt: Effect.Effect<Instant, StoreUnavailable>
    /** How far each writer's tail was published (design §8); a missing one is 0. */
    readonly relayCursors: Effect.Effect<ReadonlyMap<WriterId, number>, StoreUnavailable>
    /** Moves cursors; a lower value than the stored one is ignored. */
    readonly moveRelayCursors: (
      cursors: ReadonlyMap<WriterId, number>
    ) => Effect.Effect<void, StoreUnavailable>
  }
>()("chronicle/infra/EventStore") {}
