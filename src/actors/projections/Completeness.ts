/** Up to when the read model has everything of an account, as far as this node knows: what a balance from it can promise. */
import { Context, Effect, Layer } from "effect"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import { ProjectionEngine } from "./ProjectionEngine.ts"
import { Reconciler } from "./Reconciler.ts"

export class Completeness extends Context.Service<
  Completeness,
  {
    /**
     * Everything of the account that was recorded before then is in the books; 0 where that is not known. A parked account
     * stays where it is.
     */
    readonly ofUnsafe: (account: AccountId) => Instant
  }
>()("chronicle/actors/Completeness") {
  /** From the engine and the reconciler of the books beside it. */
  static readonly layer = Layer.effect(
    Completeness,
    Effect.gen(function* () {
      const engine = yield* ProjectionEngine
      const reconciler = yield* Reconciler
      return {
        ofUnsafe: (account) => (engine.isParkedUnsafe(account) ? 0 : reconciler.statusUnsafe().completeTo)
      }
    })
  )

  /** Of a node that does not project. */
  static readonly layerUnknown = Layer.succeed(Completeness, { ofUnsafe: () => 0 })
}
