/** Admission control: bursts are absorbed, sustained overload is shed, and a hot account keeps no other account's commands out. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { NotMine, PeerBusy, type Placing } from "../../src/actors/accounts/Placement.ts"
import { LoadShedding } from "../../src/actors/commands/AdmissionControl.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { allShards } from "../../src/domain/Shard.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
  outcomeOf,
  startNode,
  tally,
  toCommand,
  transfer,
  until
} from "../support/ledgerWorld.ts"

const make = () => new LoadShedding({ inFlightMax: 1_000, lanes: 2, batchRowsMax: 100 })

describe("a node of which 150 may wait for its lanes, and 1,000 be under way", () => {
  it("takes a burst up to its bound", () => {
    const admission = make()
    assert.isFalse(admission.isFull(18, 18, 0))
    for (let waiting = 19; waiting < 1_000; waiting++) assert.isFalse(admission.isFull(waiting, waiting, 900))
    assert.isTrue(admission.isFull(1_000, 0, 900))
  })

  it("takes no more than its lanes need from a load that stands, until that is gone", () => {
    const admission = make()
    assert.isFalse(admission.isFull(900, 18, 0))
    assert.isFalse(admission.isFull(900, 800, 1_000))
    assert.isTrue(admission.isFull(900, 800, 1_001))
    assert.isTrue(admission.isFull(900, 150, 5_000))
    assert.isFalse(admission.isFull(900, 149, 5_000), "what has landed makes room")
    assert.isTrue(admission.isFull(900, 150, 5_001), "which is no calm")
    assert.isFalse(admission.isFull(900, 18, 6_000))
    assert.isFalse(admission.isFull(999, 900, 6_500), "the next burst")
  })

  it("never takes more than its bound, however small that is", () => {
    const none = new LoadShedding({ inFlightMax: 0, lanes: 2, batchRowsMax: 50 })
    assert.isTrue(none.isFull(0, 0, 0))
    const one = new LoadShedding({ inFlightMax: 1, lanes: 1, batchRowsMax: 1 })
    assert.isFalse(one.isFull(0, 0, 0))
    assert.isTrue(one.isFull(1, 0, 0))
    assert.isFalse(one.isFull(0, 0, 9_000))
  })
})

/** A node of two lanes over a store that does not answer; a batch and a half may wait. */
const crowded = Effect.fnUntraced(function* (accounts: ReadonlyArray<string>, batchRowsMax: number) {
  const faulty = FaultyStore.over(yield* EventStore)
  const limits = { lanes: 2, batchRowsMax, inFlightMax: 5_000, commandDeadlineMs: 60_000 }
  const node = yield* startNode("crowded", { store: faulty.store, limits })
  yield* fund(node, accounts, 10n)
  faulty.hold("commit")
  const send = (account: string) => Effect.forkChild(Effect.result(node.send(deposit(account, 1n))))
  return { faulty, node, send }
})

it.effect("a hot account keeps no other account's commands out", () =>
  Effect.gen(function* () {
    const { faulty, send } = yield* crowded(["hot", "other"], 500)
    const hot = yield* Effect.forEach(Array.from({ length: 1_500 }), () => send("hot"))
    yield* until("a commit is held, and one behind it", () => faulty.held() === 2)
    for (let second = 0; second < 3; second++) {
      yield* TestClock.adjust(1_000)
      hot.push(yield* send("hot"))
    }
    const other = yield* send("other")
    yield* TestClock.adjust(10)
    faulty.release()
    const results = yield* Effect.forEach([...hot, other], Fiber.join)
    assert.deepEqual(tally(results.map(outcomeOf)), { Accepted: 1_504 })
  }).pipe(Effect.provide(memoryStores))
)

