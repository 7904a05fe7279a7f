/** One node over a store: what is accepted, refused, replayed, joined, and in which order. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
  open,
  outcomeOf,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  until,
  withdraw
} from "../support/ledgerWorld.ts"

layer(memoryStores)("a node", (it) => {
  it.effect("answers an accepted command with the row that stands in the log", () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const node = yield* startNode("receipt")
      yield* node.send(open("r-a"))
      const receipt = yield* node.send(deposit("r-a", 100n, "r-deposit"))
      const [, row] = yield* readStream(store, "r-a")
      if (row === undefined) return assert.fail("the deposit is not in the log")
      assert.strictEqual(row.commandId, "r-deposit")
      assert.deepStrictEqual(receipt, {
        commandId: row.commandId,
        replayed: false,
        recordedAt: row.recordedAt,
        postings: [
          { account: row.accountId, version: 2, hash: row.hash, balance: 100n, held: 0n, available: 100n }
        ],
        readToken: "r-a@2"
      })
      assert.strictEqual((yield* node.dispatcher.head(row.accountId)).head.hash, row.hash)
    })
  )

  it.effect("refuses by the rules of the domain, leaves nothing, and lets the id be used again", () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const node = yield* startNode("refuse")
      yield* fund(node, ["f-a", "f-b"], 10n)
      const refused = yield* Effect.flip(node.send(withdraw("f-a", 11n, "f-1")))
      assert.strictEqual(refused._tag, "InsufficientFunds")
      assert.strictEqual(
        (yield* Effect.flip(node.send(transfer("f-a", "f-none", 1n))))._tag,
        "AccountNotFound"
      )
      assert.strictEqual((yield* Effect.flip(node.send(transfer("f-a", "f-a", 1n))))._tag, "SameAccount")
      assert.strictEqual((yield* readStream(store, "f-a")).length, 2)
      yield* node.send(deposit("f-a", 1n))
      assert.isFalse((yield* node.send(withdraw("f-a", 11n, "f-1"))).replayed)
    })
  )

  it.effect("writes both legs of a transfer with one instant, each naming where the other stands", () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const node = yield* startNode("transfer")
      yield* fund(node, ["t-a", "t-b"], 50n)
      yield* node.send(deposit("t-b", 1n))
      const receipt = yield* node.send(transfer("t-a", "t-b", 20n))
      assert.strictEqual(receipt.readToken, "t-a@3,t-b@4")
      const sent = (yield* readStream(store, "t-a")).at(-1)
      const received = (yield* readStream(store, "t-b")).at(-1)
      assert.strictEqual(
        sent?.payload,
        `{"amount":"20","to":"t-b","toVersion":4,"after":{"balance":"30","held":"0","available":"30"}}`
      )
      assert.strictEqual(
        received?.payload,
        `{"amount":"20","from":"t-a","fromVersion":3,"after":{"balance":"71","held":"0","available":"71"}}`
      )
      assert.strictEqual(sent?.recordedAt, received?.recordedAt)
    })
  )

  it.effect("replays the outcome of an id, from memory and, in another life of the node, from the log", () =>
    Effect.gen(function* () {
      const first = yield* startNode("replay")
      yield* fund(first, ["p-a", "p-b"], 50n)
      const receipt = yield* first.send(transfer("p-a", "p-b", 5n, "p-1"))
      assert.deepStrictEqual(yield* first.send(transfer("p-a", "p-b", 5n, "p-1")), {
        ...receipt,
        replayed: true
      })
      yield* first.stop
      const second = yield* startNode("replay")
      assert.deepStrictEqual(yield* second.send(transfer("p-a", "p-b", 5n, "p-1")), {
        ...receipt,
        replayed: true
      })
      assert.strictEqual(second.dispatcher.stats().repeats, 1)
      assert.strictEqual(second.dispatcher.stats().conflicts, 0)
    })
  )

  it.effect("does not refuse a command for another one of its id that is refused itself", () =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const first = yield* startNode("contest-first")
      yield* fund(first, ["v-a"], 50n)
      yield* first.send(deposit("v-a", 1n, "v-1"))
      yield* first.stop
      const faulty = FaultyStore.over(inner)
      const node = yield* startNode("contest", { store: faulty.store })
      for (const [id, outcome] of [
        ["v-1", { commandId: "v-1", replayed: true }],
        ["v-2", { commandId: "v-2", replayed: false }]
      ] as const) {
        faulty.hold("findCommands")
        const wrong = yield* Effect.forkChild(Effect.flip(node.send(withdraw("v-a", 1_000n, id))))
        yield* until("the wrong one is looked up", () => faulty.held() === 1)
        const right = yield* Effect.forkChild(node.send(deposit("v-a", 1n, id)), { startImmediately: true })
        assert.isUndefined(right.pollUnsafe())
        faulty.release()
        const tag = id === "v-1" ? "CommandIdReused" : "InsufficientFunds"
        assert.strictEqual((yield* Fiber.join(wrong))._tag, tag)
        const { commandId, replayed } = yield* Fiber.join(right)
        assert.deepStrictEqual({ commandId: `${commandId}`, replayed }, outcome)
      }
    })
  )

  it.effect(
    "refuses an id that was used for another body, whether it is remembered, under way or in the log",
    () =>
      Effect.gen(function* () {
        const inner = yield* EventStore
        const faulty = FaultyStore.over(inner)
        const node = yield* startNode("reuse", { store: faulty.store })
        yield* fund(node, ["u-a"], 50n)
        yield* node.send(deposit("u-a", 1n, "u-1"))
        const reused = (amount: bigint, id: string) =>
          Effect.map(Effect.flip(node.send(deposit("u-a", amount, id))), (error) => error._tag)
        assert.strictEqual(yield* reused(2n, "u-1"), "CommandIdReused")
        faulty.hold("commit")
        const under = yield* Effect.forkChild(node.send(deposit("u-a", 3n, "u-2")))
        yield* until("the commit is held", () => faulty.held() === 1)
        const other = yield* Effect.forkChild(reused(4n, "u-2"), { startImmediately: true })
        assert.isUndefined(other.pollUnsafe(), "whether the id is used is not known yet")
        faulty.release()
        yield* Fiber.join(under)
        assert.strictEqual(yield* Fiber.join(other), "CommandIdReused")
        const second = yield* startNode("reuse-other")
        assert.strictEqual(
          (yield* Effect.flip(second.send(deposit("u-a", 9n, "u-1"))))._tag,
          "CommandIdReused"
        )
        assert.strictEqual((yield* readStream(inner, "u-a")).length, 4)
      })
  )

  it.effect("lets a repeat of what is under way wait for it, and marks its answer", () =>
    Effect.gen(function* () {
      const faulty = FaultyStore.over(yield* EventStore)
      const node = yield* startNode("join", { store: faulty.store })
      yield* fund(node, ["j-a"], 50n)
      faulty.hold("commit")
      const first = yield* Effect.forkChild(node.send(deposit("j-a", 3n, "j-1")))
      yield* until("the commit is held", () => faulty.held() === 1)
      const second = yield* Effect.forkChild(node.send(deposit("j-a", 3n, "j-1")))
      yield* Effect.yieldNow
      assert.strictEqual(second.pollUnsafe(), undefined)
      faulty.release()
      const receipt = yield* Fiber.join(first)
      assert.isFalse(receipt.replayed)
      assert.deepStrictEqual(yield* Fiber.join(second), { ...receipt, replayed: true })
    })
  )

  it.effect("lets exactly one of fifty concurrent withdrawals take what only one can have", () =>
    Effect.gen(function* () {
      const node = yield* startNode("fifty")
      yield* fund(node, ["w-a"], 100n)
      const results = yield* Effect.forEach(
        Array.from({ length: 50 }),
        () => Effect.result(node.send(withdraw("w-a", 80n))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 1, InsufficientFunds: 49 })
      const { head } = yield* node.dispatcher.head("w-a" as AccountId) // a valid id
      assert.strictEqual(head.account._tag === "Opened" && head.account.balance, 20n)
    })
  )

  it.effect("carries two thousand concurrent commands of one account in few commits", () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const node = yield* startNode("hot")
      yield* fund(node, ["h-a"], 1n)
      const before = node.dispatcher.stats().batches
      const receipts = yield* Effect.forEach(
        Array.from({ length: 2_000 }),
        (_, index) => node.send(deposit("h-a", 1n, `h-${index}`)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        receipts.map((receipt) => receipt.postings[0]?.version).toSorted((a = 0, b = 0) => a - b),
        Array.from({ length: 2_000 }, (_, index) => index + 3)
      )
      assert.strictEqual((yield* readStream(store, "h-a")).length, 2_002)
      assert.isBelow(node.dispatcher.stats().batches - before, 10)
    })
  )

  it.effect("keeps the order of a batch on every account, cold ones too, with a result for each", () =>
    Effect.gen(function* () {
      const first = yield* startNode("batch")
      yield* fund(first, ["b-a", "b-b", "b-c"], 0n + 1n)
      yield* first.stop
      const node = yield* startNode("batch")
      const commands = Array.from({ length: 2_500 }, (_, index) => {
        const amount = BigInt(index + 1)
        if (index === 7) return toCommand(withdraw("b-a", 10n ** 17n))
        return index % 2 === 0
          ? toCommand(deposit("b-a", amount))
          : toCommand(transfer("b-a", index % 4 === 1 ? "b-b" : "b-c", 1n))
      })
      const results = yield* node.dispatcher.dispatchMany(commands)
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 2_499, InsufficientFunds: 1 })
      const versions = results.flatMap((result) =>
        Result.isSuccess(result) ? (result.success.postings[0]?.version ?? []) : []
      )
      assert.deepStrictEqual(
        versions,
        Array.from({ length: 2_499 }, (_, index) => index + 3)
      )
    })
  )

  it.effect("keeps the order of a batch on the accounts of a command whose id another one gives back", () =>
    Effect.gen(function* () {
      const node = yield* startNode("contested")
      yield* fund(node, ["k-a", "k-b"], 1n)
      const commands = [
        // The second is refused for what the first leaves, which is told once that is durable: until then its id is not free.
        deposit("k-a", 1n),
        withdraw("k-a", 1_000n, "k-id"),
        deposit("k-b", 100n, "k-id"),
        withdraw("k-b", 101n)
      ].map(toCommand)
      const results = yield* node.dispatcher.dispatchMany(commands)
      assert.deepStrictEqual(results.map(outcomeOf), [
        "Accepted",
        "InsufficientFunds",
        "Accepted",
        "Accepted"
      ])
    })
  )

  it.effect(
    "refuses for good what names more accounts than it holds in memory, and keeps what it accepted before",
    () =>
      Effect.gen(function* () {
        const accounts = ["m-a", "m-b", "m-c"]
        const large = yield* startNode("room")
        yield* fund(large, accounts, 10n)
        const group = (commandId: string): CommandInput => ({
          _tag: "Group",
          commandId,
          commands: accounts.map((account) => ({ _tag: "Deposit", account, amount: 1n }))
        })
        yield* large.send(group("m-1"))
        yield* large.stop
        const node = yield* startNode("room", { limits: { residentsMax: 2 } })
        const refused = yield* Effect.flip(node.send(group("m-2")))
        assert.deepInclude(refused, { _tag: "InvalidCommand" })
        assert.include(refused.message, "2 accounts at most")
        assert.isTrue((yield* node.send(group("m-1"))).replayed)
        yield* node.send(transfer("m-a", "m-b", 1n))
      })
  )

  it.effect(
    "refuses what comes to more than one statement may carry, and keeps what it accepted before",
    () =>
      Effect.gen(function* () {
        const large = yield* startNode("bytes")
        yield* fund(large, ["y-a"], 10n)
        const group = (commandId: string, size: number): CommandInput => ({
          _tag: "Group",
          commandId,
          commands: Array.from({ length: size }, () => ({
            _tag: "Deposit",
            account: "y-a",
            amount: 1n,
            metadata: { note: "x".repeat(256) }
          }))
        })
        yield* large.send(group("y-1", 100))
        yield* large.stop
        const node = yield* startNode("bytes", { limits: { batchBytesMax: 50_000 } })
        const before = (yield* node.dispatcher.head("y-a" as AccountId)).head
        const refused = yield* Effect.flip(node.send(group("y-2", 100)))
        assert.deepInclude(refused, { _tag: "InvalidCommand" })
        assert.match(refused.message, /must come to 50000 characters of events at most .*, not \d{5}/)
        assert.deepStrictEqual((yield* node.dispatcher.head("y-a" as AccountId)).head, before)
        assert.isTrue((yield* node.send(group("y-1", 100))).replayed)
        yield* node.send(group("y-2", 10))
      })
  )

  it.effect("carries a batch longer than it has room for commands, and overloads no one", () =>
    Effect.gen(function* () {
      const node = yield* startNode("long", { limits: { inFlightMax: 2_500, inFlightPerAccountMax: 2_500 } })
      yield* fund(node, ["l-a"], 1n)
      const commands = Array.from({ length: 6_000 }, () => toCommand(deposit("l-a", 1n)))
      const results = yield* node.dispatcher.dispatchMany(commands)
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 6_000 })
    })
  )

  it.effect("does not take a command back when its caller is interrupted", () =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const faulty = FaultyStore.over(inner)
      const node = yield* startNode("interrupted", { store: faulty.store })
      yield* fund(node, ["i-a"], 1n)
      faulty.hold("commit")
      const caller = yield* Effect.forkChild(node.send(deposit("i-a", 5n, "i-1")))
      yield* until("the commit is held", () => faulty.held() === 1)
      yield* Fiber.interrupt(caller)
      faulty.release()
      yield* until("all is settled", () => node.dispatcher.stats().inFlight === 0)
      assert.isTrue((yield* node.send(deposit("i-a", 5n, "i-1"))).replayed)
    })
  )
})
