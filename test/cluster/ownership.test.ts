/**
 * The rule of ownership in virtual time: a node answers from memory only while no other writer can still write to the
 * account. Each way in which an account changes hands meets a store that stands still for longer than it can wait.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { type Attempt, faultsOf, invariantsOf, logOf } from "../support/invariants.ts"
import {
  deposit,
  type LedgerNode,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  transfer,
  until,
  withdraw
} from "../support/ledgerWorld.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

const stepMs = 50

/** Lets time pass in small steps, as it does. */
const pass = (millis: number) =>
  Effect.repeat(TestClock.adjust(stepMs), { times: Math.ceil(millis / stepMs) - 1 })

/** Lets time pass until the fiber has ended, and no longer than a command may take. */
const joined = Effect.fnUntraced(function* <A, E>(fiber: Fiber.Fiber<A, E>) {
  for (let waited = 0; fiber.pollUnsafe() === undefined; waited += stepMs) {
    if (waited > 30_000) return yield* Effect.die(new Error("it never ends"))
    yield* TestClock.adjust(stepMs)
  }
  return yield* Fiber.join(fiber)
})

/** Nodes with a store of their own each; account `x-n` belongs to shard n, which is node n's in the beginning. */
const startNodes = Effect.fnUntraced(function* (count: number) {
  const inner = yield* EventStore
  const cluster = new SimulatedCluster(count, count)
  const stores = Array.from({ length: count }, () => FaultyStore.over(inner))
  const nodes = yield* Effect.forEach(stores, ({ store }, index) =>
    Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index), store }), (node) =>
      Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
    )
  )
  return { inner, cluster, stores, nodes: nodes as [LedgerNode, LedgerNode, ...Array<LedgerNode>] } // count of them
})

const begin = (node: LedgerNode, input: CommandInput) =>
  Effect.forkChild(Effect.result(node.send(input)), { startImmediately: true })

/** Its strong balance at the node, once it answers. */
const balanceAt = Effect.fnUntraced(function* (node: LedgerNode, account: string) {
  for (let tries = 0; tries < 10; tries++) {
    const asked = yield* Effect.forkChild(Effect.result(node.dispatcher.head(AccountId.make(account))))
    const told = yield* joined(asked)
    if (told._tag === "Success") {
      const { account: state } = told.success.head
      return state._tag === "Opened" ? state.balance : 0n
    }
  }
  return yield* Effect.die(new Error(`${account} has no balance`))
})

/** Lets a node end that was as good as dead. */
const comeBack = (store: FaultyStore | undefined) =>
  Effect.andThen(
    Effect.sync(() => store?.release()),
    pass(12_000)
  )

/** So that nodes can end where a test fails in the middle. To be said once they have started. */
const comesBackAtTheEnd = (store: FaultyStore | undefined) => Effect.addFinalizer(() => comeBack(store))

const scenarios = Effect.provide([memoryStores, quiet])

