/** Accounts in memory: loaded in batches, bounded in number, rebuilt from the log when something is wrong. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Random, Result } from "effect"
import { TestClock } from "effect/testing"
import type { Command } from "../../src/domain/Command.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  memoryStores,
  outcomeOf,
  quiet,
  readStream,
  type Store,
  startNode,
  tally,
  toCommand,
  until,
  withdraw
} from "../support/ledgerWorld.ts"

const world = Layer.mergeAll(memoryStores, quiet)
const names = (count: number) => Array.from({ length: count }, (_, index) => `n-${index}`)

it.effect("a burst on five thousand cold accounts is read in few queries", () =>
  Effect.gen(function* () {
    const accounts = names(5_000)
    const first = yield* startNode("first")
    yield* fund(first, accounts, 5n)
    yield* first.stop
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("second", { store: faulty.store })
    const receipts = yield* Effect.forEach(accounts, (account) => node.send(deposit(account, 1n)), {
      concurrency: "unbounded"
    })
    assert.isTrue(receipts.every((receipt) => receipt.postings[0]?.version === 3))
    assert.isAtMost(faulty.callsOf("readStreams"), 20)
    assert.strictEqual(faulty.rowsRead, 10_000)
    assert.isAtMost(faulty.callsOf("commit"), 20)
  }).pipe(Effect.provide(world))
)

it.live("accounts in memory stay bounded under pressure, and their states right", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const accounts = names(400)
    const first = yield* startNode("first")
    yield* fund(first, accounts, 5n)
    yield* first.stop
    const node = yield* startNode("second", { limits: { residentsMax: 50 } })
    let most = 0
    let overloaded = 0
    const sendUntilTaken = (account: string): Effect.Effect<void> =>
      Effect.suspend(() => {
        most = Math.max(most, node.dispatcher.stats().residents)
        return node.send(withdraw(account, 1n)).pipe(
          Effect.catchTag("Overloaded", (error) => {
            overloaded++
            assert.isAtLeast(error.retryAfterMs, 1)
            return Effect.andThen(Effect.yieldNow, sendUntilTaken(account))
          }),
          Effect.asVoid,
          Effect.orDie
        )
      })
    for (let round = 0; round < 3; round++) {
      yield* Effect.forEach(accounts, sendUntilTaken, { concurrency: 120 })
    }
    assert.isAbove(overloaded, 0)
    assert.strictEqual(most, 50)
    for (const account of accounts) assert.strictEqual((yield* readStream(store, account)).length, 5)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
    assert.strictEqual(node.dispatcher.stats().conflicts, 0)
  }).pipe(Effect.provide(world))
)

it.effect("an idle account is evicted, and loaded from the log when it is used again", () =>
  Effect.gen(function* () {
    const node = yield* startNode("idle")
    yield* fund(node, names(3), 5n)
    assert.strictEqual(node.dispatcher.stats().residents, 3)
    yield* TestClock.adjust("45 seconds")
    yield* node.send(deposit("n-0", 1n))
    yield* TestClock.adjust("45 seconds")
    assert.strictEqual(node.dispatcher.stats().residents, 1)
    assert.strictEqual((yield* node.send(deposit("n-1", 1n))).postings[0]?.version, 3)
  }).pipe(Effect.provide(world))
)

it.effect("an account whose log was changed is unavailable and says where; others are not harmed", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const first = yield* startNode("first")
    yield* fund(first, ["a", "b"], 5n)
    yield* first.stop
    const forged: Store = {
      ...store,
      readStreams: (from, limit) =>
        Effect.map(store.readStreams(from, limit), (rows) =>
          rows.map((row) =>
            row.accountId === "a" && row.version === 2
              ? { ...row, payload: row.payload.replace('"5"', '"5000"') }
              : row
          )
        )
    }
    const node = yield* startNode("second", { store: forged })
    const [onA, onB] = yield* Effect.all(
      [deposit("a", 1n), deposit("b", 1n)].map((command) => Effect.result(node.send(command))),
      { concurrency: "unbounded" }
    )
    if (onA === undefined || onB === undefined) return assert.fail("two results")
    if (!Result.isFailure(onA)) return assert.fail("a forged account took a deposit")
    assert.strictEqual(onA.failure._tag, "Unavailable")
    assert.include(onA.failure.message, "I5 is broken at a@2")
    assert.strictEqual(outcomeOf(onB), "Accepted")
    const head = yield* Effect.flip(node.dispatcher.head(AccountId.make("a")))
    assert.include(head.message, "I5 is broken at a@2")
  }).pipe(Effect.provide(world))
)

/** A deposit whose deciding throws the first `times` times. */
const poisoned = (account: string, id: string, times: number): Command => {
  const command = toCommand(deposit(account, 1n, id))
  let reads = 0
  return new Proxy(command, {
    get: (target, key) => {
      // The first reading is the hashing of the command.
      if (key === "amount" && reads++ > 0 && reads <= times + 1) throw new Error("a defect of the test")
      return Reflect.get(target, key)
    }
  })
}

