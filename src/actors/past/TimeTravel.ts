/**
 * An account as it was at a version or an instant, rebuilt from the last snapshot before and few events after it. What
 * was answered for a closed instant is answered for ever (I9).
 */
import { Context, Effect, Layer, Result } from "effect"
import { AccountNotFound, NotYetVisible, type QueryError, Unavailable } from "../../domain/Errors.ts"
import { emptyHead, follow, type Head, isAt } from "../../domain/Head.ts"
import type { AccountId, Instant, Version } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { Snapshots } from "../../infra/eventstore/Snapshots.ts"
import { orNoSnapshot } from "../accounts/LoadAccounts.ts"
import { Snapshotter } from "../accounts/Snapshotter.ts"
import { ClosedTimestamps } from "./ClosedTimestamps.ts"

/** Which past is asked for. */
export type AsOf =
  | { readonly _tag: "Version"; readonly version: Version }
  | { readonly _tag: "RecordedAt"; readonly instant: Instant }

/** The state of an account as of then. */
export interface PastState {
  /** The same for ever (I9). */
  readonly head: Head
  /** Events that were read to rebuild it; bounded by the distance of snapshots, and so no part of an answer. */
  readonly eventsRead: number
}

export class TimeTravel extends Context.Service<
  TimeTravel,
  {
    /**
     * Fails with `AccountNotFound` where the account did not exist then, and with `NotYetVisible` for a version
     * that is not reached, or an instant that is not closed, before the query's deadline.
     */
    readonly at: (account: AccountId, asOf: AsOf) => Effect.Effect<PastState, QueryError>
  }
>()("chronicle/actors/TimeTravel") {
  static readonly layer = Layer.effect(
    TimeTravel,
    Effect.gen(function* () {
      const store = yield* EventStore
      const snapshots = yield* Snapshots
      const closed = yield* ClosedTimestamps
      const snapshotter = yield* Snapshotter
      const limits = yield* LedgerConfig

      /** Follows the stream from a head on, to the bound. */
      const rebuildFrom = Effect.fnUntraced(function* (start: Head, account: AccountId, asOf: AsOf) {
        const upTo = asOf._tag === "Version" ? { upTo: asOf.version } : {}
        let head = start
        let eventsRead = 0
        for (;;) {
          const after = head.account.version
          const rows = yield* store.readStream({ account, after, ...upTo, limit: limits.snapshotEvery })
          eventsRead += rows.length
          for (const row of rows) {
            if (asOf._tag === "RecordedAt" && row.recordedAt > asOf.instant) return { head, eventsRead }
            const next = follow(head, row)
            if (Result.isFailure(next)) {
              return yield* new Unavailable({ what: `account ${account}`, reason: next.failure.message })
            }
            head = next.success
            // A milestone without a snapshot: the next traveller finds one.
            if (row.version % limits.snapshotEvery === 0) snapshotter.offerUnsafe(head)
          }
          if (rows.length < limits.snapshotEvery) return { head, eventsRead }
        }
      })

      /** From the last snapshot before, unless its event in the log says otherwise, or the log does not follow from its state. */
      const rebuild = Effect.fnUntraced(function* (account: AccountId, asOf: AsOf) {
        const bound = asOf._tag === "Version" ? { version: asOf.version } : { recordedAt: asOf.instant }
        const snapshot = yield* orNoSnapshot(account, snapshots.before(account, bound), undefined).pipe(
          Effect.provideService(EventStore, store)
        )
        if (snapshot === undefined) return yield* rebuildFrom(emptyHead(account), account, asOf)
        const [own] = yield* store.readEvents([{ account, version: snapshot.account.version }])
        const fromStart = rebuildFrom(emptyHead(account), account, asOf)
        return own !== undefined && isAt(snapshot, own)
          ? yield* rebuildFrom(snapshot, account, asOf).pipe(Effect.catchTag("Unavailable", () => fromStart))
          : yield* fromStart
      })

      const at = Effect.fn("TimeTravel.at")(function* (account: AccountId, asOf: AsOf) {
        if (asOf._tag === "RecordedAt") yield* closed.awaitClosed(asOf.instant)
        const past = yield* rebuild(account, asOf).pipe(Effect.catchTag("StoreUnavailable", unavailable))
        const reached = past.head.account.version
        if (reached === 0) {
          return yield* new AccountNotFound({
            account,
            ...(asOf._tag === "RecordedAt" ? { asOf: asOf.instant } : {})
          })
        }
        if (asOf._tag === "Version" && reached < asOf.version) {
          return yield* new NotYetVisible({
            wanted: `${account}@${asOf.version}`,
            reached: `${account}@${reached}`
          })
        }
        return past
      })

      return { at }
    })
  )
}

const unavailable = (error: StoreUnavailable) =>
  Effect.fail(new Unavailable({ what: error.store, reason: error.reason }))
