/** Command ids of an earlier life of the node, sent again when today's state would refuse them. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  memoryStores,
  open,
  outcomeOf,
  readStream,
  type Store,
  startNode,
  tally,
  toCommand,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"

/** More than the deadline of a command and one look at it. */
const overMs = 10_100

const tooLong = new StoreUnavailable({ store: "event store", reason: "the statement took too long" })

layer(memoryStores)("an outcome", (it) => {
  it.effect("is kept for ever, also where the command would be refused today", () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const first = yield* startNode("life-1")
      const opening = { ...open("o-a"), commandId: "o-open" }
      yield* first.send(opening)
      yield* first.send(open("o-b"))
      yield* first.send(deposit("o-a", 100n, "o-in"))
      yield* first.send(transfer("o-a", "o-b", 60n, "o-pay"))
      const spent = yield* first.send(withdraw("o-a", 40n, "o-out"))
      yield* first.stop

      const second = yield* startNode("life-2")
      assert.isTrue((yield* second.send(opening)).replayed, "today the account exists already")
      const again = yield* second.send(withdraw("o-a", 40n, "o-out"))
      assert.deepStrictEqual(again, { ...spent, replayed: true }, "today nothing is left")
      assert.isTrue((yield* second.send(transfer("o-a", "o-b", 60n, "o-pay"))).replayed)
      const reused = yield* Effect.flip(second.send(withdraw("o-a", 41n, "o-out")))
      assert.strictEqual(reused._tag, "CommandIdReused", "another body under an accepted id")
      const refused = yield* Effect.flip(second.send(withdraw("o-a", 40n, "o-new")))
      assert.strictEqual(refused._tag, "InsufficientFunds", "a new id is decided on today's state")
      assert.strictEqual((yield* readStream(store, "o-a")).length, 4)
    })
  )

  it.effect("is told whole after another command came under its id", () =>
    Effect.gen(function* () {
      const first = yield* startNode("life-3")
      for (const account of ["p-a", "p-b"]) yield* first.send(open(account))
      yield* first.send(deposit("p-a", 100n))
      yield* first.send({ _tag: "PlaceHold", commandId: "p-hold", account: "p-a", amount: 60n, to: "p-b" })
      // The hold alone says that its capture pays `p-b`.
      const capture = { _tag: "CaptureHold", commandId: "p-pay", account: "p-a", hold: "p-hold" } as const
      const paid = yield* first.send(capture)
      assert.lengthOf(paid.postings, 2)
      yield* first.stop

      const second = yield* startNode("life-4")
      const reused = yield* Effect.flip(second.send(transfer("p-a", "p-b", 1n, "p-pay")))
      assert.strictEqual(reused._tag, "CommandIdReused")
      assert.deepStrictEqual(yield* second.send(capture), { ...paid, replayed: true })
    })
  )

  /** Each command of the batch was refused for a repeat before it, and is decided again once that is known. */
  const behindRepeat = (name: string, payer: string, payee: string, later: ReadonlyArray<CommandInput>) =>
    Effect.gen(function* () {
      const first = yield* startNode(`${name}-1`)
      for (const account of [payer, payee]) yield* first.send(open(account))
      yield* first.send(deposit(payer, 100n))
      const spent = withdraw(payer, 50n, `${name}-spent`)
      yield* first.send(spent)
      yield* first.stop

      const second = yield* startNode(`${name}-2`)
      // Both in memory, so that the whole batch is decided at once.
      for (const account of [payer, payee]) yield* second.dispatcher.head(account as AccountId) // valid ids
      const results = yield* second.dispatcher.dispatchMany([spent, ...later].map(toCommand))
      assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
      return results.map(outcomeOf)
    })

  /** Fifty journals of a hundred legs, sent again beside a command that is refused. */
  const manyLegs = (name: string, store: (inner: Store) => Store) =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const first = yield* startNode(`${name}-1`)
      const accounts = Array.from({ length: 100 }, (_, nth) => `${name}-${nth}`)
      yield* fund(first, accounts, 100n)
      const journals = Array.from({ length: 50 }, (_, nth) =>
        toCommand({
          _tag: "PostJournal",
          commandId: `${name}-journal-${nth}`,
          legs: accounts.map((account, leg) => ({
            account,
            side: leg % 2 === 0 ? "debit" : "credit",
            amount: 1n
          }))
        })
      )
      const receipts = yield* first.dispatcher.dispatchMany(journals)
      yield* first.stop
      const second = yield* startNode(`${name}-2`, { store: store(inner) })
      for (const account of accounts) yield* second.dispatcher.head(account as AccountId) // valid ids
      const again = yield* Effect.forkChild(second.dispatcher.dispatchMany(journals))
      const refused = yield* Effect.forkChild(Effect.flip(second.send(withdraw(`${name}-0`, 1_000n))))
      return { receipts, again, refused }
    })

  it.effect("of many journals with many legs is read in parts that the store has time for", () =>
    Effect.gen(function* () {
      const { again, receipts } = yield* manyLegs("u", (inner) => ({
        ...inner,
        readEvents: (keys) => (keys.length > 1_000 ? Effect.fail(tooLong) : inner.readEvents(keys))
      }))
      yield* TestClock.adjust(overMs)
      const replayed = receipts.map((one) => Result.map(one, (receipt) => ({ ...receipt, replayed: true })))
      assert.deepStrictEqual(yield* Fiber.join(again), replayed)
    })
  )

  it.effect(
    "that cannot be read keeps no refusal waiting, and its repeat is told that it may have been accepted",
    () =>
      Effect.gen(function* () {
        const { again, refused } = yield* manyLegs("v", (inner) => ({
          ...inner,
          readEvents: () => Effect.fail(tooLong)
        }))
        yield* TestClock.adjust(overMs)
        assert.strictEqual((yield* Fiber.join(refused))._tag, "InsufficientFunds")
        assert.deepStrictEqual(tally((yield* Fiber.join(again)).map(outcomeOf)), { Indeterminate: 50 })
      })
  )

  it.effect("that cannot be read keeps none of the others waiting that are read with it", () =>
    Effect.gen(function* () {
      let bad = 0
      const { again, receipts } = yield* manyLegs("w", (inner) => ({
        ...inner,
        // One leg of the tenth journal: each account has two events before them.
        readEvents: (keys) =>
          keys.some(({ account, version }) => account === "w-7" && version === 12)
            ? Effect.suspend(() => {
                bad++
                return Effect.fail(tooLong)
              })
            : inner.readEvents(keys)
      }))
      yield* TestClock.adjust(overMs)
      const told = (yield* Fiber.join(again)).map(outcomeOf)
      assert.isAbove(bad, 1)
      assert.deepStrictEqual(
        told,
        receipts.map((_, nth) => (nth === 9 ? "Indeterminate" : "Replayed"))
      )
    })
  )

  it.effect("whose id cannot be looked up keeps no refusal and no other repeat waiting", () =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const first = yield* startNode("x-1")
      yield* fund(first, ["x-a"], 100n)
      const spent = Array.from({ length: 50 }, (_, nth) => withdraw("x-a", 2n, `x-spent-${nth}`))
      for (const command of spent) yield* first.send(command)
      yield* first.stop
      const second = yield* startNode("x-2", {
        store: {
          ...inner,
          findCommands: (ids) =>
            ids.some((id) => id === "x-spent-30") ? Effect.fail(tooLong) : inner.findCommands(ids)
        }
      })
      yield* second.dispatcher.head("x-a" as AccountId) // a valid id
      const sent = yield* Effect.forEach([...spent, withdraw("x-a", 1n)], (command) =>
        Effect.forkChild(Effect.result(second.send(command)))
      )
      yield* TestClock.adjust(overMs)
      const told = (yield* Effect.forEach(sent, Fiber.join)).map(outcomeOf)
      assert.deepStrictEqual(told, [
        ...spent.map((_, nth) => (nth === 30 ? "Unavailable" : "Replayed")),
        "InsufficientFunds"
      ])
    })
  )

  it.effect(
    "of a repeat has a batch looked up that comes after it: in few queries, and decided in its order",
    () =>
      Effect.gen(function* () {
        const first = yield* startNode("t-1")
        yield* first.send(open("t-a"))
        yield* first.send(deposit("t-a", 10n, "t-in"))
        yield* first.send(withdraw("t-a", 10n, "t-out"))
        yield* first.stop

        const faulty = FaultyStore.over(yield* EventStore)
        const second = yield* startNode("t-2", { store: faulty.store })
        assert.isTrue((yield* second.send(deposit("t-a", 10n, "t-in"))).replayed)
        const asked = faulty.callsOf("findCommands")
        const thrice = [deposit("t-a", 1n), withdraw("t-a", 2n), withdraw("t-a", 1n)]
        const batch = Array.from({ length: 67 }, () => thrice.map((one) => toCommand(one))).flat()
        const results = yield* second.dispatcher.dispatchMany([
          toCommand(withdraw("t-a", 10n, "t-out")),
          ...batch
        ])
        assert.deepStrictEqual(results.map(outcomeOf), [
          "Replayed",
          ...batch.map((_, nth) => (nth % 3 === 1 ? "InsufficientFunds" : "Accepted"))
        ])
        assert.isAtMost(faulty.callsOf("findCommands") - asked, 5)
      })
  )

  it.effect("of a repeat lets no command overtake one of its batch that was refused for it", () =>
    Effect.gen(function* () {
      const later = [transfer("q-a", "q-b", 40n, "q-pay"), withdraw("q-b", 30n, "q-out")]
      assert.deepStrictEqual(yield* behindRepeat("q", "q-a", "q-b", later), [
        "Replayed",
        "Accepted",
        "Accepted"
      ])
    })
  )

  it.effect(
    "of a repeat lets no command overtake a capture that pays an account which its hold alone names",
    () =>
      Effect.gen(function* () {
        const later = [
          { _tag: "PlaceHold", commandId: "s-hold", account: "s-a", amount: 40n, to: "s-b" } as const,
          { _tag: "CaptureHold", commandId: "s-pay", account: "s-a", hold: "s-hold" } as const,
          withdraw("s-b", 30n, "s-out")
        ]
        assert.deepStrictEqual(yield* behindRepeat("s", "s-a", "s-b", later), [
          "Replayed",
          "Accepted",
          "Accepted",
          "Accepted"
        ])
      })
  )
})
