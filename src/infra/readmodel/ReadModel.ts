/**
 * The read model: what projections write of the log, and what queries read of it. It holds nothing that is not in the log,
 * so it may be lost and rebuilt at any time (I8).
 */
import { Context, Data, Effect, Layer, type Scope } from "effect"
import type {
  ContraEntry,
  HoldChange,
  HoldRow,
  OpenedHead,
  StatementLine,
  TransferRow
} from "../../domain/Books.ts"
import type { EventType } from "../../domain/Event.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { Position } from "../../domain/Receipt.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable, WriterId } from "../eventstore/EventStore.ts"
import { books } from "./BooksProjection.ts"
import { makeDeclaredSums } from "./DeclaredSums.ts"
import { beyondIds } from "./IdRanges.ts"
import { prefixOf } from "./Projection.ts"
import { type FrozenBooks, freeze } from "./ReadModelFrozen.ts"
import { makeReadModelMemory } from "./ReadModelMemory.ts"
import { makeBooksReads } from "./ReadModelReads.ts"
import { ProjectionSql, ReadModelSql } from "./ReadModelSql.ts"
import { makeProjectionWrites } from "./ReadModelWrites.ts"

/** An account that moves from version `from` (0: it has no row yet) to that of the head. */
interface Move {
  readonly from: Version
  readonly head: OpenedHead
}

/** How far a partition of the bus was read. */
export interface Checkpoint {
  readonly partition: number
  /** The sequence number that the bus gave the last message. */
  readonly position: number
  /** The latest `recordedAt` in it. */
  readonly recordedAt: Instant
}

export interface CheckpointAt extends Checkpoint {
  /** How long ago it was written, in milliseconds, by the clock of the read model alone: those of the nodes may differ. */
  readonly quietMs: number
}

/** What one transaction writes: the rows of the events between the two versions of each move. */
export interface BooksBatch {
  readonly moves: ReadonlyArray<Move>
  readonly lines: ReadonlyArray<StatementLine>
  readonly transfers: ReadonlyArray<TransferRow>
  readonly contras: ReadonlyArray<ContraEntry & { readonly partition: number }>
  /** What became of holds, at most one entry a hold. */
  readonly holds: ReadonlyArray<HoldChange>
  /** What the moves add to the sums of declared prefixes; absent where no account of any is moved. */
  readonly sums?: ReadonlyArray<SumChange>
  readonly checkpoints: ReadonlyArray<Checkpoint>
  /** The generation of the tables that the batch was folded on. It is not written to tables of another generation. */
  readonly generation?: number
  /** The event that a person skips by this batch. */
  readonly skipped?: Parked
}

/** What the accounts of one partition add to the sum of a declared prefix. */
export interface SumChange extends AssetSum {
  readonly prefix: string
  readonly partition: number
}

/**
 * Heads, and the generation of the tables that they were read from: a rebuild exchanges the tables for new ones, and other
 * prefixes may be declared.
 */
export interface Looked {
  readonly generation: number
  /** The prefixes whose sums a batch of this generation has to move; none where the projection has no sums. */
  readonly sumPrefixes: ReadonlyArray<string>
  /** Without the accounts that have no row. */
  readonly heads: ReadonlyMap<AccountId, OpenedHead>
}

/** An account that stays where it is, because its event `version` cannot be projected. */
export interface Parked {
  readonly account: AccountId
  readonly version: Version
  readonly reason: string
  readonly since: Instant
}

/** Which accounts are parked, for who has known it before. */
export interface ParkedNow {
  /** Of all of them: another one where other accounts are parked. */
  readonly digest: string
  /** All of them; undefined where the digest is the one that was known. */
  readonly accounts: ReadonlyArray<AccountId> | undefined
  /** Those that are past their event, by a newer program perhaps: they are to be released. */
  readonly past: ReadonlyArray<AccountId>
}

export interface ContraBalance {
  readonly contra: string
  readonly asset: Asset
  readonly balance: bigint
}

/** The sums of one asset; `total` is zero when the projection has caught up (I2). */
export interface TrialLine {
  readonly asset: Asset
  readonly accounts: bigint
  readonly contras: bigint
  readonly total: bigint
}

