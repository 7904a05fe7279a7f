/**
 * Laws that hold for every sequence of commands: covered, dense, conserved, total, and told the same when read back.
 */
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { Account, absent, evolve, isCovered } from "../../src/domain/Account.ts"
import { contrasOf } from "../../src/domain/Books.ts"
import { AskedCommand, accountsOf, fromJson } from "../../src/domain/Command.ts"
import { type Decided, decide } from "../../src/domain/Decide.ts"
import { Rejection } from "../../src/domain/Errors.ts"
import { amountOf, counterLegOf, Event } from "../../src/domain/Event.ts"
import type { AccountId, ContraId } from "../../src/domain/Ids.ts"
import { Amount, balanceMax } from "../../src/domain/Money.ts"
import { drawn } from "../support/drawn.ts"
import { commands } from "./arbitraries.ts"
import { Books } from "./books.ts"

/** Runs all commands and calls `each` after each accepted one, its legs folded. */
const runAll = (
  commands: ReadonlyArray<AskedCommand>,
  each: (books: Books, command: AskedCommand, legs: ReadonlyArray<Decided>) => void
): void => {
  const books = new Books()
  for (const command of commands) {
    books.now += 1_000
    const decision = books.run(command)
    if (Result.isSuccess(decision)) each(books, command, decision.success)
  }
}

const options = { arbitrary: { runs: 400, size: 100, seed: 7 } }

describe("for every sequence of commands", () => {
  const seen = new Map<string, number>()
  it.prop(
    "each account stays covered, within bounds and of dense versions after every event",
    [commands],
    ([commands]) => {
      const states = new Map<AccountId, Account>()
      runAll(commands, (books, _command, legs) => {
        for (const { account, event } of legs) {
          seen.set(event._tag, (seen.get(event._tag) ?? 0) + 1)
          const before = states.get(account) ?? absent(account)
          const state = evolve(before, event, books.now)
          states.set(account, state)
          assert.strictEqual(state.version, before.version + 1)
          assert.isTrue(isCovered(state))
          if (state._tag === "Opened")
            assert.isTrue(state.balance <= balanceMax && state.balance >= -balanceMax)
        }
      })
    },
    options
  )

  it.prop(
    "a movement changes the version and the balance of an account, and nothing else",
    [Schema.toType(Schema.Struct({ account: Account.cases.Opened, amount: Amount }))],
    ([{ account, amount }]) => {
      const event: Event = { _tag: "Withdrawn", amount, contra: "external:bank" as ContraId } // one of its form
      const { version, balance } = account
      // At this instant no hold has expired.
      const after = evolve(account, event, -1)
      assert.deepStrictEqual(after, { ...account, version: version + 1, balance: balance - amount })
    },
    drawn
  )

  it("the sequences above contain every kind of event more than 20 times", () => {
    // Holds have sequences of their own in holds.test.ts.
    const tags = Object.keys(Event.cases).filter((tag) => !tag.startsWith("Hold"))
    for (const tag of tags) assert.isAbove(seen.get(tag) ?? 0, 20, tag)
  })

  it.prop(
    "the legs of each transaction sum to zero per asset, contra accounts included",
    [commands],
    ([commands]) => {
      runAll(commands, (books, _, legs) => {
        const sums = new Map<string, bigint>()
        for (const { account, event } of legs) {
          const state = books.stateOf(account)
          if (state._tag === "Absent") throw new Error("a leg on an absent account")
          sums.set(state.asset, (sums.get(state.asset) ?? 0n) + amountOf(event))
          for (const { asset, amount } of contrasOf(event, state.asset))
            sums.set(asset, (sums.get(asset) ?? 0n) + amount)
        }
        for (const sum of sums.values()) assert.strictEqual(sum, 0n)
      })
    },
    options
  )

  it.prop(
    "legs stand in the order of accountsOf, and each names the version at which its counter-leg stands",
    [commands],
    ([commands]) => {
      runAll(commands, (books, command, legs) => {
        const named = accountsOf(command)
        const touched = [...new Set(legs.map(({ account }) => account))]
        // Where a capture goes may stand in the hold alone.
        const count = command._tag === "CaptureHold" ? named.length : touched.length
        assert.deepStrictEqual(touched.slice(0, count), named)
        const versionOf = (account: AccountId) => books.stateOf(account).version
        const headOf = ({ account }: Decided) =>
          versionOf(account) + 1 - legs.filter((leg) => leg.account === account).length
        for (const { account, event } of legs) {
          const counter = counterLegOf(event)
          if (counter !== undefined) assert.strictEqual(counter.version, versionOf(counter.account))
          if (event._tag === "TransferReceived") assert.strictEqual(event.fromVersion, versionOf(event.from))
          if (event._tag === "JournalLegPosted" && legs[0] !== undefined)
            assert.strictEqual(event.headVersion, headOf(legs[0]))
          if (event._tag === "JournalPosted") {
            assert.strictEqual(event.legs[0]?.account, account)
            assert.deepStrictEqual(
              event.legs.map((leg) => leg.account),
              legs.map((leg) => leg.account)
            )
            for (const [account, own] of Map.groupBy(event.legs, (leg) => leg.account)) {
              const last = versionOf(account)
              assert.deepStrictEqual(
                own.map(({ version }) => version),
                own.map((_, index) => last - own.length + 1 + index)
              )
            }
          }
        }
      })
    },
    options
  )

  it.prop(
    "a refusal leaves the books as they were",
    [commands],
    ([commands]) => {
      const books = new Books()
      for (const command of commands) {
        const before = new Map(books.accounts)
        if (Result.isFailure(books.run(command))) assert.deepStrictEqual(books.accounts, before)
      }
    },
    drawn
  )
})

it.prop(
  "every valid command is decided on every state, without a defect",
  [commands, Schema.toType(AskedCommand)],
  ([commands, wild]) => {
    const books = new Books()
    for (const command of commands) books.run(command)
    for (const command of [...commands, wild]) {
      const decision = decide(command, books.stateOf, books.now)
      if (Result.isFailure(decision)) {
        assert.isTrue(Schema.is(Rejection)(decision.failure))
        assert.isNotEmpty(decision.failure.message)
      } else {
        assert.isNotEmpty(decision.success)
      }
    }
  },
  drawn
)

it.prop(
  "every valid command survives JSON",
  [Schema.toType(AskedCommand)],
  ([command]) => {
    const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(AskedCommand)(command)))
    assert.deepEqual(Result.getOrThrow(fromJson(json)), command)
  },
  drawn
)
