/** A transfer between two nodes, broken at each of its steps: money is neither lost nor made, and both accounts go on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
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
import { SimulatedCluster } from "../support/simulatedCluster.ts"

const limits = { commandDeadlineMs: 2_000, queryDeadlineMs: 2_000, heartbeatMs: 50, clockSkewMaxMs: 20 }
const clusterLimits = { leaseMs: 300, drainMs: 100 }

/** Nodes 0 and 1; `a0` and `c0` live on the first, `b1` and `d1` on the second, each with 100. */
const twoNodes = Effect.gen(function* () {
  const cluster = new SimulatedCluster(2, 2)
  const inner = yield* EventStore
  const stores = [FaultyStore.over(inner), FaultyStore.over(inner)] as const
  const start = (index: 0 | 1, name = `node-${index}`) =>
    Effect.tap(
      startNode(name, {
        placement: cluster.placementOf(index),
        store: stores[index].store,
        limits,
        cluster: clusterLimits
      }),
      (node) => Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
    )
  const first = yield* start(0)
  const second = yield* start(1)
  for (const account of ["a0", "b1", "c0", "d1"]) {
    yield* first.send(open(account))
    yield* first.send(deposit(account, 100n, `fund-${account}`))
  }
  return { cluster, inner, stores, first, second }
})

/** Lets time pass until the fiber has ended. */
const pass = Effect.fnUntraced(function* <A, E>(fiber: Fiber.Fiber<A, E>) {
  for (let steps = 0; fiber.pollUnsafe() === undefined; steps++) {
    if (steps > 2_000) return yield* Effect.die("it stands still")
    yield* TestClock.adjust(5)
  }
  return yield* Fiber.join(fiber)
})

const outcomes = (results: ReadonlyArray<Parameters<typeof outcomeOf>[0]>) => tally(results.map(outcomeOf))