describe("the owner of an account that another node leased", () => {
  const stalls = [500, 2_000, 5_000, 9_000]
  it.effect.each(stalls)("knows the commit that outlasted the lease by any time (stall %i ms)", (stallMs) =>
    scenarios(
      Effect.gen(function* () {
        const { inner, stores, nodes } = yield* startNodes(2)
        const [first, second] = nodes
        yield* first.send(open("x-0"))
        yield* second.send(open("x-1"))
        yield* first.send(deposit("x-0", 100n))
        stores[0]?.hold("commit")
        const sent = yield* begin(first, transfer("x-0", "x-1", 100n, "t"))
        yield* pass(stallMs)
        stores[0]?.release()
        assert.strictEqual(outcomeOf(yield* joined(sent)), "Accepted")
        assert.strictEqual(yield* balanceAt(second, "x-1"), 100n)
        assert.strictEqual(outcomeOf(yield* joined(yield* begin(second, withdraw("x-1", 100n)))), "Accepted")
        assert.deepStrictEqual(yield* invariantsOf(inner), [])
        assert.strictEqual(second.dispatcher.stats().conflicts, 0)
      })
    )
  )

  it.effect("answers nothing from memory while that commit may still land", () =>
    scenarios(
      Effect.gen(function* () {
        const { stores, nodes } = yield* startNodes(2)
        const [first, second] = nodes
        yield* first.send(open("x-0"))
        yield* second.send(open("x-1"))
        yield* first.send(deposit("x-0", 100n))
        stores[0]?.hold("commit")
        const sent = yield* begin(first, transfer("x-0", "x-1", 100n, "t"))
        yield* pass(1_500)
        const asked = yield* Effect.forkChild(Effect.result(second.dispatcher.head(AccountId.make("x-1"))))
        const refused = yield* begin(second, withdraw("x-1", 100n, "w"))
        yield* pass(500)
        assert.isUndefined(asked.pollUnsafe())
        assert.isUndefined(refused.pollUnsafe())
        stores[0]?.release()
        assert.strictEqual(outcomeOf(yield* joined(sent)), "Accepted")
        assert.strictEqual(outcomeOf(yield* joined(refused)), "Accepted")
        yield* joined(asked)
      })
    )
  )

  it.effect("fences a node that never returns it, and goes on", () =>
    scenarios(
      Effect.gen(function* () {
        const { inner, cluster, stores, nodes } = yield* startNodes(2)
        const [first, second] = nodes
        yield* first.send(open("x-0"))
        yield* second.send(open("x-1"))
        yield* first.send(deposit("x-0", 100n))
        stores[0]?.hold("commit")
        stores[0]?.hold("heartbeat")
        stores[0]?.hold("registerWriter")
        yield* begin(first, transfer("x-0", "x-1", 100n, "t"))
        yield* until("its commit is held", () => (stores[0]?.held() ?? 0) > 0)
        cluster.cutOff(0)
        const refused = yield* begin(second, withdraw("x-1", 100n, "w"))
        assert.strictEqual(outcomeOf(yield* joined(refused)), "InsufficientFunds")
        // What the dead node had sent arrives after all.
        stores[0]?.release("commit")
        yield* pass(200)
        assert.strictEqual((yield* readStream(inner, "x-1")).length, 1)
        assert.deepStrictEqual(yield* invariantsOf(inner), [])
        yield* comeBack(stores[0])
      })
    )
  )
})

