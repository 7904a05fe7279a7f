/** The log of all events, in CockroachDB or in PostgreSQL as its stand-in; the only source of truth of the ledger. */
import { Context, Effect, Layer } from "effect"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { makeMemory } from "./EventStoreMemory.ts"
import type {
  Commit,
  CommitOutcome,
  CommitRow,
  EventKey,
  FinishedWriter,
  StoreUnavailable,
  StreamFrom,
  WriterId,
  WriterRow
} from "./EventStoreTypes.ts"
import { makeQueries } from "./SqlClients.ts"
import { makeCommit } from "./SqlCommit.ts"
import { makeFinishedWriters } from "./SqlFinishedWriters.ts"
import { makeReads } from "./SqlReads.ts"
import { makeWriters } from "./SqlWriters.ts"

export * from "./EventStoreTypes.ts"

/**
 * Rows are never updated or deleted (I9). Every method is one or a few statements that
 * both engines accept (no advisory locks, no LISTEN, no jsonb[]); reads fail with `StoreUnavailable`. What is read is
 * as durable as a commit: see `StoreQueries.proven`.
 *
 * A writer sends one commit at a time, and number n + 1 only after n came back `Committed`. Therefore a fence at the
 * next number ends its tail for good.
 */
export class EventStore extends Context.Service<
  EventStore,
  {
    /** Product and version, for reports: "PostgreSQL 18.4", "CockroachDB v21.1.0". */
    readonly product: Effect.Effect<string, StoreUnavailable>
    /**
     * Sends one commit once; never fails. An interruption waits for the answer, at most the statement timeout and
     * a few seconds. After `Unknown`, only `Committed`, `Fenced` or a `Conflict` that names a key settles the
     * commit: `NotWritten` then speaks of the latest sending alone. Dies when a commit breaks the rules (one key
     * or command twice, another content under a number that was used), and nothing of it was written then.
     *
     * `mayCommit` is for a commit that must not become durable before another one: its rows are written at once in an
     * open transaction, which is committed when `mayCommit` answers true and rolled back (`NotWritten`) when it answers
     * false. `mayCommit` must end. Where the database falls silent, up to three statements have to be given up one
     * after another, each for a few seconds.
     */
    readonly commit: (commit: Commit, mayCommit?: Effect.Effect<boolean>) => Effect.Effect<CommitOutcome>
    /** One account's events in order of version, at most `limit` of them. */
    readonly readStream: (
      from: StreamFrom & { readonly upTo?: Version; readonly limit: number }
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** Many accounts' events, ordered by account and version, at most `limit` rows in all; no account twice. */
    readonly readStreams: (
      from: ReadonlyArray<StreamFrom>,
      limit: number
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** Single events by their keys, ordered by account and version; keys without an event are left out. */
    readonly readEvents: (
      keys: ReadonlyArray<{ readonly account: AccountId; readonly version: Version }>
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /**
     * The events of an account about one hold, above version `after` and up to `upTo`, in order. The store looks at each
     * event in between, so the distance bounds the work.
     */
    readonly readHold: (
      from: StreamFrom & { readonly hold: CommandId; readonly upTo: Version }
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** The first event (ordinal 0) of each command id that was accepted, ordered by command id. */
    readonly findCommands: (
      commands: ReadonlyArray<CommandId>
    ) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
    /** The whole log in order of account and version, above a key (which need not exist): every row, for audits. */
    readonly scan: (page: {
      readonly after: EventKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreUnavailable>
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
    /** The writers that are not finished, as of one moment, in order of id: a cut through all tails that may grow. */
    readonly listWriters: Effect.Effect<ReadonlyArray<WriterRow>, StoreUnavailable>
    /**
     * Ends a writer's tail with a fence row at its next number, so that not even a zombie can commit under that
     * number; answers it. Safe to call twice, and against a writer that is committing just now.
     */
    readonly fenceWriter: (writerId: WriterId) => Effect.Effect<number, StoreUnavailable>
    /**
     * Finds writers to be finished, at most `limit`, and answers how many: those that are fenced, whose fence the relay
     * has passed, and that did not report for `silentMs`. They are numbered, and leave `listWriters` for ever. Safe to
     * call from several nodes at once; one of them may fail then.
     */
    readonly finishWriters: (options: {
      readonly silentMs: number
      readonly limit: number
    }) => Effect.Effect<number, StoreUnavailable>
    /** The number of the last finished writer; 0 before the first. */
    readonly lastFinished: Effect.Effect<number, StoreUnavailable>
    /** Finished writers in order of their number, `above` excluded. */
    readonly finishedWriters: (page: {
      readonly above: number
      readonly upTo: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<FinishedWriter>, StoreUnavailable>
    /** Those of the ids under which a writer registered, finished or not. */
    readonly registeredWriters: (
      writers: ReadonlyArray<WriterId>
    ) => Effect.Effect<ReadonlySet<WriterId>, StoreUnavailable>
    /** A writer's commit rows above `after` in order of seq. */
    readonly readTail: (from: {
      readonly writerId: WriterId
      readonly after: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<CommitRow>, StoreUnavailable>
    /** How far the tail of each writer that is not finished was published (design §8); one without a cursor is at 0. */
    readonly relayCursors: Effect.Effect<ReadonlyMap<WriterId, number>, StoreUnavailable>
    /** Moves cursors; a lower value than the stored one is ignored. */
    readonly moveRelayCursors: (
      cursors: ReadonlyMap<WriterId, number>
    ) => Effect.Effect<void, StoreUnavailable>
  }
>()("chronicle/infra/EventStore") {
  /** Over the connections of an `EventStoreClient`; the database is at the program's schema already. */
  static readonly layer = Layer.effect(
    EventStore,
    Effect.gen(function* () {
      const queries = yield* makeQueries
      return {
        commit: yield* makeCommit(queries),
        ...makeReads(queries),
        ...makeWriters(queries),
        ...makeFinishedWriters(queries)
      }
    })
  )

  /** In this process's memory, by the same contract; starts empty each time it is built. */
  static readonly layerMemory = Layer.effect(EventStore, makeMemory)
}