it.effect(
  "a defect rebuilds the actor from the log, and what waited on it is decided again in its order",
  () =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const faulty = FaultyStore.over(inner)
      const node = yield* startNode("crash", { store: faulty.store, limits: { lanes: 1 } })
      yield* fund(node, ["a"], 5n)
      const reads = faulty.callsOf("readStreams")
      faulty.hold("commit")
      const sent = yield* Effect.forkChild(node.send(deposit("a", 1n, "flying")))
      yield* until("the commit is held", () => faulty.held() === 1)
      const waiting = yield* Effect.forEach(["queued-1", "queued-2"], (id) =>
        Effect.forkChild(node.send(deposit("a", 1n, id)))
      )
      yield* Effect.yieldNow
      const poison = yield* Effect.forkChild(node.dispatcher.dispatch(poisoned("a", "poison", 1)))
      yield* Effect.yieldNow
      const after = yield* Effect.forkChild(node.send(deposit("a", 1n, "after")))
      yield* Effect.yieldNow
      faulty.release()
      yield* Effect.forEach([sent, ...waiting, poison, after], Fiber.join)
      assert.strictEqual(faulty.callsOf("readStreams"), reads + 1)
      assert.deepStrictEqual(
        (yield* readStream(inner, "a")).slice(2).map((row) => row.commandId),
        ["flying", "queued-1", "queued-2", "poison", "after"].map((id) => id as never)
      )
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
    }).pipe(Effect.provide(world))
)

it.effect("a command that is a defect each time fails with it, and its account goes on", () =>
  Effect.gen(function* () {
    const node = yield* startNode("crash")
    yield* fund(node, ["a"], 5n)
    const exit = yield* Effect.exit(node.dispatcher.dispatch(poisoned("a", "poison", 1_000)))
    assert.strictEqual(exit._tag, "Failure")
    assert.include(String(exit), "a defect of the test")
    assert.strictEqual((yield* node.send(deposit("a", 1n))).postings[0]?.version, 3)
    assert.strictEqual(node.dispatcher.stats().inFlight, 0)
  }).pipe(Effect.provide(world))
)

it.effect("a defect behind the commit of one command keeps no other of its batch from its answer", () =>
  Effect.gen(function* () {
    const inner = yield* EventStore
    const faulty = FaultyStore.over(inner)
    const node = yield* startNode("crash", { store: faulty.store, limits: { lanes: 1 } })
    yield* fund(node, ["a", "b"], 5n)
    faulty.hold("commit")
    let isBroken = false
    const broken = new Proxy(toCommand(deposit("a", 1n, "broken")), {
      get: (target, key) => {
        if (isBroken && key === "account") throw new Error("a defect of the test")
        return Reflect.get(target, key)
      }
    })
    const [first, second] = yield* Effect.forEach([broken, toCommand(deposit("b", 1n))], (command) =>
      Effect.forkChild(Effect.exit(node.dispatcher.dispatch(command)), { startImmediately: true })
    )
    yield* until("they are sent", () => faulty.held() === 1)
    isBroken = true
    faulty.release()
    yield* TestClock.adjust(20_000)
    if (first === undefined || second === undefined) return assert.fail("two were sent")
    assert.strictEqual((yield* Fiber.join(second))._tag, "Success")
    assert.include(String(yield* Fiber.join(first)), "a defect of the test")
    assert.strictEqual((yield* node.send(deposit("a", 1n))).postings[0]?.version, 4)
    assert.strictEqual(node.dispatcher.stats().inFlight, 0)
    assert.deepStrictEqual(yield* invariantsOf(inner), [])
  }).pipe(Effect.provide(world))
)

it.effect("nor does one whose caller cannot be told that its commit was lost", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("crash", { store: faulty.store, limits: { lanes: 1 } })
    yield* fund(node, ["a", "b"], 5n)
    const dying = faulty.callsOf("commit")
    faulty.script = ({ method, nth }) => (method === "commit" && nth === dying ? "dies" : undefined)
    node.dispatcher.localNode.decide(toCommand(deposit("a", 1n)) as Command, () => {
      throw new Error("a defect of the test")
    })
    const other = yield* Effect.forkChild(Effect.result(node.send(deposit("b", 1n))), {
      startImmediately: true
    })
    yield* TestClock.adjust(20_000)
    assert.strictEqual(outcomeOf(yield* Fiber.join(other)), "Indeterminate")
    assert.strictEqual(node.dispatcher.stats().inFlight, 0)
  }).pipe(Effect.provide(world))
)

