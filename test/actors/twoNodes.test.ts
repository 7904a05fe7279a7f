/** Two nodes that both believe to own every account, over one store: the keys alone keep the log right. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  until,
  withdraw
} from "../support/ledgerWorld.ts"

const everyOther = <A>(index: number, first: A, second: A): A => (index % 2 === 0 ? first : second)

it.live("exactly one of fifty withdrawals over both nodes fits, and the conflict is counted", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const first = yield* startNode("first")
    const second = yield* startNode("second")
    yield* fund(first, ["a"], 100n)
    // Both hold it in memory, at the same version.
    yield* second.dispatcher.head("a" as AccountId) // a valid id
    const results = yield* Effect.forEach(
      Array.from({ length: 50 }, (_, index) => everyOther(index, first, second)),
      (node) => Effect.result(node.send(withdraw("a", 80n))),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 1, InsufficientFunds: 49 })
    assert.strictEqual(first.dispatcher.stats().conflicts + second.dispatcher.stats().conflicts, 1)
    assert.strictEqual((yield* readStream(store, "a")).length, 3)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live(
  "transfers between two accounts from both nodes, both ways at once, are each written once or not at all",
  () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const nodes = [yield* startNode("first"), yield* startNode("second")]
      const [first = nodes[0], second = first] = nodes
      if (first === undefined || second === undefined) return
      yield* fund(first, ["a", "b"], 1_000n)
      const results = yield* Effect.forEach(
        Array.from({ length: 400 }),
        (_, index) => {
          const [from, to] = everyOther(index >> 1, ["a", "b"] as const, ["b", "a"] as const)
          return Effect.result(everyOther(index, first, second).send(transfer(from, to, 3n, `t-${index}`)))
        },
        { concurrency: 20 }
      )
      const counts = tally(results.map(outcomeOf))
      assert.strictEqual((counts.Accepted ?? 0) + (counts.Unavailable ?? 0), 400)
      const [a, b] = [yield* readStream(store, "a"), yield* readStream(store, "b")]
      assert.strictEqual(a.length, 2 + (counts.Accepted ?? 0))
      assert.strictEqual(b.length, a.length)
      assert.isAbove(first.dispatcher.stats().conflicts + second.dispatcher.stats().conflicts, 0)
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("one id sent to both nodes at once is accepted once, and both callers get the same receipt", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const first = yield* startNode("first")
    const second = yield* startNode("second")
    yield* fund(first, ["a", "b"], 1_000n)
    const pairs = yield* Effect.forEach(
      Array.from({ length: 60 }),
      (_, index) =>
        Effect.all(
          [first, second].map((node) => node.send(transfer("a", "b", 1n, `twice-${index}`))),
          { concurrency: "unbounded" }
        ),
      { concurrency: 6 }
    )
    for (const [one, other] of pairs) {
      if (one === undefined || other === undefined) return assert.fail("two receipts each")
      assert.strictEqual([one, other].filter((receipt) => receipt.replayed).length, 1)
      assert.deepStrictEqual({ ...one, replayed: true }, { ...other, replayed: true })
    }
    assert.strictEqual((yield* readStream(store, "a")).length, 62)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a conflict on one account does not harm the others that rode in the same batch", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const first = yield* startNode("first", { limits: { redecideMax: 0 } })
    const second = yield* startNode("second")
    const accounts = Array.from({ length: 40 }, (_, index) => `n-${index}`)
    yield* fund(first, accounts, 10n)
    yield* second.send(deposit("n-7", 1n))
    // Only n-7 is stale on the first node, and it may not decide again.
    const results = yield* Effect.forEach(
      accounts,
      (account) => Effect.result(first.send(deposit(account, 1n))),
      {
        concurrency: "unbounded"
      }
    )
    assert.deepStrictEqual(
      accounts.filter((_, index) => results[index] !== undefined && Result.isFailure(results[index])),
      ["n-7"]
    )
    assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 39, Unavailable: 1 })
    assert.strictEqual(first.dispatcher.stats().conflicts, 1)
    assert.isFalse((yield* first.send(deposit("n-7", 1n))).replayed)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live(
  "an id that the other node accepts after it was looked up keeps its outcome, though refused here",
  () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const faulty = FaultyStore.over(store)
      const first = yield* startNode("first")
      const second = yield* startNode("second", { store: faulty.store })
      yield* fund(first, ["a"], 100n)
      yield* first.send(deposit("a", 1n, "repeated"))
      // A repeat: from here on the second node looks ids up before it decides them.
      assert.isTrue((yield* second.send(deposit("a", 1n, "repeated"))).replayed)
      faulty.hold("readStreams")
      const opening = { ...open("late"), commandId: "opened-twice" }
      const waiting = yield* Effect.forkChild(second.send(opening))
      yield* until("the account is being loaded", () => faulty.held() > 0)
      const accepted = yield* first.send(opening)
      faulty.release()
      assert.deepStrictEqual(yield* Fiber.join(waiting), { ...accepted, replayed: true })
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("a conflict on one account of a batch does not change the order on the others", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("node", { store: faulty.store })
    yield* fund(node, ["a"], 100n)
    yield* node.send(open("b"))
    // Another writer takes the next version of `a`, which is then read anew; `b` is at hand all the time.
    const from = faulty.callsOf("commit")
    faulty.script = ({ method, nth }) => (method === "commit" && nth === from ? "overtaken" : undefined)
    const results = yield* node.dispatcher.dispatchMany([
      toCommand(transfer("a", "b", 60n)),
      toCommand(withdraw("b", 40n)),
      toCommand(withdraw("b", 20n))
    ])
    assert.deepStrictEqual(results.map(outcomeOf), ["Accepted", "Accepted", "Accepted"])
    assert.strictEqual(node.dispatcher.stats().conflicts, 1)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live("accounts read again after a conflict are read once, and decided on once", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const faulty = FaultyStore.over(store)
    const node = yield* startNode("first", { store: faulty.store })
    yield* fund(node, ["a", "b"], 100n)
    const other = yield* startNode("second", { store })
    for (const account of ["a", "b"]) yield* other.send(deposit(account, 1n))
    const reads = faulty.callsOf("readStreams")
    // One batch that conflicts on both; what is decided again takes its time to land.
    const commits = faulty.callsOf("commit")
    faulty.script = ({ method, nth }) => (method === "commit" && nth > commits ? "slow" : undefined)
    const again = yield* Effect.forEach([deposit("a", 1n), transfer("a", "b", 1n), deposit("b", 1n)], (one) =>
      Effect.forkChild(Effect.result(node.send(one)))
    )
    yield* until("they are decided again", () => faulty.callsOf("commit") > commits + 1)
    yield* Effect.sleep(5)
    const later = yield* Effect.result(node.send(deposit("b", 1n)))
    const results = [...(yield* Effect.forEach(again, Fiber.join)), later]
    assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 4 })
    assert.strictEqual(node.dispatcher.stats().conflicts, 2)
    assert.strictEqual(faulty.callsOf("readStreams"), reads + 1)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live(
  "a capture whose hold was not known keeps its place in a batch that is decided again after a conflict",
  () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const stale = yield* startNode("one")
      yield* stale.send(open("payer"))
      yield* stale.send(deposit("payer", 100n))
      yield* stale.send(open("payee"))
      // The other node takes both accounts: the first one has them in memory as they were.
      const other = yield* startNode("two")
      yield* other.send({ _tag: "PlaceHold", commandId: "h", account: "payer", amount: 100n, to: "payee" })
      yield* other.send(deposit("payee", 1n))
      const batch = [
        deposit("payer", 1n),
        { _tag: "CaptureHold", commandId: "c", account: "payer", hold: "h" } as const,
        deposit("payee", 1n),
        withdraw("payee", 100n)
      ].map(toCommand)
      const results = yield* stale.dispatcher.dispatchMany(batch)
      assert.deepStrictEqual(results.map(outcomeOf), ["Accepted", "Accepted", "Accepted", "Accepted"])
      assert.isAbove(stale.dispatcher.stats().conflicts, 0)
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live(
  "thousands of commands each of which waits for the one before are decided again after a conflict",
  () =>
    Effect.gen(function* () {
      const faulty = FaultyStore.over(yield* EventStore)
      const node = yield* startNode("node", { store: faulty.store })
      const accounts = Array.from({ length: 2_001 }, (_, nth) => `chain-${nth}`)
      yield* fund(node, accounts, 100n)
      // Another writer takes the next version of the first account; each transfer takes all that the one before it brought.
      const from = faulty.callsOf("commit")
      faulty.script = ({ method, nth }) => (method === "commit" && nth === from ? "overtaken" : undefined)
      faulty.hold("commit")
      const chain = accounts
        .slice(1)
        .map((to, nth) => toCommand(transfer(`chain-${nth}`, to, 100n * BigInt(nth + 1))))
      const sent = yield* Effect.forkChild(node.dispatcher.dispatchMany(chain))
      yield* until(
        "all are decided",
        () => node.dispatcher.stats().inFlight === chain.length && faulty.held() > 0
      )
      faulty.release()
      assert.deepStrictEqual(tally((yield* Fiber.join(sent)).map(outcomeOf)), { Accepted: chain.length })
    }).pipe(Effect.provide([memoryStores, quiet]))
)
