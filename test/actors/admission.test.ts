/** Who may come in: a burst may fill the node, a load that stands may not, and one account less than all. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { Admission } from "../../src/actors/Admission.ts"
import { EventStore } from "../../src/infra/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { deposit, fund, memoryStores, startNode, until } from "../support/ledgerWorld.ts"

const make = () =>
  new Admission({ inFlightMax: 1_000, inFlightPerAccountMax: 500, lanes: 2, batchRowsMax: 80 })

describe("a node that takes 200 for its lanes, and 1,000 at most", () => {
  it("takes a burst up to its bound", () => {
    const admission = make()
    assert.isFalse(admission.isFull(99, 0))
    for (let underWay = 100; underWay < 1_000; underWay++) assert.isFalse(admission.isFull(underWay, 900))
    assert.isTrue(admission.isFull(1_000, 900))
  })

  it("takes no more than its lanes need from a load that stands, until half of that is gone", () => {
    const admission = make()
    assert.isFalse(admission.isFull(99, 0))
    assert.isFalse(admission.isFull(900, 1_000))
    assert.isTrue(admission.isFull(900, 1_001))
    assert.isTrue(admission.isFull(200, 5_000))
    assert.isFalse(admission.isFull(199, 5_000), "what has landed makes room")
    assert.isTrue(admission.isFull(200, 5_001), "which is no calm")
    assert.isFalse(admission.isFull(99, 6_000))
    assert.isFalse(admission.isFull(999, 6_500), "the next burst")
  })

  it("cuts the account that crowds it before all others", () => {
    const admission = make()
    admission.isFull(99, 0)
    for (const now of [0, 500]) {
      assert.isFalse(admission.isFull(600, now))
      assert.isFalse(admission.isCrowded(499, now))
      assert.isTrue(admission.isCrowded(500, now))
    }
    assert.isFalse(admission.isFull(600, 501))
    assert.isTrue(admission.isCrowded(100, 501))
    assert.isFalse(admission.isCrowded(99, 501))
    // The one is cut, so less is under way soon, and nobody else was refused.
    assert.isFalse(admission.isFull(99, 900))
    assert.isFalse(admission.isCrowded(499, 901))
  })

  it("never takes more than its bound, however small that is", () => {
    const none = new Admission({ inFlightMax: 0, inFlightPerAccountMax: 0, lanes: 2, batchRowsMax: 50 })
    assert.isTrue(none.isFull(0, 0))
    const one = new Admission({ inFlightMax: 1, inFlightPerAccountMax: 1, lanes: 2, batchRowsMax: 50 })
    assert.isFalse(one.isFull(0, 0))
    assert.isTrue(one.isFull(1, 0))
    assert.isTrue(one.isFull(1, 9_000))
    assert.isTrue(one.isCrowded(1, 9_000))
  })
})

it.effect("a full node refuses an id before it looks at the command, unless it knows the id", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("full", { store: faulty.store, limits: { inFlightMax: 2 } })
    yield* fund(node, ["a"], 10n)
    yield* node.send(deposit("a", 1n, "done"))
    const refused = (id: unknown) => node.dispatcher.refusal(id)
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
    for (const id of ["done", "one", "two"]) assert.isUndefined(refused(id), id)
    assert.isTrue((yield* node.send(deposit("a", 1n, "done"))).replayed)
    faulty.release()
    yield* Effect.forEach(sent, Fiber.join)
    assert.isUndefined(refused("new"))
  }).pipe(Effect.provide(memoryStores))
)
