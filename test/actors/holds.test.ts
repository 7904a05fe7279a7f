/** Holds on nodes: each row of the table of cases, in process, on one node and on two. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

const place = (account: string, id: string, amount: bigint, more: object = {}): CommandInput => ({
  _tag: "PlaceHold",
  commandId: id,
  account,
  amount,
  ...more
})
const capture = (account: string, hold: string, commandId: string, more: object = {}): CommandInput => ({
  _tag: "CaptureHold",
  commandId,
  account,
  hold,
  ...more
})
const release = (account: string, hold: string, commandId: string): CommandInput => ({
  _tag: "ReleaseHold",
  commandId,
  account,
  hold
})

const refused = (node: LedgerNode, input: CommandInput) => Effect.flip(node.send(input))

const figures = (node: LedgerNode, input: CommandInput) =>
  Effect.map(node.send(input), ({ postings }) =>
    postings.map(({ account, balance, held, available }) => [account, balance, held, available])
  )

const world = Effect.gen(function* () {
  const store = yield* EventStore
  const node = yield* startNode("holds")
  yield* fund(node, ["a", "b"], 200n)
  return { store, node }
})

describe("a hold on one node", () => {
  it.effect(
    "refuses more than it keeps back, and takes the excess from what is available where told to",
    () =>
      Effect.gen(function* () {
        const { node } = yield* world
        yield* node.send(place("a", "h", 100n))
        const error = yield* refused(node, capture("a", "h", "k-1", { amount: 120n }))
        assert.deepInclude(error, { _tag: "CaptureExceedsHold", remaining: 100n, amount: 120n })
        const more = capture("a", "h", "k-2", { amount: 120n, excess: "fromAvailable" })
        assert.deepStrictEqual<unknown>(yield* figures(node, more), [["a", 80n, 0n, 80n]])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("frees the rest of a final capture at once, and says each amount in its receipt", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      assert.deepStrictEqual<unknown>(yield* figures(node, place("a", "h", 100n, { to: "b" })), [
        ["a", 200n, 100n, 100n]
      ])
      assert.deepStrictEqual<unknown>(
        yield* figures(node, capture("a", "h", "c", { amount: 70n, final: true })),
        [
          ["a", 130n, 0n, 130n],
          ["b", 270n, 0n, 270n]
        ]
      )
      yield* node.send(withdraw("a", 130n))
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect(
    "is refused from the very instant of its expiry, with no notice written, and so on every repeat",
    () =>
      Effect.gen(function* () {
        const { node, store } = yield* world
        const { recordedAt } = yield* node.send(place("a", "h", 150n, { expiresIn: 60_000 }))
        const early = yield* refused(node, withdraw("a", 51n))
        assert.deepInclude(early, { _tag: "InsufficientFunds", held: 150n, balance: 200n })
        yield* TestClock.adjust(
          recordedAt + 60_000 - (yield* Effect.clockWith((clock) => clock.currentTimeMillis))
        )
        const expired = { _tag: "HoldExpired", hold: "h", expiredAt: recordedAt + 60_000 } as const
        assert.deepInclude(yield* refused(node, capture("a", "h", "late")), expired)
        yield* node.send(withdraw("a", 200n))
        assert.deepInclude(yield* refused(node, capture("a", "h", "late")), expired)
        assert.deepInclude(yield* refused(node, release("a", "h", "later")), expired)
        assert.notInclude(
          (yield* readStream(store, "a")).map((row) => row.type),
          "HoldCaptured"
        )
        assert.deepStrictEqual(yield* invariantsOf(store), [])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("that is released twice answers the first outcome, and another id how and when it ended", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      yield* node.send(place("a", "h", 100n))
      const first = yield* node.send(release("a", "h", "r-1"))
      assert.deepStrictEqual(yield* node.send(release("a", "h", "r-1")), { ...first, replayed: true })
      const closed = {
        _tag: "HoldClosed",
        account: "a",
        hold: "h",
        how: "released",
        at: first.recordedAt
      } as const
      assert.deepInclude(yield* refused(node, release("a", "h", "r-2")), closed)
      yield* node.send(place("a", "i", 100n))
      const last = yield* node.send(capture("a", "i", "k-1"))
      assert.deepInclude(yield* refused(node, capture("a", "i", "k-2")), {
        _tag: "HoldClosed",
        how: "captured",
        at: last.recordedAt
      })
      assert.deepInclude(yield* refused(node, capture("a", "never", "k-3")), { _tag: "HoldNotFound" })
      assert.deepInclude(yield* refused(node, capture("b", "i", "k-4")), { _tag: "HoldNotFound" })
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("answers a repeated capture with the same receipt, from memory and from the log", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(place("a", "h", 100n, { to: "b" }))
      const first = yield* node.send(capture("a", "h", "c", { amount: 30n }))
      const again = { ...first, replayed: true }
      assert.deepStrictEqual(yield* node.send(capture("a", "h", "c", { amount: 30n })), again)
      yield* node.stop
      const next = yield* startNode("next", { store })
      assert.deepStrictEqual(yield* next.send(capture("a", "h", "c", { amount: 30n })), again)
      assert.deepStrictEqual<unknown>(yield* figures(next, capture("a", "h", "d")), [
        ["a", 100n, 0n, 100n],
        ["b", 300n, 0n, 300n]
      ])
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("keeps an account open, may be released while it is frozen, and is not captured then", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      yield* node.send(place("a", "h", 100n))
      yield* node.send(withdraw("a", 100n))
      assert.deepInclude(yield* refused(node, { _tag: "CloseAccount", account: "a" }), {
        _tag: "OpenHolds",
        count: 1,
        held: 100n
      })
      yield* node.send({ _tag: "FreezeAccount", account: "a" })
      assert.deepInclude(yield* refused(node, capture("a", "h", "c")), { _tag: "AccountNotActive" })
      assert.deepInclude(yield* refused(node, { _tag: "CloseAccount", account: "a" }), {
        _tag: "OpenHolds",
        count: 1
      })
      yield* node.send(release("a", "h", "r"))
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect(
    "of which a thousand expire in one millisecond costs the next command one event, and no other",
    () =>
      Effect.gen(function* () {
        const store = yield* EventStore
        const faulty = FaultyStore.over(store)
        const node = yield* startNode("many", { store: faulty.store })
        yield* fund(node, ["a"], 2_000n)
        const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const expiresAt = now + 60_000
        const placed = yield* node.dispatcher.dispatchMany(
          Array.from({ length: 1_000 }, (_, nth) => toCommand(place("a", `h-${nth}`, 1n, { expiresAt })))
        )
        assert.deepStrictEqual(tally(placed.map(outcomeOf)), { Accepted: 1_000 })
        assert.deepInclude(yield* refused(node, withdraw("a", 1_001n)), { held: 1_000n })
        yield* TestClock.adjust(60_000)
        const before = faulty.callsOf("commit")
        const receipt = yield* node.send(withdraw("a", 2_000n))
        assert.deepStrictEqual<unknown>(
          receipt.postings.map(({ version, balance, held }) => [version, balance, held]),
          [[1_003, 0n, 0n]]
        )
        assert.strictEqual(faulty.callsOf("commit"), before + 1)
        const { account } = (yield* node.dispatcher.head(AccountId.make("a"))).head
        assert.deepInclude(account, { holds: [], held: 0n } as object)
        assert.deepStrictEqual(yield* invariantsOf(store), [])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

it.live(
  "of two captures of the rest at the same moment, on two nodes that both own the account, one is taken",
  () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const first = yield* startNode("first")
      const second = yield* startNode("second")
      yield* fund(first, ["a", "b"], 100n)
      yield* first.send(place("a", "h", 60n, { to: "b" }))
      yield* second.send(deposit("a", 1n))
      const results = yield* Effect.forEach(
        [first, second],
        (node, nth) => Effect.result(node.send(capture("a", "h", `k-${nth}`))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 1, HoldClosed: 1 })
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live(
  "of two captures of the rest at the same moment, through the owner's node and another, one is taken",
  () =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(2, 2)
      const store = yield* EventStore
      const nodes = yield* Effect.forEach([0, 1], (index) =>
        Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index), store }), (node) =>
          Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
        )
      )
      const [first] = nodes
      if (first === undefined) return assert.fail("no node was started")
      for (const account of ["a0", "b1"]) yield* first.send(open(account))
      yield* first.send(deposit("a0", 100n))
      for (let round = 0; round < 10; round++) {
        yield* first.send(place("a0", `h-${round}`, 6n, { to: "b1" }))
        const results = yield* Effect.forEach(
          nodes,
          (node, nth) => Effect.result(node.send(capture("a0", `h-${round}`, `k-${round}-${nth}`))),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 1, HoldClosed: 1 })
      }
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a capture pays an account of another node, which only the hold names", () =>
  Effect.gen(function* () {
    const cluster = new SimulatedCluster(2, 2)
    const store = yield* EventStore
    const start = (index: 0 | 1) =>
      Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index), store }), (node) =>
        Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
      )
    const first = yield* start(0)
    const second = yield* start(1)
    // Their last character says which node has them.
    for (const account of ["a0", "b1"]) {
      yield* first.send(open(account))
      yield* first.send(deposit(account, 100n))
    }
    yield* first.send(place("a0", "h", 60n, { to: "b1" }))
    // Captures and transfers the other way, from both nodes at once: none waits for ever, no money is lost.
    const running = yield* Effect.forkChild(
      Effect.forEach(
        Array.from({ length: 20 }),
        (_, nth) =>
          Effect.result(
            (nth % 2 === 0 ? first : second).send(
              nth % 4 < 2 ? capture("a0", "h", `k-${nth}`, { amount: 5n }) : transfer("b1", "a0", 1n)
            )
          ),
        { concurrency: "unbounded" }
      )
    )
    const results = yield* Fiber.join(running)
    assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 20 })
    const receipt = yield* second.send(capture("a0", "h", "last", { final: true }))
    assert.deepStrictEqual<unknown>(
      receipt.postings.map(({ account, balance, held }) => [account, balance, held]),
      [
        ["a0", 50n, 0n],
        ["b1", 150n, 0n]
      ]
    )
    assert.isTrue(results.every(Result.isSuccess))
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)
