/** The trial balance as of an instant: the sums of all accounts and of the contra accounts, from the read model. */
import { Clock, Context, Effect, Layer } from "effect"
import { NotYetVisible, Unavailable } from "../../domain/Errors.ts"
import { type Instant, printInstant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { ReadModel, type TrialLine } from "../../infra/readmodel/ReadModel.ts"
import { missingIn, unsweptTails } from "../projections/ProjectionLag.ts"
import { ClosedTimestamps } from "./ClosedTimestamps.ts"

export interface DatedTrialBalance {
  readonly recordedAt: Instant
  /** By asset; each `total` is zero (I2). */
  readonly lines: ReadonlyArray<TrialLine>
  /** Accounts that are parked: what their events did is not in it, and a total may not be zero. */
  readonly parked: number
}

export class TrialBalance extends Context.Service<
  TrialBalance,
  {
    /** Over everything recorded at or before the instant (now without one). */
    readonly at: (instant?: Instant) => Effect.Effect<DatedTrialBalance, NotYetVisible | Unavailable>
  }
>()("chronicle/actors/TrialBalance") {
  static readonly layer = Layer.effect(
    TrialBalance,
    Effect.gen(function* () {
      const store = yield* EventStore
      const readModel = yield* ReadModel
      const closed = yield* ClosedTimestamps
      const { queryDeadlineMs } = yield* LedgerConfig
      const { sweepCommitsMax, tokenPollMs } = yield* ReadSideConfig

      /** Waits until the read model has everything that is in the log now. */
      const awaitReached = Effect.gen(function* () {
        const swept = yield* readModel.swept
        for (const { writerId, lastSeq } of yield* unsweptTails(store, swept)) {
          let after = swept.get(writerId) ?? 0
          while (after < lastSeq) {
            const rows = yield* store.readTail({ writerId, after, limit: sweepCommitsMax })
            const last = rows.at(-1)
            if (last === undefined) break
            while ((yield* missingIn(readModel, rows)).length > 0) yield* Effect.sleep(tokenPollMs)
            after = last.seq
          }
        }
      })

      const at = Effect.fn("TrialBalance.at")(function* (instant?: Instant) {
        const recordedAt = instant ?? (yield* Clock.currentTimeMillis)
        // Closed first: no commit that counts can come afterwards, so the tails hold all of them.
        yield* closed.awaitClosed(recordedAt)
        yield* awaitReached.pipe(
          Effect.mapError(unavailable),
          Effect.timeoutOrElse({
            duration: queryDeadlineMs,
            orElse: () =>
              Effect.fail(
                new NotYetVisible({ wanted: printInstant(recordedAt), reached: "an earlier instant" })
              )
          })
        )
        // Parked accounts first: one that is projected in between is counted as missing from sums that have it, and not
        // the other way round.
        const parked = yield* Effect.mapError(readModel.parked, unavailable)
        const lines = yield* Effect.mapError(readModel.trialBalanceAt(recordedAt), unavailable)
        return { recordedAt, lines, parked: parked.length } satisfies DatedTrialBalance
      })
      return { at }
    })
  )
}

const unavailable = (error: StoreUnavailable): Unavailable =>
  new Unavailable({ what: error.store, reason: error.reason })