describe("a shard that moves", () => {
  it.effect.each([500, 2_000, 5_000, 9_000])(
    "is known to its new owner with what the old one was still writing (stall %i ms)",
    (stallMs) =>
      scenarios(
        Effect.gen(function* () {
          const { inner, cluster, stores, nodes } = yield* startNodes(2)
          const [first, second] = nodes
          yield* first.send(open("x-0"))
          stores[0]?.hold("commit")
          const sent = yield* begin(first, deposit("x-0", 100n, "d"))
          yield* pass(100)
          const moved = yield* Effect.forkChild(cluster.move(0, 1), { startImmediately: true })
          yield* pass(stallMs)
          stores[0]?.release()
          yield* joined(moved)
          assert.strictEqual(outcomeOf(yield* joined(sent)), "Accepted")
          assert.strictEqual(yield* balanceAt(second, "x-0"), 100n)
          const spent = yield* begin(second, withdraw("x-0", 100n))
          assert.strictEqual(outcomeOf(yield* joined(spent)), "Accepted")
          assert.deepStrictEqual(yield* invariantsOf(inner), [])
        })
      )
  )

  it.effect("that left clean is served by its new owner at once", () =>
    scenarios(
      Effect.gen(function* () {
        const { cluster, nodes } = yield* startNodes(2)
        const [first, second] = nodes
        yield* first.send(open("x-0"))
        yield* first.send(deposit("x-0", 100n))
        yield* joined(yield* Effect.forkChild(cluster.move(0, 1)))
        assert.strictEqual((yield* second.dispatcher.head(AccountId.make("x-0"))).head.account.version, 2)
      })
    )
  )

  it.effect("leaves clean at once, though a command that holds it waits for an account elsewhere", () =>
    scenarios(
      Effect.gen(function* () {
        const { inner, cluster, stores, nodes } = yield* startNodes(3)
        yield* comesBackAtTheEnd(stores[1])
        const [first, second, third] = nodes
        if (first === undefined || second === undefined || third === undefined)
          return assert.fail("there are three")
        yield* first.send(open("a-0"))
        yield* second.send(open("b-1"))
        yield* first.send(deposit("a-0", 1n))
        stores[1]?.hold("commit")
        const busy = yield* begin(second, deposit("b-1", 1n))
        const sent = yield* begin(first, transfer("a-0", "b-1", 1n))
        yield* pass(100)
        yield* Effect.forkChild(cluster.move(0, 2), { startImmediately: true })
        const asked = yield* Effect.forkChild(third.dispatcher.head(AccountId.make("a-0")), {
          startImmediately: true
        })
        yield* pass(500)
        assert.isDefined(asked.pollUnsafe(), "nothing of it is on its way to the store")
        stores[1]?.release()
        for (const one of [busy, sent]) assert.strictEqual(outcomeOf(yield* joined(one)), "Accepted")
        assert.strictEqual(yield* balanceAt(third, "a-0"), 0n)
        assert.strictEqual(yield* balanceAt(second, "b-1"), 2n)
        assert.deepStrictEqual(yield* invariantsOf(inner), [])
      })
    )
  )

  it.effect(
    "waits for a former owner that was cut off from the store, and is let in again before it knows of its loss",
    () =>
      scenarios(
        Effect.gen(function* () {
          const { inner, cluster, stores, nodes } = yield* startNodes(2)
          const [first, second] = nodes
          yield* first.send(open("x-0"))
          stores[0]?.hold("heartbeat")
          for (const { writerId, node } of yield* inner.listWriters)
            if (node === "node-0") yield* inner.fenceWriter(writerId)
          // All that is known of its writers is that they are fenced and silent.
          yield* pass(5_000)
          cluster.seize(0, 1)
          yield* pass(200)
          const asked = yield* Effect.forkChild(
            Effect.result(second.dispatcher.head(AccountId.make("x-0"))),
            {
              startImmediately: true
            }
          )
          yield* pass(200)
          assert.isUndefined(asked.pollUnsafe())
          // It is certain of the shard for the time of a lease after its lock has gone.
          stores[0]?.release()
          const paid = yield* begin(first, deposit("x-0", 100n))
          yield* pass(300)
          assert.strictEqual(outcomeOf(yield* joined(paid)), "Accepted")
          yield* Effect.forkChild(cluster.wakeUp(0))
          yield* joined(asked)
          assert.strictEqual(yield* balanceAt(second, "x-0"), 100n)
          const spent = yield* begin(second, withdraw("x-0", 100n))
          assert.strictEqual(outcomeOf(yield* joined(spent)), "Accepted")
          assert.strictEqual(second.dispatcher.stats().conflicts, 0)
        })
      )
  )

  it.effect("and comes back is read anew, though a reading had begun before it left", () =>
    scenarios(
      Effect.gen(function* () {
        const { cluster, stores, nodes } = yield* startNodes(2)
        const [first, second] = nodes
        yield* second.send(open("x-0"))
        // The first node has read the account, and the answer is on its way.
        stores[0]?.holdAnswers("readStreams")
        yield* joined(yield* Effect.forkChild(cluster.move(0, 1)))
        yield* joined(yield* Effect.forkChild(cluster.move(0, 0)))
        const asked = yield* Effect.forkChild(Effect.result(first.dispatcher.head(AccountId.make("x-0"))), {
          startImmediately: true
        })
        yield* until("it is being read", () => (stores[0]?.held() ?? 0) > 0)
        yield* joined(yield* Effect.forkChild(cluster.move(0, 1)))
        const paid = yield* begin(second, deposit("x-0", 100n, "d"))
        assert.strictEqual(outcomeOf(yield* joined(paid)), "Accepted")
        yield* joined(yield* Effect.forkChild(cluster.move(0, 0)))
        stores[0]?.release()
        yield* joined(asked)
        assert.strictEqual(yield* balanceAt(first, "x-0"), 100n)
        const spent = yield* begin(first, withdraw("x-0", 100n, "w"))
        assert.strictEqual(outcomeOf(yield* joined(spent)), "Accepted")
      })
    )
  )

  it.effect("makes no refusal definite of a command that its old owner may still write", () =>
    scenarios(
      Effect.gen(function* () {
        const { inner, cluster, stores, nodes } = yield* startNodes(3)
        const [first, , third] = nodes
        yield* first.send(open("x-0"))
        stores[0]?.hold("commit")
        const paid = yield* begin(first, deposit("x-0", 100n, "c0"))
        const spent = yield* begin(third as LedgerNode, withdraw("x-0", 100n, "c1")) // there are three
        yield* pass(100)
        yield* Effect.forkChild(cluster.move(0, 1))
        yield* pass(6_000)
        stores[0]?.release()
        const attempts: Array<Attempt> = []
        for (const [commandId, fiber] of [
          ["c0", paid],
          ["c1", spent]
        ] as const) {
          const result = yield* joined(fiber)
          const answer = result._tag === "Success" ? result.success : result.failure._tag
          attempts.push({ commandId, start: 0, end: 1, answer })
        }
        yield* pass(1_000)
        assert.deepStrictEqual(faultsOf(yield* logOf(inner), attempts), [])
      })
    )
  )
})

