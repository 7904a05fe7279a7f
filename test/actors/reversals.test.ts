/** Reversals on nodes: what is given back, never more than was got, once whichever caller asks, on one node and on two. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { TestClock } from "effect/testing"
import { findCommand } from "../../src/actors/past/FindCommand.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  type Store,
  startNode,
  tally,
  toCommand,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

const reverse = (original: string, more: object = {}): CommandInput => ({
  _tag: "Reverse",
  original,
  reason: "refund",
  ...more
})
const refused = (node: LedgerNode, input: CommandInput) => Effect.flip(node.send(input))

const balances = (node: LedgerNode, ...accounts: ReadonlyArray<string>) =>
  Effect.forEach(accounts, (account) =>
    Effect.map(
      node.dispatcher.head(account as AccountId),
      (
        { head: { account: state } } // ids of tests are valid
      ) => (state._tag === "Opened" ? state.balance : undefined)
    )
  )

const legsOf = (store: Store, id: string) =>
  Effect.map(findCommand(store, id as CommandId), (found) => Option.getOrThrow(found).legs) // as above

const world = Effect.gen(function* () {
  const store = yield* EventStore
  const node = yield* startNode("reversals")
  yield* fund(node, ["payer", "shop", "tax", "fees"], 100_00n)
  return { store, node }
})

/** 83.30 from the payer: 70.00 for the shop, 13.30 of tax. */
const payment: CommandInput = {
  _tag: "PostJournal",
  commandId: "payment",
  legs: [
    { account: "payer", side: "debit", amount: 83_30n },
    { account: "shop", side: "credit", amount: 70_00n },
    { account: "tax", side: "credit", amount: 13_30n }
  ]
}