/** Which accounts are summed up, and what counts. */
export interface SumQuery {
  readonly prefix: string
  /** What was recorded later does not count. */
  readonly knownAt: Instant
  /** Nor does what is effective later; everything, where it is absent. */
  readonly effectiveAt?: Instant | undefined
}

/** A head as the read model has it, and at the same moment whether its account is parked: then it may be older than it has been. */
export interface ReadHead extends OpenedHead {
  readonly isParked: boolean
}

/** What accounts of one asset have together. */
export interface AssetSum {
  readonly asset: Asset
  readonly balance: bigint
  readonly accounts: number
}

/** Sums over accounts at one moment of the read model. */
export interface SumsAt<Sum> {
  readonly sums: ReadonlyArray<Sum>
  /** Those of the accounts that are parked then: what they lack is not in the sums. */
  readonly parked: number
}

/** One of an event's two times: when it was recorded, or for when it counts. */
export type TimeAxis = "recorded" | "effective"

/** The place of a line in a statement. */
interface LinePosition {
  readonly version: Version
  /** Counts in effective order only. */
  readonly effectiveAt: Instant
}

export interface LinesQuery {
  readonly account: AccountId
  readonly limit: number
  /** The last line of the page before; absent for the first page. */
  readonly after?: LinePosition | undefined
  /** Events above this version are left out, so that the pages of one statement agree. */
  readonly upTo?: Version | undefined
  /** The order of the lines, and the time that `from` and `to` mean; default `recorded`. */
  readonly axis?: TimeAxis | undefined
  /** Lines at or after `from` and before `to`. */
  readonly from?: Instant | undefined
  readonly to?: Instant | undefined
  /** Lines of these types, and with this account or contra on the other side; balances are of all lines. */
  readonly types?: ReadonlyArray<EventType> | undefined
  readonly counterparty?: string | undefined
}

/** A page of a statement, as of one version of its account. */
export interface StatementRows {
  readonly asset: Asset
  /** Up to here the account's events are in it. */
  readonly version: Version
  /** The balance before `from`, along the axis: zero where there is no `from`. */
  readonly opening: bigint
  /** The balance before `to`, along the axis: of all events where there is no `to`. */
  readonly closing: bigint
  /** In the order of the axis, each with the balance after it in that order. */
  readonly lines: ReadonlyArray<StatementLine>
}

/** The holds of one account, in order of id. */
export interface AccountHoldsQuery {
  readonly account: AccountId
  /** Those that have not expired by then. */
  readonly openAt: Instant
  /** Of these, those that expire before; all, where it is absent. */
  readonly before?: Instant | undefined
  /** The id of the last one of the page before. */
  readonly after?: string | undefined
  readonly limit: number
}

/** A hold that expires, and what says whether its row can be believed; all of it at one moment of the read model. */
export interface ExpiringHold extends HoldRow {
  /** Its account is parked: its rows may lack events, and be older than they have been. */
  readonly isParked: boolean
  /** The versions of the events of its account that were skipped. */
  readonly skipped: ReadonlyArray<Version>
}

/** The place of a hold in the order of expiry. */
export interface ExpiryPlace {
  readonly expiresAt: Instant
  readonly account: string
  readonly hold: string
}

/** Holds that expire, in order of when they do. */
export interface ExpiryQuery {
  /** The last one of the page before, or where the first page begins. */
  readonly after: ExpiryPlace
  readonly before: Instant
  /** Of accounts whose ids begin with it. */
  readonly prefix?: string | undefined
  readonly limit: number
}

/** Before all holds that expire later than an instant, and behind those that expire then. */
export const expiringAfter = (instant: Instant): ExpiryPlace => ({
  expiresAt: instant,
  account: beyondIds,
  hold: ""
})

/** The database will never take these rows as they are, because a text or number is out of its range, for instance. */
export class RowsRefused extends Data.TaggedError("RowsRefused")<{ readonly reason: string }> {
  override get message() {
    return `the read model refuses these rows: ${this.reason}`
  }
}

/** The event at which the read model holds an account: its row of the balances. */
export interface HeldHead {
  readonly account: AccountId
  readonly version: Version
  readonly hash: string
}

