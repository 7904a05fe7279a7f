/**
 * Folded accounts at certain versions, so that reading an account does not begin at its first event. A cache of the log:
 * a reader of a snapshot compares it with the log, and reads past one that is wrong.
 */
import { Context, type Effect, Layer } from "effect"
import type { Head } from "../../domain/Head.ts"
import type { AccountId, Instant, Version } from "../../domain/Ids.ts"
import type { EventKey, StoreUnavailable } from "./EventStoreTypes.ts"
import { makeMemory } from "./SnapshotsMemory.ts"
import { makeSql } from "./SnapshotsSql.ts"

export type { Head } from "../../domain/Head.ts"

/** A row as it is kept, believed or not: its key, and the head in it, undefined where that cannot be read. */
export interface Saved extends EventKey {
  readonly head: Head | undefined
  /** Its digest is that of another row, so that it is read past; false where it has none. */
  readonly isAltered: boolean
}

/** May be lost without harm. Those of another `accountSchemaVersion`, and those that are not whole, are read past. */
export class Snapshots extends Context.Service<
  Snapshots,
  {
    /** The latest snapshot of each account; accounts without one are left out. */
    readonly latest: (
      accounts: ReadonlyArray<AccountId>
    ) => Effect.Effect<ReadonlyArray<Head>, StoreUnavailable>
    /** The last snapshot at or before a version and an instant (each may be left out). */
    readonly before: (
      account: AccountId,
      bound: { readonly version?: Version; readonly recordedAt?: Instant }
    ) => Effect.Effect<Head | undefined, StoreUnavailable>
    /** All rows in order of account and version, above a key, as they stand there: for audits. */
    readonly list: (page: {
      readonly after: EventKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<Saved>, StoreUnavailable>
    /** Saves, and replaces what is there under the same key (account, version) where that differs. */
    readonly save: (heads: ReadonlyArray<Head>) => Effect.Effect<void, StoreUnavailable>
    /** Deletes those that do not agree with the log. */
    readonly drop: (heads: ReadonlyArray<Head>) => Effect.Effect<void, StoreUnavailable>
  }
>()("chronicle/infra/Snapshots") {
  /** In the event store's database, over the connections of an `EventStoreClient`. */
  static readonly layer = Layer.effect(Snapshots, makeSql)

  static readonly layerMemory = Layer.effect(Snapshots, makeMemory())
}
