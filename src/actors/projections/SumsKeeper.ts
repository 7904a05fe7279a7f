/**
 * Declares the prefixes of the configuration, fills the sums of new ones, and compares the sums with their accounts from then on:
 * they can come to differ only where a node of a version before them projects. A singleton of the cluster; where nodes are
 * configured differently, the one that runs it says what is declared.
 */
import { Effect, Layer, Schema } from "effect"
import { formatMoney } from "../../domain/Money.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { SumPrefixes } from "../../infra/config/SumPrefixes.ts"
import { ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { makeSingleton, Singletons } from "../relay/Singletons.ts"
import { reasonOf, supervise } from "../relay/Supervisor.ts"
import { projectionName } from "./Projector.ts"

const singleton = makeSingleton(`${projectionName}/sums`, Schema.fromJsonString(Schema.Struct({})))

export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const singletons = yield* Singletons
    const readModel = yield* ReadModel
    const prefixes = yield* SumPrefixes
    const { sumsMs } = yield* ReadSideConfig

    const settle = Effect.fnUntraced(function* (prefix: string, isFilled: boolean) {
      const lack = yield* readModel.settleSum(prefix)
      if (!isFilled) return yield* Effect.logInfo(`the sum of ${prefix} is kept at hand from now on`)
      for (const { asset, balance, accounts } of lack)
        yield* Effect.logError(
          `the sum of ${prefix} lacked ${formatMoney(balance, asset)} of ${accounts} accounts, which was put right: ` +
            "a node of a version that keeps no sums has projected"
        )
    })

    const round = Effect.gen(function* () {
      const before = yield* readModel.declaredSums
      const isAsConfigured =
        before.length === prefixes.length && before.every(({ prefix }) => prefixes.includes(prefix))
      if (!isAsConfigured) yield* readModel.declareSums(prefixes)
      const declared = isAsConfigured ? before : yield* readModel.declaredSums
      // One that cannot be compared must not keep the others from it.
      for (const { prefix, isFilled } of declared)
        yield* Effect.catch(settle(prefix, isFilled), (error) =>
          Effect.logWarning(`the sum of ${prefix} could not be compared: ${error.message}`)
        )
    })

    const regularly = supervise(
      (alive) =>
        round.pipe(Effect.tap(Effect.sync(alive)), Effect.andThen(Effect.sleep(sumsMs)), Effect.forever),
      // Where none is declared, it is the read model that is away, which others say.
      (cause) =>
        Effect.logWithLevel(prefixes.length === 0 ? "Debug" : "Warn")(
          `sums of declared prefixes: ${reasonOf(cause)}`
        )
    )
    yield* singletons.run(singleton.name, regularly)
  })
)