describe("a transfer between two nodes", () => {
  it.effect(
    "waits until its owner gets back an account whose holder is gone, and no longer than the lease",
    () =>
      Effect.gen(function* () {
        const { cluster, inner, second } = yield* twoNodes
        // The first node leases it and is not heard of again: it dies after the enlisting.
        const gone = yield* Effect.forkChild(cluster.placementOf(0).requestLease("b1" as AccountId, "lost")) // a valid id
        yield* pass(gone)
        const waiting = yield* Effect.forkChild(Effect.result(second.send(withdraw("b1", 10n, "w"))))
        yield* TestClock.adjust(200)
        assert.isUndefined(waiting.pollUnsafe())
        assert.strictEqual(outcomeOf(yield* pass(waiting)), "Accepted")
        assert.strictEqual(second.dispatcher.localNode.leases().expired, 1)
        assert.deepStrictEqual(yield* invariantsOf(inner), [])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("lands once or not at all when its lease ends while its commit hangs", () =>
    Effect.gen(function* () {
      const { inner, stores, first, second } = yield* twoNodes
      stores[0].hold("commit")
      const hanging = yield* Effect.forkChild(Effect.result(first.send(transfer("a0", "b1", 70n, "hangs"))))
      yield* until("its commit is held", () => stores[0].held() === 1)
      const other = yield* Effect.forkChild(Effect.result(second.send(withdraw("b1", 60n, "other"))))
      assert.strictEqual(outcomeOf(yield* pass(other)), "Accepted")
      assert.strictEqual(second.dispatcher.localNode.leases().expired, 1)
      stores[0].release()
      // The owner fenced its writer before it went on: the transfer leases the account again and is decided anew.
      assert.strictEqual(outcomeOf(yield* pass(hanging)), "Accepted")
      assert.strictEqual(first.dispatcher.stats().fenced, 1)
      assert.strictEqual(first.dispatcher.stats().conflicts, 0)
      assert.strictEqual((yield* readStream(inner, "b1")).length, 4)
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is known to the owner even if the release of its lease is lost", () =>
    Effect.gen(function* () {
      const { cluster, inner, first, second } = yield* twoNodes
      let isLost = false
      const sent = yield* Effect.forkChild(first.send(transfer("a0", "b1", 70n, "t")))
      cluster.script = () => (isLost ? "lost" : undefined)
      yield* until(
        "it is leased",
        () => first.dispatcher.localNode.leases().held === 1 || sent.pollUnsafe() !== undefined
      )
      isLost = true
      yield* pass(sent)
      isLost = false
      // 170 are there only if the transfer is seen.
      const spent = yield* Effect.forkChild(second.send(withdraw("b1", 170n, "all")))
      assert.isFalse((yield* pass(spent)).replayed)
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is decided by the new owner when the account's node dies after it leased it out", () =>
    Effect.gen(function* () {
      const { cluster, inner, stores, first } = yield* twoNodes
      stores[0].hold("commit")
      const sent = yield* Effect.forkChild(Effect.result(first.send(transfer("a0", "b1", 10n, "t-1"))))
      yield* until("its commit is held", () => stores[0].held() === 1)
      cluster.cutOff(1)
      cluster.seize(1, 0)
      const next = yield* Effect.forkChild(Effect.result(first.send(deposit("b1", 1n, "d-1"))))
      yield* TestClock.adjust(20)
      stores[0].release()
      assert.deepStrictEqual(outcomes([yield* pass(sent), yield* pass(next)]), { Accepted: 2 })
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
      assert.strictEqual((yield* readStream(inner, "b1")).length, 4)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect.each(["landedUnknown", "lostUnknown"] as const)(
    "has its outcome answered by the node that is asked again when its coordinator dies at its commit (%s)",
    (fault) =>
      Effect.gen(function* () {
        const { cluster, inner, stores, first, second } = yield* twoNodes
        stores[0].script = ({ method }) => (method === "commit" ? fault : undefined)
        const sent = yield* Effect.forkChild(Effect.result(first.send(transfer("a0", "b1", 10n, "t-1"))))
        yield* until("it was sent", () => (stores[0].injected.get(fault) ?? 0) > 0)
        // It goes on alone with a store that never answers: as good as dead, and not yet quite.
        cluster.cutOff(0)
        cluster.seize(0, 1)
        const again = yield* Effect.forkChild(second.send(transfer("a0", "b1", 10n, "t-1")))
        const receipt = yield* pass(again)
        assert.strictEqual(receipt.replayed, fault === "landedUnknown")
        assert.strictEqual(outcomeOf(yield* pass(sent)), "Indeterminate")
        stores[0].script = () => undefined
        yield* TestClock.adjust(2_000)
        const rows = yield* readStream(inner, "b1")
        assert.strictEqual(rows.filter(({ commandId }) => commandId === "t-1").length, 1)
        assert.deepStrictEqual(yield* invariantsOf(inner), [])
      }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("two nodes that both believe to own an account", () => {
  it.effect("accept for it at the same moment, and exactly one order results", () =>
    Effect.gen(function* () {
      const { cluster, inner, first, second } = yield* twoNodes
      // The second took it over; the first was frozen, and does not know.
      cluster.seize(0, 1)
      // Both have it in memory, at the same version.
      yield* pass(yield* Effect.forkChild(second.dispatcher.head("a0" as AccountId)))
      const both = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 60 }),
          (_, index) =>
            Effect.result((index % 2 === 0 ? first : second).send(deposit("a0", 1n, `both-${index}`))),
          { concurrency: "unbounded" }
        )
      )
      assert.deepStrictEqual(outcomes(yield* pass(both)), { Accepted: 60 })
      const rows = yield* readStream(inner, "a0")
      assert.deepStrictEqual(
        rows.map(({ version }) => version),
        Array.from({ length: 62 }, (_, index) => index + 1)
      )
      assert.isAbove(first.dispatcher.stats().conflicts + second.dispatcher.stats().conflicts, 0)
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("a group over two nodes", () => {
  it.effect("is one transaction of all its accounts, whichever node is given it, or refused as one", () =>
    Effect.gen(function* () {
      const { inner, first, second } = yield* twoNodes
      const group = (commandId: string, last: bigint) =>
        toCommand({
          _tag: "Group",
          commandId,
          commands: [
            { _tag: "Deposit", account: "d1", amount: 5n },
            { _tag: "Transfer", from: "a0", to: "b1", amount: 3n },
            { _tag: "Transfer", from: "b1", to: "a0", amount: 2n },
            { _tag: "Withdraw", account: "d1", amount: last }
          ]
        })
      const nodes = [first, second]
      const sent = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 40 }, (_, nth) => nth),
          (nth) =>
            Effect.result(
              nodes[nth % 2]?.dispatcher.dispatch(group(`g-${nth}`, nth % 4 === 0 ? 10n ** 9n : 4n)) ??
                Effect.die("there are two nodes")
            ),
          { concurrency: 40 }
        )
      )
      const results = yield* pass(sent)
      assert.deepStrictEqual(tally(results.map(outcomeOf)), { Accepted: 30, GroupRejected: 10 })
      const rows = yield* readStream(inner, "d1")
      const ofGroups = rows.filter(({ commandId }) => commandId.startsWith("g-"))
      assert.lengthOf(ofGroups, 60)
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("a batch over two nodes", () => {
  it.effect(
    "keeps its order among the commands of each owner, though some wait for accounts of the other",
    () =>
      Effect.gen(function* () {
        const { inner, first } = yield* twoNodes
        const commands = Array.from({ length: 30 }, (_, index) =>
          toCommand(
            index % 3 === 0
              ? transfer("a0", "b1", 1n, `m-${index}`)
              : index % 3 === 1
                ? deposit("a0", 1n, `m-${index}`)
                : withdraw("d1", 1n, `m-${index}`)
          )
        )
        const sent = yield* Effect.forkChild(first.dispatcher.dispatchMany(commands))
        const results = yield* pass(sent)
        assert.isTrue(results.every(Result.isSuccess))
        const order = (rows: ReadonlyArray<{ readonly commandId: string }>) =>
          rows.flatMap(({ commandId }) => (commandId.startsWith("m-") ? [Number(commandId.slice(2))] : []))
        for (const account of ["a0", "b1", "d1"]) {
          const found = order(yield* readStream(inner, account))
          assert.deepStrictEqual(
            found,
            found.toSorted((a, b) => a - b),
            account
          )
          assert.isAbove(found.length, 9)
        }
      }).pipe(Effect.provide([memoryStores, quiet]))
  )
})
