/**
 * What all accounts of a prefix have together, as of an instant. Over one cut of the log: money that moves from one of
 * them to another is in it once, whatever is committed meanwhile. Sums of declared prefixes are kept at hand (DeclaredSums.ts).
 */
import { Context, Effect, Layer } from "effect"
import { InvalidCommand, type QueryError } from "../../domain/Errors.ts"
import type { Instant } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { SumView } from "../../domain/Views.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { makeAskKnown } from "./AwaitKnown.ts"

interface SumOptions {
  /** Of this asset alone, also where it is zero; of every one that the accounts have, without it. */
  readonly asset?: Asset | undefined
  /** What had been recorded by then; default now. */
  readonly knownAt?: Instant | undefined
  /** Of that, what counts by then; default all. */
  readonly effectiveAt?: Instant | undefined
}

export class Sums extends Context.Service<
  Sums,
  {
    /** Waits, bounded, until `knownAt` is closed and the read model has reached it. */
    readonly sum: (prefix: string, options?: SumOptions) => Effect.Effect<SumView, QueryError>
  }
>()("chronicle/actors/Sums") {
  static readonly layer = Layer.effect(
    Sums,
    Effect.gen(function* () {
      const readModel = yield* ReadModel
      const { sumAccountsMax } = yield* ReadSideConfig
      const askKnown = yield* makeAskKnown

      const sum = Effect.fn("Sums.sum")(function* (prefix: string, options: SumOptions = {}) {
        const { asset, effectiveAt } = options
        const { knownAt, found } = yield* askKnown(options.knownAt, (instant) =>
          readModel.sum({ prefix, knownAt: instant, effectiveAt })
        )
        if (found === undefined)
          return yield* InvalidCommand.at(
            "prefix",
            `is of more than ${sumAccountsMax} accounts: declare it (CHRONICLE_SUM_PREFIXES)`
          )
        const sums =
          asset === undefined
            ? found.sums
            : [found.sums.find((one) => one.asset === asset) ?? { asset, balance: 0n, accounts: 0 }]
        return {
          prefix,
          knownAt,
          ...(effectiveAt === undefined ? {} : { effectiveAt }),
          sums,
          parked: found.parked
        } satisfies SumView
      })
      return { sum }
    })
  )
}
