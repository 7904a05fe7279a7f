/** A transfer followed at once by a question with its token, many at a time: never stale. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"

const accounts = 50
/** `bench/readside.ts` asks 10,000 times, over real stores. */
const asks = 1_000

describe("a question with a read token", () => {
  it.live("sees its write, a thousand times under load, on both sides of the transfer", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const idOf = (index: number) => `acc-${index % accounts}`
      yield* Effect.forEach(Array.from({ length: accounts }), (_, index) =>
        Effect.andThen(
          ledger.dispatch({ _tag: "OpenAccount", account: idOf(index), asset: "USD/2", owner: "somebody" }),
          ledger.dispatch({ _tag: "Deposit", account: idOf(index), amount: 1_000_000n })
        )
      )
      let withoutToken = 0
      yield* Effect.forEach(
        Array.from({ length: asks }, (_, index) => index),
        (index) =>
          Effect.gen(function* () {
            const [from, to] = [idOf(index), idOf(index * 7 + 1)]
            if (from === to) return
            const { postings, readToken } = yield* ledger.dispatch({ _tag: "Transfer", from, to, amount: 1n })
            for (const { account, version } of postings) {
              // Without it even the account's opening may not be there yet.
              const unasked = yield* Effect.option(ledger.balance(account))
              if (Option.isNone(unasked) || unasked.value.version < version) withoutToken++
              const { version: seen } = yield* ledger.balance(account, { readToken })
              assert.isAtLeast(seen, version)
            }
          }),
        { concurrency: 64, discard: true }
      )
      assert.isAbove(withoutToken, 0, "without it, it would have been stale: the token was needed")
    }).pipe(Effect.provide(LedgerNode.layerMemory))
  )
})