it.effect("a standing crowd of many accounts is refused, a batch that paces itself is not", () =>
  Effect.gen(function* () {
    const accounts = Array.from({ length: 40 }, (_, index) => `m-${index}`)
    const { faulty, node, send } = yield* crowded(accounts, 4)
    faulty.release()
    yield* node.send(deposit("m-2", 1n, "original"))
    faulty.hold("commit")
    const crowd = yield* Effect.forEach(accounts, send)
    yield* until("both lanes are held", () => faulty.held() === 2)
    yield* TestClock.adjust(900)
    crowd.push(yield* send("m-0"))
    yield* TestClock.adjust(200)
    const refused = yield* Effect.flip(node.send(deposit("m-1", 1n)))
    assert.strictEqual(refused._tag, "Overloaded")
    const reversal: CommandInput = { _tag: "Reverse", original: "original", reason: "wrong" }
    const batch = yield* Effect.forkChild(
      node.dispatcher.dispatchMany(
        [reversal, ...accounts.map((account) => deposit(account, 1n))].map(toCommand)
      )
    )
    yield* TestClock.adjust(10)
    faulty.release()
    const results = yield* Effect.forEach(crowd, Fiber.join)
    assert.deepEqual(tally([...results, ...(yield* Fiber.join(batch))].map(outcomeOf)), { Accepted: 82 })
    assert.isDefined(yield* node.send(deposit("m-1", 1n)), "calm again")
  }).pipe(Effect.provide(memoryStores))
)

it.effect("a full node refuses a command before it looks at it, unless it knows the id", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("full", { store: faulty.store, limits: { inFlightMax: 2 } })
    yield* fund(node, ["a"], 10n)
    yield* node.send(deposit("a", 1n, "done"))
    const refused = (id: unknown) => node.dispatcher.precheck({ ...deposit("a", 1n), commandId: id })
    assert.isUndefined(refused("new"))
    faulty.hold("commit")
    const sent = yield* Effect.forEach(["one", "two"], (id) =>
      Effect.forkChild(node.send(deposit("a", 1n, id)))
    )
    yield* until("the commit is held", () => faulty.held() === 1)
    const before = node.dispatcher.meters().outcomes.refused.get("Overloaded") ?? 0
    for (const id of ["new", undefined, 7, null, {}]) {
      const exit = refused(id)
      if (exit === undefined || Exit.isSuccess(exit)) return assert.fail(`${id} was not refused`)
      assert.strictEqual(exit.cause.reasons[0]?._tag, "Fail")
    }
    assert.strictEqual(node.dispatcher.meters().outcomes.refused.get("Overloaded"), before + 5)
    for (const odd of [undefined, null, 7, "text", {}, { legs: 3 }, { from: 5 }]) {
      assert.isUndefined(node.dispatcher.precheck(odd), "nobody's command")
    }
    for (const id of ["done", "one", "two"]) assert.isUndefined(refused(id), id)
    assert.isTrue((yield* node.send(deposit("a", 1n, "done"))).replayed)
    faulty.release()
    yield* Effect.forEach(sent, Fiber.join)
    assert.isUndefined(refused("new"))
  }).pipe(Effect.provide(memoryStores))
)

it.effect("a command for an account whose node takes no more is refused, with when that has room again", () =>
  Effect.gen(function* () {
    const placement: Placing = {
      isAlone: false,
      owns: (account) => account !== "far",
      shardOf: () => 0,
      nodeOf: () => undefined,
      ownedShards: () => allShards,
      others: () => [],
      dispatch: () => Effect.fail(new PeerBusy()),
      head: () => Effect.fail(new NotMine()),
      requestLease: () => Effect.fail(new PeerBusy()),
      release: () => Effect.void
    }
    const node = yield* startNode("beside", { placement, cluster: { leaseMs: 700 } })
    yield* fund(node, ["near"], 10n)
    const busy = { _tag: "Overloaded", what: "the node of the account", retryAfterMs: 700 } as const
    // Decided here, with the account leased; and decided there.
    for (const command of [transfer("near", "far", 1n), deposit("far", 1n)])
      assert.deepInclude(yield* Effect.flip(node.send(command)), busy)
  }).pipe(Effect.provide(memoryStores))
)
