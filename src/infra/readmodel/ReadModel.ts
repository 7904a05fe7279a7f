/** What was folded of the log enters, batch by batch; rows for questions leave. Holds nothing that is not in the log. */
import { Context, Data, Effect, Layer, type Scope } from "effect"
import type { ContraEntry, OpenedHead, StatementLine, TransferRow } from "../../domain/Books.ts"
import type { EventType } from "../../domain/Event.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { Position } from "../../domain/Receipt.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable, WriterId } from "../eventstore/EventStore.ts"
import { books } from "./BooksProjection.ts"
import { prefixOf } from "./Projection.ts"
import { type FrozenBooks, freeze } from "./ReadModelFrozen.ts"
import { makeReadModelMemory } from "./ReadModelMemory.ts"
import { makeBooksReads } from "./ReadModelReads.ts"
import { ReadModelSql } from "./ReadModelSql.ts"
import { makeProjectionWrites } from "./ReadModelWrites.ts"

/** An account that moves from version `from` (0: it has no row yet) to the head's. */
export interface Move {
  readonly from: Version
  readonly head: OpenedHead
}

/** How far a partition of the bus was read. */
export interface Checkpoint {
  readonly partition: number
  /** The bus's own number of the last message. */
  readonly position: number
  /** The latest `recordedAt` in it. */
  readonly recordedAt: Instant
}

export interface CheckpointAt extends Checkpoint {
  /** By the clock of the projector that moved it last. */
  readonly updatedAt: Instant
}

/** What one transaction writes. Its rows are those of the events between each move's two versions. */
export interface BooksBatch {
  readonly moves: ReadonlyArray<Move>
  readonly lines: ReadonlyArray<StatementLine>
  readonly transfers: ReadonlyArray<TransferRow>
  readonly contras: ReadonlyArray<ContraEntry & { readonly partition: number }>
  readonly checkpoints: ReadonlyArray<Checkpoint>
  /** That of the `look` which the batch was folded on; the batch is refused when the tables are others by now. */
  readonly generation?: number
  /** The event that a person leaves out by this batch. */
  readonly skipped?: Parked
}

/** Heads as of one generation of the tables; a rebuild exchanges them. */
export interface Looked {
  readonly generation: number
  /** Accounts without a row are left out. */
  readonly heads: ReadonlyMap<AccountId, OpenedHead>
}

/** An account that stays where it is, because its event `version` cannot be projected. */
export interface Parked {
  readonly account: AccountId
  readonly version: Version
  readonly reason: string
  readonly since: Instant
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

/** Which of an event's two times is meant (design §4). */
export type TimeAxis = "recorded" | "effective"

/** The place of a line in a statement. */
export interface LinePosition {
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

/** The database will never take these rows as they are: a text it cannot hold, a number out of its range. */
export class RowsRefused extends Data.TaggedError("RowsRefused")<{ readonly reason: string }> {
  override get message() {
    return `the read model refuses the rows: ${this.reason}`
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

export interface ReadModelWrites {
  /** The rows of accounts as they are, to fold on. */
  readonly look: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Looked, StoreUnavailable>
  /**
   * Writes a batch, whole or not at all; false, and nothing written, when an account was not at its `from`:
   * somebody else moved it, look again. This guard alone makes any number of projectors safe at once.
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
  /** Which of the positions are not reached: they, with the version the account is at. Parked ones count as reached. */
  readonly behind: (
    positions: ReadonlyArray<Position>
  ) => Effect.Effect<ReadonlyArray<Position & { readonly reached: Version }>, StoreUnavailable>
  readonly swept: Effect.Effect<ReadonlyMap<WriterId, number>, StoreUnavailable>
  /** Moves a writer's swept cursor, if it still stands at `from`: not so when the read model was lost meanwhile. */
  readonly moveSwept: (writerId: WriterId, from: number, to: number) => Effect.Effect<void, StoreUnavailable>
  /** Forgets the cursors of writers that are finished: a cursor over all of them takes their place. */
  readonly forgetSwept: (writers: ReadonlyArray<WriterId>) => Effect.Effect<void, StoreUnavailable>
  readonly parked: Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
  /** Leaves out those that got past their event meanwhile: somebody skipped it, or could project it. */
  readonly park: (parked: ReadonlyArray<Parked>) => Effect.Effect<void, StoreUnavailable>
  readonly unpark: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
  /** Events left out for ever, in order of account and version; `since` is when that was said. */
  readonly skipped: Effect.Effect<ReadonlyArray<Parked>, StoreUnavailable>
}

export interface ReadModelReads {
  /** The rows of accounts as they are; those without one are left out. */
  readonly heads: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyMap<AccountId, OpenedHead>, StoreUnavailable>
  /** The versions accounts are at; those without a row are left out. */
  readonly versions: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyMap<AccountId, Version>, StoreUnavailable>
  /** Accounts in order of id, above `after`. */
  readonly accounts: (page: {
    readonly after: string
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<OpenedHead>, StoreUnavailable>
  /** A page of an account's statement; none where the account has no row. */
  readonly statement: (query: LinesQuery) => Effect.Effect<StatementRows | undefined, StoreUnavailable>
  readonly transfer: (id: CommandId) => Effect.Effect<TransferRow | undefined, StoreUnavailable>
  readonly contras: Effect.Effect<ReadonlyArray<ContraBalance>, StoreUnavailable>
  /** All of it at one instant of the read model. */
  readonly trialBalance: Effect.Effect<ReadonlyArray<TrialLine>, StoreUnavailable>
  /** The same without the lines recorded after an instant; costs what came since. */
  readonly trialBalanceAt: (instant: Instant) => Effect.Effect<ReadonlyArray<TrialLine>, StoreUnavailable>
}

/** What the machine of a projection works on, whatever it projects. */
export type ProjectionModel = ReadModelWrites & Pick<ReadModelReads, "versions">

export interface ReadModelAudits {
  /** Everything as it is at this instant, until the scope ends: projectors go on and change nothing of it. */
  readonly frozen: Effect.Effect<FrozenBooks, StoreUnavailable, Scope.Scope>
}

/** The projection `books`, version 1. */
export class ReadModel extends Context.Service<
  ReadModel,
  ReadModelWrites & ReadModelReads & ReadModelAudits
>()("chronicle/infra/ReadModel") {
  /** Over PostgreSQL, migrated already. */
  static readonly layer = Layer.effect(
    ReadModel,
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const writes = yield* makeProjectionWrites(sql, books, prefixOf(books))
      return { ...writes, ...makeBooksReads(sql, yield* ReadSideConfig), frozen: freeze(sql) }
    })
  )

  /** In this process's memory, by the same contract; starts empty each time it is built. */
  static readonly layerMemory = Layer.effect(ReadModel, makeReadModelMemory)
}
