/** The trial balance as of an instant: the sums of all accounts and of the contra accounts, from the read model. */
import { Context, Effect, Layer } from "effect"
import type { NotYetVisible, Unavailable } from "../../domain/Errors.ts"
import type { Instant } from "../../domain/Ids.ts"
import { ReadModel, type TrialLine } from "../../infra/readmodel/ReadModel.ts"
import { makeAskKnown } from "./AwaitKnown.ts"

export interface DatedTrialBalance {
  readonly recordedAt: Instant
  /** The same, under the name that questions about the past have for it; absent from a node of an earlier version. */
  readonly knownAt?: Instant
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
      const readModel = yield* ReadModel
      const askKnown = yield* makeAskKnown

      const at = Effect.fn("TrialBalance.at")(function* (instant?: Instant) {
        const { knownAt, found } = yield* askKnown(instant, readModel.trialBalanceAt)
        const { sums: lines, parked } = found
        return { recordedAt: knownAt, knownAt, lines, parked } satisfies DatedTrialBalance
      })
      return { at }
    })
  )
}