describe("a shard that leaves and comes back", () => {
  it.effect(
    "makes its owner decide nothing that another node sent before, and had refused by the owner between",
    () =>
      scenarios(
        Effect.gen(function* () {
          const { inner, cluster, stores, nodes } = yield* startNodes(3)
          yield* comesBackAtTheEnd(stores[0])
          const [first, second, third] = nodes
          if (first === undefined || second === undefined || third === undefined)
            return assert.fail("there are three")
          yield* first.send(open("x-0"))
          yield* first.send(deposit("x-0", 100n))
          // The first node has taken the command in, and its lane waits for the store to go on as a new writer.
          const faults = stores[0]
          if (faults !== undefined)
            faults.script = ({ method }) => (method === "commit" ? "fenced" : undefined)
          faults?.hold("registerWriter")
          faults?.hold("heartbeat")
          const sent = yield* begin(third, withdraw("x-0", 100n, "c"))
          yield* pass(100)
          assert.isAbove(faults?.held() ?? 0, 0)
          const moved = yield* Effect.forkChild(cluster.move(0, 1), { startImmediately: true })
          const before = yield* begin(second, withdraw("x-0", 100n, "before"))
          yield* joined(moved)
          assert.strictEqual(outcomeOf(yield* joined(before)), "Accepted")
          assert.strictEqual(outcomeOf(yield* joined(sent)), "InsufficientFunds")
          assert.strictEqual(outcomeOf(yield* joined(yield* begin(second, deposit("x-0", 100n)))), "Accepted")
          yield* joined(yield* Effect.forkChild(cluster.move(0, 0)))
          if (faults !== undefined) faults.script = () => undefined
          faults?.release()
          yield* pass(2_000)
          const ids = (yield* readStream(inner, "x-0")).map(({ commandId }) => String(commandId))
          assert.notInclude(ids, "c", "it was refused")
          assert.strictEqual(yield* balanceAt(first, "x-0"), 100n)
        })
      )
  )
})