describe("a reversal", () => {
  it.effect("gives back a transfer once, whichever caller sends it, and no more after that", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(transfer("payer", "shop", 100n, "t"))
      const first = yield* node.send({ ...reverse("t"), commandId: "one" })
      assert.strictEqual(first.commandId, "~r1~t")
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [100_00n, 100_00n])
      assert.deepStrictEqual(yield* node.send({ ...reverse("t"), commandId: "two" }), {
        ...first,
        replayed: true
      })
      assert.strictEqual((yield* refused(node, reverse("t", { reason: "again" })))._tag, "CommandIdReused")
      assert.deepInclude(yield* refused(node, reverse("t", { n: 2 })), { _tag: "ReversalExceeds", left: 0n })
      assert.strictEqual((yield* refused(node, reverse("t", { n: 3 })))._tag, "InvalidCommand")
      yield* node.stop
      const next = yield* startNode("next", { store })
      assert.deepStrictEqual(yield* next.send(reverse("t")), { ...first, replayed: true })
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("gives back by legs, in parts, never more than each leg got", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(payment)
      yield* node.send(reverse("payment", { n: 1, legs: [{ account: "shop", amount: 30_00n }] }))
      yield* node.send(reverse("payment", { n: 2, legs: [{ account: "shop", amount: 30_00n }] }))
      const more = reverse("payment", { n: 3, legs: [{ account: "shop", amount: 10_01n }] })
      assert.deepInclude(yield* refused(node, more), {
        _tag: "ReversalExceeds",
        account: "shop",
        left: 10_00n
      })
      yield* node.send(
        reverse("payment", {
          n: 3,
          legs: [
            { account: "shop", amount: 10_00n },
            { account: "tax", amount: 13_30n }
          ]
        })
      )
      assert.deepStrictEqual(yield* balances(node, "payer", "shop", "tax"), [100_00n, 100_00n, 100_00n])
      const last = reverse("payment", { n: 4, legs: [{ account: "tax", amount: 1n }] })
      assert.deepInclude(yield* refused(node, last), { _tag: "ReversalExceeds", account: "tax", left: 0n })
      assert.strictEqual(
        (yield* refused(node, reverse("payment", { n: 4, amount: 1n })))._tag,
        "InvalidCommand"
      )
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is refused as a whole where the money is spent, unless another account pays what lacks", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(payment)
      yield* node.send(withdraw("shop", 150_00n))
      assert.deepInclude(yield* refused(node, reverse("payment")), {
        _tag: "InsufficientFunds",
        account: "shop",
        amount: 70_00n
      })
      assert.deepStrictEqual(yield* balances(node, "payer", "tax"), [16_70n, 113_30n])
      const { postings } = yield* node.send(reverse("payment", { shortfall: "fees" }))
      assert.deepStrictEqual(
        postings.map(({ account }) => `${account}`),
        ["payer", "shop", "tax", "fees"]
      )
      assert.deepStrictEqual(yield* balances(node, "payer", "shop", "tax", "fees"), [
        100_00n,
        0n,
        100_00n,
        50_00n
      ])
      const rows = yield* store.readStream({ account: "fees" as AccountId, after: 2, limit: 10 }) // as above
      assert.match(rows[0]?.payload ?? "", /"isShortfall":true/)
      assert.deepInclude(yield* refused(node, reverse("payment", { n: 2 })), { _tag: "ReversalExceeds" })
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("lets an account pay what another lacks besides its own share", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(payment)
      yield* node.send(withdraw("shop", 150_00n))
      yield* node.send(withdraw("tax", 50_01n))
      // 13.30 of its own and 50.00 for the shop are more than the 63.29 that it has.
      assert.deepInclude(yield* refused(node, reverse("payment", { shortfall: "tax" })), {
        _tag: "InsufficientFunds",
        account: "tax",
        balance: 63_29n,
        amount: 63_30n
      })
      yield* node.send(deposit("tax", 1n))
      const { postings } = yield* node.send(reverse("payment", { shortfall: "tax" }))
      assert.deepStrictEqual(
        postings.map(({ account, version, balance }) => [`${account}`, version, balance]),
        [
          ["payer", 4, 100_00n],
          ["shop", 5, 0n],
          ["tax", 6, 50_00n],
          ["tax", 7, 0n]
        ]
      )
      const legs = yield* legsOf(store, "~r1~payment")
      assert.deepStrictEqual(
        legs.map(({ event }) => ("reverses" in event ? event.reverses?.isShortfall : undefined)),
        [undefined, undefined, undefined, true]
      )
      assert.deepInclude(yield* refused(node, reverse("payment", { n: 2 })), { _tag: "ReversalExceeds" })
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("lets the payer of the original waive what the receiver has not any more", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(transfer("payer", "shop", 100_00n, "t"))
      yield* node.send(withdraw("shop", 170_00n))
      yield* node.send(reverse("t", { shortfall: "payer" }))
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [30_00n, 0n])
      assert.deepInclude(yield* refused(node, reverse("t", { n: 2 })), { _tag: "ReversalExceeds" })
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is refused in another asset than the original's", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(transfer("payer", "shop", 100n, "t"))
      const yen = { _tag: "AssetMismatch", expected: "JPY/0", actual: "USD/2" } as const
      const asset = "JPY/0"
      for (const more of [
        { asset },
        { amount: 50n, asset },
        { asset, legs: [{ account: "shop", amount: 50n }] },
        { legs: [{ account: "shop", amount: 50n, asset }] }
      ])
        assert.deepInclude<object>(yield* refused(node, reverse("t", more)), yen)
      yield* node.send(reverse("t", { amount: 50n, asset: "USD/2" }))
      const rest = [{ account: "shop", amount: 50n, asset: "USD/2" }]
      yield* node.send(reverse("t", { n: 2, asset, legs: rest }))
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [100_00n, 100_00n])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("by one of several assets of the original is told to name legs", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send({ _tag: "OpenAccount", account: "eur", asset: "EUR/2", owner: "Ada" })
      yield* node.send({
        _tag: "PostJournal",
        commandId: "fx",
        legs: [
          { account: "payer", side: "debit", amount: 1_10n },
          { account: "external:fx", side: "credit", amount: 1_10n, asset: "USD/2" },
          { account: "eur", side: "credit", amount: 1_00n },
          { account: "external:fx", side: "debit", amount: 1_00n, asset: "EUR/2" }
        ]
      })
      for (const asset of ["USD/2", "EUR/2"]) {
        const part = yield* refused(node, reverse("fx", { amount: 10n, asset }))
        assert.strictEqual(part._tag, "InvalidCommand")
        assert.include(part.message, "amount: the original has more than one amount: name those to give back")
        const whole = yield* refused(node, reverse("fx", { asset }))
        assert.strictEqual(whole._tag, "InvalidCommand")
        assert.include(whole.message, "asset: the original moved USD/2 and EUR/2: name in legs")
      }
      for (const more of [{ asset: "JPY/0" }, { amount: 10n, asset: "JPY/0" }])
        assert.deepInclude<object>(yield* refused(node, reverse("fx", more)), {
          _tag: "AssetMismatch",
          account: "payer",
          expected: "JPY/0",
          actual: "USD/2"
        })
      yield* node.send(reverse("fx", { asset: "EUR/2", legs: [{ account: "eur", amount: 40n }] }))
      yield* node.send(reverse("fx", { n: 2 }))
      assert.deepStrictEqual(yield* balances(node, "payer", "eur"), [100_00n, 0n])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("gives back deposits, withdrawals and captures, out of and into the books", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(deposit("payer", 5_00n, "in"))
      yield* node.send(withdraw("payer", 2_00n, "out"))
      yield* node.send({ _tag: "PlaceHold", commandId: "h", account: "payer", amount: 50_00n })
      yield* node.send({
        _tag: "CaptureHold",
        commandId: "c-out",
        account: "payer",
        hold: "h",
        amount: 10_00n
      })
      yield* node.send({
        _tag: "CaptureHold",
        commandId: "c-shop",
        account: "payer",
        hold: "h",
        amount: 20_00n,
        to: "shop"
      })
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [73_00n, 120_00n])
      yield* node.send(reverse("in"))
      yield* node.send(reverse("out"))
      yield* node.send(reverse("c-out", { amount: 4_00n }))
      yield* node.send(reverse("c-out", { n: 2, amount: 6_00n }))
      yield* node.send(reverse("c-shop"))
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [100_00n, 100_00n])
      assert.strictEqual((yield* refused(node, reverse("h")))._tag, "InvalidCommand")
      assert.strictEqual((yield* refused(node, reverse("never")))._tag, "CommandNotFound")
      assert.strictEqual((yield* refused(node, reverse("in", { n: 2, amount: 1n })))._tag, "ReversalExceeds")
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("gives back an exchange, a month later, by the very minor units of both assets", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      for (const account of ["payer-eur", "desk-eur"])
        yield* node.send({ _tag: "OpenAccount", account, asset: "EUR/2", owner: "Ada" })
      yield* node.send(deposit("desk-eur", 1_000_00n))
      yield* node.send({
        _tag: "PostJournal",
        commandId: "fx",
        legs: [
          { account: "payer", side: "debit", amount: 10_84n },
          { account: "fees", side: "credit", amount: 10_84n },
          { account: "desk-eur", side: "debit", amount: 10_00n },
          { account: "payer-eur", side: "credit", amount: 10_00n }
        ],
        // 10.837, which is rounded to 10.84: dividing back would not give 10.00 for every rate.
        fx: [{ base: "EUR/2", quote: "USD/2", rate: "10837/10000", rounding: "half-even" }]
      })
      yield* node.stop
      yield* TestClock.adjust("30 days")
      const later = yield* startNode("a month later", { store })
      yield* later.send(reverse("fx"))
      assert.deepStrictEqual(yield* balances(later, "payer", "fees", "payer-eur", "desk-eur"), [
        100_00n,
        100_00n,
        0n,
        1_000_00n
      ])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect(
    "gives back a payment that came in split, in parts and as a whole, to the contra it came from",
    () =>
      Effect.gen(function* () {
        const { node, store } = yield* world
        yield* node.send({
          _tag: "PostJournal",
          commandId: "split",
          legs: [
            { account: "external:card", side: "debit", amount: 10_00n },
            { account: "shop", side: "credit", amount: 9_70n },
            { account: "fees", side: "credit", amount: 30n }
          ]
        })
        // One side is named, and the other has a single leg: it takes the difference.
        yield* node.send(reverse("split", { legs: [{ account: "shop", amount: 4_00n }] }))
        const [part] = yield* legsOf(store, "~r1~split")
        assert.deepInclude(part?.event, {
          _tag: "Withdrawn",
          amount: 4_00n,
          contra: "external:card",
          reverses: {
            original: "split",
            n: 1,
            gave: [
              { account: "shop", amount: 4_00n },
              { account: "external:card", asset: "USD/2", amount: 4_00n }
            ]
          }
        } as object)
        const tooMuch = reverse("split", { n: 2, legs: [{ account: "external:card", amount: 6_01n }] })
        assert.deepInclude(yield* refused(node, tooMuch), {
          _tag: "ReversalExceeds",
          account: "external:card",
          left: 6_00n
        })
        yield* node.send(reverse("split", { n: 2, metadata: { ticket: "4711" } }))
        const [rest, further] = yield* legsOf(store, "~r2~split")
        assert.deepInclude(rest?.event, {
          _tag: "JournalPosted",
          contras: [{ contra: "external:card", side: "credit", amount: 6_00n, asset: "USD/2" }],
          description: "refund",
          metadata: { ticket: "4711" }
        } as object)
        assert.deepInclude(further?.event, {
          amount: 30n,
          side: "debit",
          metadata: { ticket: "4711" }
        } as object)
        assert.deepStrictEqual(yield* balances(node, "shop", "fees"), [100_00n, 100_00n])
        assert.strictEqual((yield* refused(node, reverse("split", { n: 3 })))._tag, "ReversalExceeds")
        assert.deepStrictEqual(yield* invariantsOf(store), [])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("tells apart what one contra paid in two assets", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send({ _tag: "OpenAccount", account: "shop-eur", asset: "EUR/2", owner: "Ada" })
      yield* node.send({
        _tag: "PostJournal",
        commandId: "two",
        legs: [
          { account: "external:card", side: "debit", amount: 7_00n, asset: "USD/2" },
          { account: "external:card", side: "debit", amount: 5_00n, asset: "EUR/2" },
          { account: "shop", side: "credit", amount: 7_00n },
          { account: "shop-eur", side: "credit", amount: 5_00n }
        ]
      })
      const either = yield* refused(
        node,
        reverse("two", { legs: [{ account: "external:card", amount: 1_00n }] })
      )
      assert.include(either.message, "several assets")
      const neither = reverse("two", { legs: [{ account: "external:card", amount: 1_00n, asset: "JPY/0" }] })
      const unknown = yield* refused(node, neither)
      assert.strictEqual(unknown._tag, "InvalidCommand")
      assert.include(unknown.message, "legs: external:card has USD/2 and EUR/2 in two, not JPY/0")
      const euros = [{ account: "external:card", amount: 2_00n, asset: "EUR/2" }]
      yield* node.send(reverse("two", { legs: euros }))
      yield* node.send(reverse("two", { n: 2 }))
      const [first] = yield* legsOf(store, "~r2~two")
      assert.deepInclude(first?.event, {
        contras: [
          { contra: "external:card", side: "credit", amount: 7_00n, asset: "USD/2" },
          { contra: "external:card", side: "credit", amount: 3_00n, asset: "EUR/2" }
        ]
      } as object)
      assert.deepStrictEqual(yield* balances(node, "shop", "shop-eur"), [100_00n, 0n])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("of a journal asks nothing of an account that kept nothing", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(open("b"))
      yield* node.send({
        _tag: "PostJournal",
        commandId: "on",
        legs: [
          { account: "payer", side: "debit", amount: 5_00n },
          { account: "b", side: "credit", amount: 5_00n },
          { account: "b", side: "debit", amount: 5_00n },
          { account: "shop", side: "credit", amount: 5_00n }
        ]
      })
      yield* node.send({ _tag: "FreezeAccount", account: "b" })
      yield* node.send(reverse("on"))
      assert.deepStrictEqual(yield* balances(node, "payer", "b", "shop"), [100_00n, 0n, 100_00n])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("gives back what a group moved in the end, as one", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send({
        _tag: "Group",
        commandId: "g",
        commands: [
          { _tag: "OpenAccount", account: "b", asset: "USD/2", owner: "Bo" },
          { _tag: "Deposit", account: "payer", amount: 50_00n },
          { _tag: "Transfer", from: "payer", to: "b", amount: 60_00n },
          { _tag: "Transfer", from: "b", to: "shop", amount: 40_00n },
          { _tag: "Withdraw", account: "b", amount: 5_00n, contra: "external:atm" }
        ]
      })
      assert.deepStrictEqual(yield* balances(node, "payer", "b", "shop"), [90_00n, 15_00n, 140_00n])
      yield* node.send(
        reverse("g", {
          legs: [
            { account: "shop", amount: 10_00n },
            { account: "payer", amount: 10_00n }
          ]
        })
      )
      const back = yield* node.send(reverse("g", { n: 2 }))
      assert.deepStrictEqual<unknown>(
        back.postings.map(({ account, balance }) => [account, balance]),
        [
          ["b", 0n],
          ["shop", 100_00n]
        ]
      )
      const [first] = yield* legsOf(store, "~r2~g")
      assert.deepInclude(first?.event, {
        contras: [
          { contra: "external:bank", side: "credit", amount: 50_00n, asset: "USD/2" },
          { contra: "external:atm", side: "debit", amount: 5_00n, asset: "USD/2" }
        ]
      } as object)
      assert.deepStrictEqual(yield* balances(node, "payer", "b", "shop"), [100_00n, 0n, 100_00n])
      assert.strictEqual((yield* refused(node, reverse("g", { n: 3 })))._tag, "ReversalExceeds")
      const passing = {
        _tag: "Group",
        commandId: "passing",
        commands: [
          { _tag: "Deposit", account: "payer", amount: 5n },
          { _tag: "Withdraw", account: "payer", amount: 5n, contra: "external:atm" }
        ]
      } as const
      yield* node.send(passing)
      assert.include((yield* refused(node, reverse("passing"))).message, "between contra accounts alone")
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("of money from a contra takes from another account what the receiver has spent", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(deposit("payer", 50_00n, "in-1"))
      yield* node.send(deposit("payer", 50_00n, "in-2"))
      yield* node.send(withdraw("payer", 180_00n))
      assert.deepInclude(yield* refused(node, reverse("in-1")), {
        _tag: "InsufficientFunds",
        account: "payer"
      })
      const partly = yield* node.send(reverse("in-1", { shortfall: "fees" }))
      assert.deepStrictEqual<unknown>(
        partly.postings.map(({ account, balance }) => [account, balance]),
        [
          ["payer", 0n],
          ["fees", 70_00n]
        ]
      )
      // Nothing is left on the account: all of it is the other's, which is marked on the first event too.
      const whole = yield* node.send(reverse("in-2", { shortfall: "fees" }))
      assert.deepStrictEqual<unknown>(
        whole.postings.map(({ account, balance }) => [account, balance]),
        [["fees", 20_00n]]
      )
      const [only] = yield* legsOf(store, "~r1~in-2")
      assert.deepInclude(only?.event, {
        _tag: "JournalPosted",
        contras: [{ contra: "external:bank", side: "credit", amount: 50_00n, asset: "USD/2" }],
        reverses: {
          original: "in-2",
          n: 1,
          gave: [
            { account: "payer", amount: 50_00n },
            { account: "external:bank", amount: 50_00n, asset: "USD/2" }
          ],
          isShortfall: true
        }
      } as object)
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("keeps its reason beside a description of its own", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(transfer("payer", "shop", 7n, "t"))
      yield* node.send(reverse("t", { amount: 2n }))
      yield* node.send(reverse("t", { n: 2, description: "credit note 7" }))
      const told = (id: string) =>
        Effect.map(legsOf(store, id), (legs) =>
          legs.map(({ event }) => "reverses" in event && [event.description, event.reverses?.reason])
        )
      const [first, second] = [
        ["refund", undefined],
        ["credit note 7", "refund"]
      ]
      assert.deepStrictEqual(yield* told("~r1~t"), [first, first])
      assert.deepStrictEqual(yield* told("~r2~t"), [second, second])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("in a batch finds an original that stands before it", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      const results = yield* node.dispatcher.dispatchMany(
        [transfer("payer", "shop", 7n, "t"), reverse("t"), transfer("payer", "shop", 3n)].map((one) =>
          toCommand(one)
        )
      )
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 3 })
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [99_97n, 100_03n])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("in a batch may stand behind any number of commands", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      const payment = toCommand(transfer("payer", "shop", 7n, "t"))
      const before = Array.from({ length: 150_000 }, () => payment)
      const results = yield* node.dispatcher.dispatchMany([...before, toCommand(reverse("t"))])
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 2, Replayed: before.length - 1 })
      assert.deepStrictEqual(yield* balances(node, "payer", "shop"), [100_00n, 100_00n])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

it.live("two partial reversals of 60 at once, from the nodes of both accounts, give back 60", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(2, 2)
    const store = yield* EventStore
    const start = (index: 0 | 1) =>
      Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index), store }), (node) =>
        Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    const nodes = [yield* start(0), yield* start(1)] as const
    for (const account of ["a0", "b1"]) {
      yield* nodes[0].send(open(account))
      yield* nodes[0].send(deposit(account, 100n))
    }
    yield* nodes[0].send(transfer("a0", "b1", 100n, "t"))
    const results = yield* Effect.forEach(
      nodes,
      (node) => Effect.result(node.send(reverse("t", { amount: 60n }))),
      {
        concurrency: "unbounded"
      }
    )
    assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 1, Replayed: 1 })
    assert.deepStrictEqual(yield* balances(nodes[0], "a0", "b1"), [60n, 140n])
    const others = yield* Effect.forEach(
      nodes,
      (node, nth) => Effect.result(node.send(reverse("t", { n: 2, amount: 30n + BigInt(nth) }))),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(tally(others.map(outcomeOf)), { Accepted: 1, CommandIdReused: 1 })
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)
