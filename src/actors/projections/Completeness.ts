/** Up to when the read model has everything, as far as this node knows: what a balance from it can promise. */
import { Context, Effect, Layer } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { Reconciler } from "./Reconciler.ts"

export class Completeness extends Context.Service<
  Completeness,
  {
    /**
     * Everything that was recorded before then is in the books, except of accounts that are parked; 0 where that is not known. Which
     * accounts are parked the read model says itself, with the row of each.
     */
    readonly completeToUnsafe: () => Instant
  }
>()("chronicle/actors/Completeness") {
  /** From the reconciler of the books beside it. */
  static readonly layer = Layer.effect(
    Completeness,
    Effect.map(Reconciler, (reconciler) => ({
      completeToUnsafe: () => reconciler.statusUnsafe().completeTo
    }))
  )

  /** Of a node that does not project. */
  static readonly layerUnknown = Layer.succeed(Completeness, { completeToUnsafe: () => 0 })
}