describe("a node that ends", () => {
  it.effect("still leases its accounts to commands that hold what its own ones wait for", () =>
    scenarios(
      Effect.gen(function* () {
        const { stores, nodes } = yield* startNodes(2)
        yield* comesBackAtTheEnd(stores[0])
        const [first, second] = nodes
        for (const account of ["a-0", "z-0"]) yield* first.send(open(account))
        yield* second.send(open("b-1"))
        yield* first.send(deposit("a-0", 1n))
        yield* second.send(deposit("b-1", 1n))
        stores[0]?.hold("commit")
        const busy = yield* begin(first, deposit("z-0", 1n))
        // It holds b-1 and waits for z-0, for which a commit is on its way.
        const theirs = yield* begin(second, transfer("b-1", "z-0", 1n))
        const ours = yield* begin(first, transfer("a-0", "b-1", 1n))
        yield* pass(100)
        const closing = yield* Effect.forkChild(first.dispatcher.localNode.close)
        yield* pass(100)
        stores[0]?.release()
        yield* pass(1_000)
        assert.isDefined(closing.pollUnsafe(), "it waits for what it has admitted, and no longer")
        for (const one of [busy, theirs, ours]) assert.strictEqual(outcomeOf(yield* joined(one)), "Accepted")
      })
    )
  )

  it.effect(
    "leases nothing once it has settled all, so that no shard waits for new leases before it goes",
    () =>
      scenarios(
        Effect.gen(function* () {
          const { nodes } = yield* startNodes(2)
          const [first] = nodes
          yield* first.send(open("a-0"))
          const { localNode } = first.dispatcher
          const request = (lease: string) =>
            Effect.callback<string>((resume) => {
              localNode.requestLease("a-0" as AccountId, lease, (exit) =>
                resume(Effect.succeed(Exit.isSuccess(exit) ? "leased" : "not mine"))
              )
            })
          assert.strictEqual(yield* request("before"), "leased")
          localNode.release("a-0" as AccountId, "before", { _tag: "Unchanged" })
          yield* localNode.close
          assert.strictEqual(yield* request("after"), "not mine")
        })
      )
  )
})

describe("a member of a cluster that starts", () => {
  it.effect("fences what a node alone left open, since the cluster's notes do not tell of it", () =>
    scenarios(
      Effect.gen(function* () {
        const inner = yield* EventStore
        const alone = FaultyStore.over(inner)
        const before = yield* startNode("node-0", { store: alone.store })
        yield* before.send(open("x-0"))
        const placement = new SimulatedCluster(1, 1).placementOf(0)
        yield* startNode("another", { placement })
        const writers = yield* inner.listWriters
        assert.isAbove(writers.length, 1)
        for (const { node, fenced } of writers) assert.strictEqual(fenced, node !== "another", node)
      })
    )
  )
})

describe("a member of a cluster whose earlier life wakes beside it under the same name", () => {
  it.effect("waits for what that life goes on to write by a new writer", () =>
    scenarios(
      Effect.gen(function* () {
        const inner = yield* EventStore
        const cluster = new SimulatedCluster(2, 2)
        const frozen = FaultyStore.over(inner)
        const start = Effect.fnUntraced(function* (index: number, store: FaultyStore["store"]) {
          const placement = cluster.placementOf(index)
          const node = yield* startNode("member", { placement, store })
          cluster.join(index, node.dispatcher.localNode)
          return node
        })
        const before = yield* start(0, frozen.store)
        yield* before.send(open("x-0"))
        frozen.hold("heartbeat")
        const after = yield* start(1, inner)
        yield* comesBackAtTheEnd(frozen)
        cluster.seize(0, 1)
        yield* pass(200)
        // It is certain of the shard for the time of a lease after its lock has gone.
        frozen.release()
        const paid = yield* begin(before, deposit("x-0", 100n))
        assert.strictEqual(outcomeOf(yield* joined(paid)), "Accepted")
        frozen.hold("commit")
        const late = yield* begin(before, deposit("x-0", 100n))
        yield* pass(100)
        yield* Effect.forkChild(cluster.wakeUp(0))
        const asked = yield* Effect.forkChild(Effect.result(after.dispatcher.head(AccountId.make("x-0"))), {
          startImmediately: true
        })
        yield* pass(3_500)
        assert.isUndefined(asked.pollUnsafe(), "what is on its way may still land")
        frozen.release()
        assert.strictEqual(outcomeOf(yield* joined(late)), "Accepted")
        yield* joined(asked)
        assert.strictEqual(yield* balanceAt(after, "x-0"), 200n)
        const spent = yield* begin(after, withdraw("x-0", 200n))
        assert.strictEqual(outcomeOf(yield* joined(spent)), "Accepted")
        assert.strictEqual(after.dispatcher.stats().conflicts, 0)
        assert.deepStrictEqual(yield* invariantsOf(inner), [])
      })
    )
  )

  it.effect("does not wait for its own lanes, nor for those that took their places", () =>
    scenarios(
      Effect.gen(function* () {
        const { inner, cluster, stores, nodes } = yield* startNodes(2)
        yield* comesBackAtTheEnd(stores[1])
        const [first, second] = nodes
        yield* first.send(open("x-0"))
        yield* second.send(open("x-1"))
        for (const { writerId, node } of yield* inner.listWriters)
          if (node === "node-1") yield* inner.fenceWriter(writerId)
        assert.strictEqual(outcomeOf(yield* joined(yield* begin(second, deposit("x-1", 1n)))), "Accepted")
        cluster.seize(0, 1)
        yield* Effect.forkChild(cluster.wakeUp(0))
        yield* pass(500)
        stores[1]?.hold("commit")
        const paid = yield* begin(second, deposit("x-1", 1n))
        yield* pass(4_000)
        const asked = yield* Effect.forkChild(second.dispatcher.head(AccountId.make("x-0")), {
          startImmediately: true
        })
        yield* pass(100)
        assert.isDefined(asked.pollUnsafe())
        stores[1]?.release()
        assert.strictEqual(outcomeOf(yield* joined(paid)), "Accepted")
        const open_ = (yield* inner.listWriters).filter(({ node, fenced }) => node === "node-1" && !fenced)
        assert.isAbove(open_.length, 0, "none of its own was fenced for it")
      })
    )
  )
})

