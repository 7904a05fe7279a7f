/** Reversals of random journals and groups, in random parts: never more than an account got, and all of it in the end. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import { type LedgerNode, memoryStores, outcomeOf, quiet, startNode } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"

const dollars = ["a", "b", "c", "d"] as const
const euros = ["x", "y"] as const
const contras = ["external:bank", "external:card"] as const

/** Legs that sum to zero, in one asset or two, a contra among them more often than not. */
const drawJournal = (rng: Rng, id: string): CommandInput => {
  const legs = [dollars, euros].slice(0, 1 + rng.below(2)).flatMap((accounts) => {
    const asset = accounts === dollars ? "USD/2" : "EUR/2"
    const moves = Array.from({ length: 1 + rng.below(3) }, () => BigInt(1 + rng.below(50)))
    return moves.flatMap((amount) => {
      const account = rng.pick(accounts)
      const other = rng.chance(0.5) ? rng.pick(contras) : rng.pick(accounts)
      const side = rng.chance(0.5) ? ("debit" as const) : ("credit" as const)
      const back = side === "debit" ? ("credit" as const) : ("debit" as const)
      return [
        { account, side, amount, asset },
        { account: other, side: back, amount, asset }
      ]
    })
  })
  return { _tag: "PostJournal", commandId: id, legs }
}

const drawGroup = (rng: Rng, id: string): CommandInput => ({
  _tag: "Group",
  commandId: id,
  commands: Array.from({ length: 1 + rng.below(5) }, () => {
    const [account, to] = [rng.pick(dollars), rng.pick(dollars)]
    const amount = BigInt(1 + rng.below(50))
    if (rng.chance(0.5) && account !== to) return { _tag: "Transfer", from: account, to, amount } as const
    const contra = rng.pick(contras)
    return { _tag: rng.chance(0.6) ? "Deposit" : "Withdraw", account, amount, contra } as const
  })
})

const everyAccount = [...dollars, ...euros]

const balancesOf = (node: LedgerNode) =>
  Effect.map(
    Effect.forEach(everyAccount, (account) => node.dispatcher.head(account as AccountId)), // as ids of tests are
    (heads) =>
      new Map(
        heads.map(({ head: { account } }) => [
          account.id as string,
          account._tag === "Opened" ? account.balance : 0n
        ])
      )
  )
type Balances = Effect.Success<ReturnType<typeof balancesOf>>

const difference = (before: Balances, after: Balances): Balances =>
  new Map([...after].map(([account, balance]) => [account, balance - (before.get(account) ?? 0n)]))

/** Gives back what a command moved, in up to four parts; answers what each account got and gave by them. */
const giveBack = Effect.fnUntraced(function* (node: LedgerNode, rng: Rng, original: string, net: Balances) {
  const before = yield* balancesOf(node)
  let n = 1
  for (let tries = 0; tries < 4; tries++) {
    const some = everyAccount.filter((account) => net.get(account) !== 0n && rng.chance(0.6))
    const legs = some.map((account) => ({ account, amount: BigInt(1 + rng.below(60)) }))
    if (legs.length === 0) continue
    const part = { _tag: "Reverse", original, n, reason: "part", legs } as const
    const result = yield* Effect.result(node.send(part))
    if (Result.isSuccess(result)) n++
    else assert.include(["ReversalExceeds", "InvalidCommand", "InsufficientFunds"], outcomeOf(result), "part")
    const moved = difference(before, yield* balancesOf(node))
    for (const [account, sum] of moved) {
      const got = net.get(account) ?? 0n
      // It gave back something of what it got, or got back something of what it paid, and not more than that.
      assert.isTrue(
        got < 0n ? sum >= 0n && sum <= -got : sum <= 0n && sum >= -got,
        `${account} of ${original}`
      )
    }
  }
  const rest = yield* Effect.result(node.send({ _tag: "Reverse", original, n, reason: "rest" }))
  return { rest: outcomeOf(rest), moved: difference(before, yield* balancesOf(node)) }
})

describe("reversals of journals and groups", () => {
  it.effect("give back what each account got, and never more", () =>
    Effect.gen(function* () {
      let whole = 0
      for (let seed = 1; seed <= 12; seed++) {
        const rng = new Rng(seed)
        const store = yield* EventStore
        const node = yield* startNode(`law-${seed}`)
        if (seed === 1)
          for (const account of everyAccount)
            yield* node.send({
              _tag: "OpenAccount",
              account,
              asset: account === "x" || account === "y" ? "EUR/2" : "USD/2",
              owner: "Ada",
              overdraftLimit: 400n
            })
        for (let nth = 0; nth < 8; nth++) {
          const id = `o${seed}.${nth}`
          const before = yield* balancesOf(node)
          const original = yield* Effect.result(node.send((nth % 2 === 0 ? drawJournal : drawGroup)(rng, id)))
          if (Result.isFailure(original)) continue
          const net = difference(before, yield* balancesOf(node))
          const { rest, moved } = yield* giveBack(node, rng, id, net)
          if (rest === "Accepted") {
            whole++
            for (const [account, got] of net)
              assert.strictEqual(moved.get(account), -got, `${account} of ${id}`)
          } else assert.include(["ReversalExceeds", "InsufficientFunds", "InvalidCommand"], rest)
        }
        yield* node.stop
        assert.deepStrictEqual(yield* invariantsOf(store), [])
      }
      assert.isAbove(whole, 40)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})
