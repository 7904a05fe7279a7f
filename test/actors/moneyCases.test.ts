/** The table of commands on money and of refusals, on a node alone, in process. */
import { assert, layer } from "@effect/vitest"
import { Effect, Result } from "effect"
import { fromJson } from "../../src/domain/Command.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger } from "../support/callers.ts"
import { includes, moneyCases, named, toJson } from "../support/moneyCases.ts"

layer(memoryLedger, { excludeTestServices: true })("of a node alone", (it) => {
  for (const [nth, one] of moneyCases.entries())
    it.effect(one.name, () =>
      Effect.gen(function* () {
        const ledger = yield* Ledger
        const { answer, commands, has } = named(one, `c${nth}`, (name) => name)
        const decoded = commands.map((command) => fromJson(command))
        const outcomes = yield* Effect.forEach(decoded, (command) =>
          Effect.result(Effect.flatMap(Effect.fromResult(command), ledger.dispatch))
        )
        const last = outcomes.pop()
        for (const outcome of outcomes) assert.isTrue(Result.isSuccess(outcome))
        if (last === undefined) return assert.fail("something is asked")
        if (answer === "accepted") assert.isTrue(Result.isSuccess(last))
        else includes(Result.isFailure(last) ? toJson(last.failure) : last, answer, one.name)
        for (const [account, what] of Object.entries(has)) {
          const { balance, held } = yield* ledger.strongBalance(account)
          assert.deepEqual([`${balance}`, `${held}`], typeof what === "string" ? [what, "0"] : what)
        }
      })
    )
})