describe("a node alone that is started again", () => {
  it.effect.each(["node", "another-name"])(
    "refuses nothing that its earlier life may still write (under the name %s)",
    (name) =>
      scenarios(
        Effect.gen(function* () {
          const inner = yield* EventStore
          const faulty = FaultyStore.over(inner)
          const first = yield* startNode("node", { store: faulty.store })
          yield* first.send(open("a"))
          // The process is killed while the store has its INSERT: nothing else of it is ever heard.
          faulty.hold("commit")
          faulty.hold("heartbeat")
          faulty.hold("registerWriter")
          yield* begin(first, deposit("a", 100n, "c0"))
          yield* begin(first, withdraw("a", 100n, "c1"))
          yield* until("they are sent", () => faulty.held() > 0)
          const second = yield* startNode(name)
          const again = yield* joined(yield* begin(second, withdraw("a", 100n, "c1")))
          faulty.release("commit")
          yield* pass(50)
          const answer = again._tag === "Success" ? again.success : again.failure._tag
          const rows = (yield* readStream(inner, "a")).map(({ commandId }) => String(commandId))
          assert.strictEqual(answer, "InsufficientFunds")
          assert.notInclude(rows, "c1")
          yield* comeBack(faulty)
        })
      )
  )
})

it.effect("a shard that came to a node is loaded although its bar met a bug when it began", () =>
  scenarios(
    Effect.gen(function* () {
      const inner = yield* EventStore
      let hasBug = false
      const store: EventStore["Service"] = {
        ...inner,
        heartbeat: (writers) =>
          Effect.suspend(() => {
            if (!hasBug) return inner.heartbeat(writers)
            hasBug = false
            return Effect.die(new Error("a bug of the test"))
          })
      }
      const cluster = new SimulatedCluster(1, 1)
      const node = yield* startNode("node", { placement: cluster.placementOf(0), store })
      cluster.join(0, node.dispatcher.localNode)
      yield* node.send(open("x-0"))
      hasBug = true
      node.dispatcher.localNode.enter(0, { isClean: false, strangers: new Set() })
      yield* Effect.yieldNow
      assert.strictEqual(outcomeOf(yield* joined(yield* begin(node, deposit("x-0", 1n)))), "Accepted")
      assert.isFalse(hasBug)
    })
  )
)
