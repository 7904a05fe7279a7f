/** What a process knows of the parked accounts, and what it reads for that: their list only where it is another than it was. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { makeParking } from "../../src/actors/projections/Parking.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { batchOf } from "../infra/readModelContract.ts"
import { quiet } from "../support/callers.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { accountId } from "../support/storedEvents.ts"

const [a, b, c] = [accountId("a"), accountId("b"), accountId("c")]
const at = (account: typeof a, version: number) => ({ account, version, reason: "poison", since: 1 })

const memory = ReadModel.layerMemory.pipe(Layer.provide(ProjectionWaiters.layer), Layer.provideMerge(quiet))

const world = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const lists: Array<ReadonlyArray<string>> = []
  const parking = makeParking(
    {
      ...readModel,
      parkedNow: (known) =>
        Effect.tap(readModel.parkedNow(known), ({ accounts }) =>
          Effect.sync(() => {
            if (accounts !== undefined) lists.push(accounts)
          })
        )
    },
    () => {}
  )
  const writer = new EventWriter()
  writer.commit(openAccount("a"), deposit("a", 1n), openAccount("b"), openAccount("c"))
  yield* readModel.apply(batchOf(writer.log))
  return { readModel, parking, lists }
})

it.effect("the list of parked accounts is read once, and again where others are parked or released", () =>
  Effect.gen(function* () {
    const { readModel, parking, lists } = yield* world
    yield* readModel.park([at(a, 3), at(b, 2)])
    for (let round = 0; round < 3; round++) assert.deepStrictEqual(yield* parking.refresh, [])
    assert.deepStrictEqual(lists, [["a", "b"]])
    assert.deepStrictEqual([a, b, c].map(parking.isParked), [true, true, false])
    assert.strictEqual(parking.countUnsafe(), 2)
    yield* readModel.beginRelease([b])
    assert.deepStrictEqual(yield* parking.refresh, [b], "it is to be released")
    yield* readModel.unpark([b])
    yield* readModel.park([at(c, 2)])
    yield* parking.refresh
    assert.deepStrictEqual(lists.slice(1), [["a", "c"]])
    assert.deepStrictEqual([a, b, c].map(parking.isParked), [true, false, true])
  }).pipe(Effect.provide(memory))
)

it.effect("what this process parks, tries again and releases is held against the read model once more", () =>
  Effect.gen(function* () {
    const { parking, lists } = yield* world
    yield* parking.park(at(b, 2))
    // It is past its event: the read model does not take it for parked.
    yield* parking.park(at(a, 2))
    assert.deepStrictEqual([a, b].map(parking.isParked), [true, true])
    yield* parking.refresh
    yield* parking.refresh
    assert.deepStrictEqual(lists, [["b"]])
    assert.deepStrictEqual([a, b].map(parking.isParked), [false, true])
    const failed = Effect.gen(function* () {
      yield* parking.whileTried([b])
      parking.tryAgainUnsafe([b])
      assert.isFalse(parking.isParked(b))
      assert.strictEqual(parking.countUnsafe(), 1)
      yield* parking.refresh
      assert.isFalse(parking.isParked(b), "it is tried, and its row still there")
      return yield* Effect.fail("away")
    })
    yield* Effect.flip(Effect.scoped(failed))
    assert.isTrue(parking.isParked(b))
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* parking.whileTried([b])
        parking.tryAgainUnsafe([b])
        yield* parking.release([b], () => Effect.void)
      })
    )
    lists.length = 0
    yield* parking.refresh
    yield* parking.refresh
    assert.deepStrictEqual(lists, [[]])
    assert.strictEqual(parking.countUnsafe(), 0)
  }).pipe(Effect.provide(memory))
)

it.effect(
  "those whose rows are not of the log are tried again behind any number whose log cannot be read",
  () =>
    Effect.gen(function* () {
      const { readModel, parking } = yield* world
      const unreadable = Array.from({ length: 1_000 }, (_, index) => accountId(`a-${1_000 + index}`))
      yield* readModel.park([
        ...unreadable.map((id) => ({ ...at(id, 1), reason: "the log cannot be read: block 7" })),
        { ...at(accountId("z"), 3), reason: "its rows stand for version 2 as the log does not have it" }
      ])
      yield* parking.refresh
      assert.deepStrictEqual(yield* parking.due, [])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* parking.due, ["z"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* parking.due, unreadable.slice(0, 20))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* parking.due, ["z", ...unreadable.slice(20, 40)])
    }).pipe(Effect.provide(memory))
)

it.effect("those that are tried again by themselves are found behind any number of others", () =>
  Effect.gen(function* () {
    const { readModel, parking } = yield* world
    const others = Array.from({ length: 1_000 }, (_, index) => at(accountId(`a-${index}`), 1))
    yield* readModel.park([
      ...others,
      { ...at(accountId("z"), 1), reason: "the log cannot be read: block 7" }
    ])
    yield* parking.refresh
    assert.deepStrictEqual(yield* parking.due, [])
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(yield* parking.due, ["z"])
  }).pipe(Effect.provide(memory))
)
