/** A parked account that is released has all that was committed meanwhile, wherever the release ends. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel, RowsRefused } from "../../src/infra/readmodel/ReadModel.ts"
import { batchOf } from "../infra/readModelContract.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { append, assertCaughtUp, limitsOf, type TestLimits } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

type Step = Effect.Effect<unknown, StoreUnavailable>

/** What happens just before a call of the read model. */
interface Before {
  apply: Step
  look: Step
  unpark: Step
  isCured: boolean
}

const calm = (): Before => ({ apply: Effect.void, look: Effect.void, unpark: Effect.void, isCured: false })

/** A process that projects and reconciles when it is told to; lines with the description "bad" are refused until it is cured. */
const processWith = (before: Before, limits: TestLimits = {}) => {
  const model = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      look: (accounts: Parameters<typeof real.look>[0]) =>
        Effect.andThen(
          Effect.suspend(() => before.look),
          real.look(accounts)
        ),
      unpark: (accounts: Parameters<typeof real.unpark>[0]) =>
        Effect.andThen(
          Effect.suspend(() => before.unpark),
          real.unpark(accounts)
        ),
      apply: (batch: Parameters<typeof real.apply>[0]) =>
        Effect.suspend(() =>
          !before.isCured && batch.lines.some(({ description }) => description === "bad")
            ? Effect.fail(new RowsRefused({ reason: "not a text" }))
            : Effect.andThen(before.apply, real.apply(batch))
        )
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))
  return Reconciler.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(ProjectionEngine.layer, ProjectionHealth.layer)),
    Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, model)),
    Layer.provide(limitsOf(limits)),
    Layer.fresh
  )
}

const poor = accountId("poor")
const parked = Effect.flatMap(ReadModel, (model) => model.parked)

/** An account that is parked at its second event, which can be projected from now on. */
const cured = Effect.fnUntraced(function* (before: Before) {
  const writer = new EventWriter()
  yield* append(writer.commit(openAccount("poor"), deposit("poor", 1n, "bad")))
  yield* (yield* ProjectionEngine).catchUp([poor])
  assert.lengthOf(yield* parked, 1)
  before.isCured = true
  return writer
})

/** Commits one event more, and a round of the reconciler looks at the log just then. */
const passOver = Effect.fnUntraced(function* (writer: EventWriter) {
  yield* append(writer.commit(deposit("poor", 5n)))
  yield* (yield* Reconciler).sweep({ load: true })
})

describe("an event that a reconciler passed over while its account was parked", () => {
  it.effect("comes with the next round where the release failed after its account was past its event", () => {
    const before = calm()
    return Effect.gen(function* () {
      const writer = yield* cured(before)
      const context = yield* Effect.context<EventStore | Reconciler>()
      const away = Effect.fail(new StoreUnavailable({ store: "read model", reason: "away" }))
      before.apply = Effect.suspend(() => {
        before.apply = Effect.void
        // The stream was read, and what it held is not written yet: the account is still where it was parked.
        return Effect.andThen(
          Effect.provideContext(passOver(writer), context),
          Effect.sync(() => {
            before.look = away
          })
        )
      })
      yield* Effect.flip((yield* ProjectionEngine).retryParked())
      before.look = Effect.void
      yield* (yield* Reconciler).sweep({ load: true })
      yield* assertCaughtUp(writer.log)
      assert.deepStrictEqual(yield* parked, [])
    }).pipe(Effect.provide(processWith(before)))
  })

  it.effect("is there before its account counts as parked no more", () => {
    const before = calm()
    return Effect.gen(function* () {
      const writer = yield* cured(before)
      const context = yield* Effect.context<EventStore | Reconciler | ReadModel>()
      before.apply = Effect.suspend(() => {
        before.apply = Effect.void
        return Effect.provideContext(passOver(writer), context)
      })
      let whenReleased = 0
      before.unpark = Effect.provideContext(
        Effect.map(
          Effect.flatMap(ReadModel, (model) => model.versions([poor])),
          (versions) => {
            whenReleased = versions.get(poor) ?? 0
          }
        ),
        context
      )
      assert.deepStrictEqual(yield* (yield* ProjectionEngine).retryParked(), [])
      assert.strictEqual(whenReleased, 3)
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(processWith(before)))
  })

  it.effect("is not passed over where the log ends before the event that its account was parked at", () => {
    const before = calm()
    return Effect.gen(function* () {
      const writer = new EventWriter()
      yield* append(writer.commit(openAccount("poor"), deposit("poor", 1n)))
      const forger = writer.fork("writer-1")
      const forged = forger.commit(deposit("poor", 1_000n), deposit("poor", 1_000n)).events
      assert.isTrue(yield* (yield* ReadModel).apply(batchOf([...writer.log, ...forged])))
      const context = yield* Effect.context<EventStore | Reconciler>()
      // All that the log had is there, and the account is about to be unparked.
      before.unpark = Effect.suspend(() => {
        before.unpark = Effect.void
        return Effect.provideContext(passOver(writer), context)
      })
      const { version, hash } = { version: 4, hash: forger.headOf(poor).hash }
      yield* (yield* ProjectionEngine).verifyHeads([{ account: poor, version, hash }])
      yield* (yield* Reconciler).sweep({ load: true })
      yield* assertCaughtUp(writer.log)
      assert.deepStrictEqual(yield* parked, [])
    }).pipe(Effect.provide(processWith(before)))
  })
})

describe("an account whose reloading ended before it was released", () => {
  /** The walk, one account every second, would take an hour to come to it. */
  const walking: TestLimits = { ledger: { sweepMs: 4_000 }, readSide: { verifyHeadsMax: 1 } }

  it.effect("is released by the rounds, long before the walk comes to it", () =>
    Effect.gen(function* () {
      const model = yield* ReadModel
      const writer = new EventWriter()
      const others = Array.from({ length: 200 }, (_, index) => `other-${index}`)
      yield* append(
        writer.commit(...others.map((id) => openAccount(id)), openAccount("poor"), openAccount("poison"))
      )
      yield* (yield* Reconciler).sweep({ load: true })
      const reason = "its rows stand for version 5 as the log does not have it"
      yield* model.park([
        { account: poor, version: 6, reason, since: 0 },
        { account: accountId("poison"), version: 2, reason: "not a text", since: 0 }
      ])
      yield* append(writer.commit(deposit("poor", 1n)))
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(
        (yield* parked).map(({ account }) => account),
        ["poison"]
      )
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(processWith(calm(), walking)))
  )
})