it.effect("an actor that crashed comes back although its last command turns out to be a repeat", () =>
  Effect.gen(function* () {
    const inner = yield* EventStore
    const first = yield* startNode("first")
    yield* fund(first, ["a", "b"], 5n)
    yield* first.send(deposit("b", 1n, "repeat"))
    yield* first.stop
    const faulty = FaultyStore.over(inner)
    const node = yield* startNode("second", { store: faulty.store, limits: { lanes: 1 } })
    faulty.hold("commit")
    // The same id for another account: a repeat that touches `a`.
    const reused = yield* Effect.forkChild(Effect.flip(node.send(deposit("a", 1n, "repeat"))))
    yield* until("the commit is held", () => faulty.held() === 1)
    const poison = yield* Effect.forkChild(node.dispatcher.dispatch(poisoned("a", "poison", 1)))
    yield* Effect.yieldNow
    faulty.release()
    assert.strictEqual((yield* Fiber.join(reused))._tag, "CommandIdReused")
    assert.strictEqual((yield* Fiber.join(poison)).postings[0]?.version, 3)
  }).pipe(Effect.provide(world))
)

it.effect(
  "a snapshot is written every so many events, and waking reads only its own event and those after it",
  () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const snapshots = yield* Snapshots
      const limits = { snapshotEvery: 10 }
      const first = yield* startNode("first", { limits })
      yield* fund(first, ["a"], 1n)
      for (let index = 0; index < 23; index++) yield* first.send(deposit("a", 1n))
      const id = AccountId.make("a")
      // Snapshots are written after the reply.
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(
        (yield* snapshots.latest([id])).map((head) => head.account.version),
        [20]
      )
      yield* first.stop
      const faulty = FaultyStore.over(store)
      const second = yield* startNode("second", { store: faulty.store, limits })
      const { head } = yield* second.dispatcher.head(id)
      assert.strictEqual(head.account.version, 25)
      assert.strictEqual(head.account._tag === "Opened" && head.account.balance, 24n)
      // Five, and the snapshot's own event.
      assert.strictEqual(faulty.rowsRead, 6)
    }).pipe(
      // A draw of 0 would compare the snapshot with the fold, which reads more.
      Effect.provideService(Random.Random, { nextIntUnsafe: () => 1, nextDoubleUnsafe: () => 0.5 }),
      Effect.provide(world)
    )
)

it.effect(
  "queries that give up while an account cannot be read leave nothing behind, and it is read later",
  () =>
    Effect.gen(function* () {
      const faulty = FaultyStore.over(yield* EventStore)
      const node = yield* startNode("away", { store: faulty.store })
      yield* fund(node, ["a"], 1n)
      yield* TestClock.adjust("100 seconds")
      faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
      const asked = yield* Effect.forEach(names(20), () =>
        Effect.forkChild(Effect.flip(node.dispatcher.head(AccountId.make("a"))))
      )
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(tally((yield* Effect.forEach(asked, Fiber.join)).map((error) => error._tag)), {
        Unavailable: 20
      })
      faulty.script = () => undefined
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* node.dispatcher.head(AccountId.make("a"))).head.account.version, 2)
    }).pipe(Effect.provide(world))
)

it.effect(
  "an account that the store cannot read keeps none of those waiting that are read with it, nor while others are read",
  () =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const accounts = names(60)
      const first = yield* startNode("first")
      const others = names(600).map((account) => `other-${account}`)
      yield* fund(first, [...accounts, ...others], 5n)
      yield* first.stop
      const unreadable = new StoreUnavailable({ store: "event store", reason: "invalid page in block 7" })
      let tried = 0
      const node = yield* startNode("second", {
        store: {
          ...inner,
          readStreams: (from, limit) =>
            from.some(({ account }) => account === "n-23")
              ? Effect.suspend(() => {
                  tried++
                  return Effect.fail(unreadable)
                })
              : inner.readStreams(from, limit)
        }
      })
      const sent = yield* Effect.forEach(accounts, (account) =>
        Effect.forkChild(Effect.result(node.send(deposit(account, 1n))))
      )
      const traffic = yield* Effect.forkChild(
        Effect.forEach(others, (account) =>
          Effect.andThen(node.send(deposit(account, 1n)), Effect.sleep("18 millis"))
        )
      )
      yield* TestClock.adjust("11 seconds")
      yield* Fiber.join(traffic)
      assert.deepStrictEqual(
        (yield* Effect.forEach(sent, Fiber.join)).map(outcomeOf),
        accounts.map((account) => (account === "n-23" ? "Unavailable" : "Accepted"))
      )
      const before = tried
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(tried, before, "nothing waits for it any more")
    }).pipe(Effect.provide(world))
)