/** The projection cannot take back what the events of one account wrote: it has to be rebuilt. */
export class ReloadUnsupported extends Data.TaggedError("ReloadUnsupported")<{
  readonly projection: string
}> {
  override get message() {
    return `projection ${this.projection} cannot reload one account: rebuild it ("chronicle rebuild")`
  }
}

/** Stands in `swept` for all finished writers up to a number, which is its cursor. No writer's id begins with `~`. */
export const sweptFinished: WriterId = "~finished"

export interface ReadModelWrites {
  /** The heads of accounts, to fold further events on. */
  readonly look: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Looked, StoreUnavailable>
  /**
   * Writes a batch, whole or not at all. False, and nothing written, where an account is not at its `from` because another
   * projector moved it: then its head must be read again. This guard alone makes any number of projectors safe at once.
   */
  readonly apply: (batch: BooksBatch) => Effect.Effect<boolean, StoreUnavailable | RowsRefused>
  /**
   * For an account whose row stands for an event that the log does not have (I8): takes back all that its events
   * wrote, and writes the batch, whose moves begin at version 0, in the same transaction. The account's parking and
   * its skipped events stay. False, and nothing written, when the account is not at `held` any more.
   */
  readonly reload: (
    held: HeldHead,
    partition: number,
    batch: BooksBatch
  ) => Effect.Effect<boolean, StoreUnavailable | RowsRefused | ReloadUnsupported>
  /** The events that accounts are held at, in order of account, above `after`. */
  readonly heldHeads: (page: {
    readonly after: string
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<HeldHead>, StoreUnavailable>
  readonly checkpoints: Effect.Effect<ReadonlyMap<number, CheckpointAt>, StoreUnavailable>
  /**
   * The positions that are not reached, with the version that the account is at. Accounts that are parked before their event are left
   * out: those that are past it are to be released.
   */
  readonly behind: (
    positions: ReadonlyArray<Position>
  ) => Effect.Effect<ReadonlyArray<Position & { readonly reached: Version }>, StoreUnavailable>
  /** Up to where each writer's tail was found to be in the tables; see also `sweptFinished`. */
  readonly swept: Effect.Effect<ReadonlyMap<WriterId, number>, StoreUnavailable>
  /**
   * Moves a writer's cursor if it still stands at `from`, which it does not where the read model was lost meanwhile; and only in tables
   * of the generation that the tail was held against, where one is given: of others nothing is known yet.
   */
  readonly moveSwept: (
    writerId: WriterId,
    from: number,
    to: number,
    generation?: number
  ) => Effect.Effect<void, StoreUnavailable>
  /** Forgets the cursors of writers that are finished, in such tables: a cursor over all of them takes their place. */
  readonly forgetSwept: (
    writers: ReadonlyArray<WriterId>,
    generation?: number
  ) => Effect.Effect<void, StoreUnavailable>
  /** All of them, however many there are: for a person, and for tests. */
  readonly parked: Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
  /** The first of them in order of account; of those whose reason begins so, where that is given. */
  readonly firstParked: (
    limit: number,
    beginning?: string
  ) => Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
  /** Those of some accounts that are parked. */
  readonly parkedAmong: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
  /** `known` is the digest of those that the caller knows, or "". Asked again and again: a list of them is told where it is another. */
  readonly parkedNow: (known: string) => Effect.Effect<ParkedNow, StoreUnavailable>
  /** Leaves out accounts that got past their event meanwhile, because it was skipped, or projected by a newer program. */
  readonly park: (parked: ReadonlyArray<Parked>) => Effect.Effect<void, StoreUnavailable>
  /**
   * From here on these accounts count as past their event, at whatever version they are: `behind` tells what they lack, and each process
   * that looks releases them.
   */
  readonly beginRelease: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
  /** Leaves out accounts that are not past their event: they were parked again, perhaps by another process. */
  readonly unpark: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
  /** Events that were skipped, in order of account and version; `since` is when they were. */
  readonly skipped: Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
}

export interface ReadModelReads {
  /** The heads of accounts; those without a row are left out. */
  readonly heads: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyMap<AccountId, ReadHead>, StoreUnavailable>
  /** The versions that accounts are at; those without a row are left out. */
  readonly versions: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyMap<AccountId, Version>, StoreUnavailable>
  /** Accounts in order of id that begin with `prefix`, above `after`. */
  readonly accounts: (page: {
    readonly prefix?: string | undefined
    readonly after: string
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<OpenedHead>, StoreUnavailable>
  /** A page of an account's statement; none where the account has no row. */
  readonly statement: (query: LinesQuery) => Effect.Effect<StatementRows | undefined, StoreUnavailable>
  readonly transfer: (id: CommandId) => Effect.Effect<TransferRow | undefined, StoreUnavailable>
  readonly holds: (query: AccountHoldsQuery) => Effect.Effect<ReadonlyArray<HoldRow>, StoreUnavailable>
  /** With those that have expired and of which no notice is projected yet. */
  readonly holdsByExpiry: (query: ExpiryQuery) => Effect.Effect<ReadonlyArray<HoldRow>, StoreUnavailable>
  /** The same of all accounts, each with what says whether it can be believed. */
  readonly expiringHolds: (
    query: Omit<ExpiryQuery, "prefix">
  ) => Effect.Effect<ReadonlyArray<ExpiringHold>, StoreUnavailable>
  readonly contras: Effect.Effect<ReadonlyArray<ContraBalance>, StoreUnavailable>
  /** Undefined where there are more accounts than may be summed up. */
  readonly sum: (query: SumQuery) => Effect.Effect<SumsAt<AssetSum> | undefined, StoreUnavailable>
  /** All of it at one instant of the read model. */
  readonly trialBalance: Effect.Effect<ReadonlyArray<TrialLine>, StoreUnavailable>
  /** The same as of a recorded instant, of the assets that accounts had by then. Costs as much as was recorded since. */
  readonly trialBalanceAt: (instant: Instant) => Effect.Effect<SumsAt<TrialLine>, StoreUnavailable>
}

/** A prefix whose sum is kept at hand. */
export interface DeclaredSum {
  readonly prefix: string
  /** The accounts that were there when it was declared are in it. */
  readonly isFilled: boolean
}

interface ReadModelSums {
  readonly declaredSums: Effect.Effect<ReadonlyArray<DeclaredSum>, StoreUnavailable>
  /**
   * Declares these prefixes and no others. Projectors wait for as long as it takes to note that, and move the sums of the new
   * ones from then on; those are answered from their accounts until they are settled.
   */
  readonly declareSums: (prefixes: ReadonlyArray<string>) => Effect.Effect<void, StoreUnavailable>
  /**
   * Compares a declared sum with its accounts, all at one instant of the read model, and adds what it lacks: everything
   * that was there before, where it is not filled yet. Answers what that was, by asset; projectors go on meanwhile.
   */
  readonly settleSum: (prefix: string) => Effect.Effect<ReadonlyArray<AssetSum>, StoreUnavailable>
}

/** What a projection engine works on, whichever projection it runs. */
export type ProjectionModel = ReadModelWrites & Pick<ReadModelReads, "versions">

interface ReadModelAudits {
  /** All rows as they are now, until the scope ends. Projectors go on and change nothing of it. */
  readonly frozen: Effect.Effect<FrozenBooks, StoreUnavailable, Scope.Scope>
}

/** The projection `books`, version 1. */
export class ReadModel extends Context.Service<
  ReadModel,
  ReadModelWrites & ReadModelReads & ReadModelSums & ReadModelAudits
>()("chronicle/infra/ReadModel") {
  /** Over PostgreSQL, migrated already. */
  static readonly layer = Layer.effect(
    ReadModel,
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const writes = yield* makeProjectionWrites(yield* ProjectionSql, books, prefixOf(books))
      const limits = yield* ReadSideConfig
      return {
        ...writes,
        ...makeBooksReads(sql, limits),
        ...makeDeclaredSums(sql, limits),
        frozen: freeze(sql, limits)
      }
    })
  )

  /** In this process's memory, by the same contract; starts empty each time it is built. */
  static readonly layerMemory = Layer.effect(ReadModel, makeReadModelMemory)
}
