/** Folded accounts at certain versions enter; the nearest one before a version or an instant leaves. */
import { Context, type Effect, Layer } from "effect"
import type { Head } from "../../domain/Head.ts"
import type { AccountId, Instant, Version } from "../../domain/Ids.ts"
import type { EventKey, StoreUnavailable } from "./EventStoreTypes.ts"
import { makeMemory } from "./SnapshotsMemory.ts"
import { makeSql } from "./SnapshotsSql.ts"

export type { Head } from "../../domain/Head.ts"

/** A snapshot as it is kept: under which key, and what it holds; undefined where it cannot be read. */
export interface Saved extends EventKey {
  readonly head: Head | undefined
}

/** Kept beside the log; may be lost without harm. Those of another `accountSchemaVersion` are ignored. */
export class Snapshots extends Context.Service<
  Snapshots,
  {
    /** The latest snapshot of each account; those without one are left out. */
    readonly latest: (
      accounts: ReadonlyArray<AccountId>
    ) => Effect.Effect<ReadonlyArray<Head>, StoreUnavailable>
    /** The last snapshot at or before a version and an instant (each may be left out). */
    readonly before: (
      account: AccountId,
      bound: { readonly version?: Version; readonly recordedAt?: Instant }
    ) => Effect.Effect<Head | undefined, StoreUnavailable>
    /** Those of all accounts in order of account and version, above a key, for audits. */
    readonly list: (page: {
      readonly after: EventKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<Saved>, StoreUnavailable>
    /** Saves; one that exists already (account, version, schema version) is left as it is. */
    readonly save: (heads: ReadonlyArray<Head>) => Effect.Effect<void, StoreUnavailable>
  }
>()("chronicle/infra/Snapshots") {
  /** In the event store's database, over the connections of an `EventStoreClient`. */
  static readonly layer = Layer.effect(Snapshots, makeSql)

  static readonly layerMemory = Layer.effect(Snapshots, makeMemory)
}
