/** What a node says of how complete a balance is, where the read model was away, and may have come back with less than it had. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Completeness } from "../../src/actors/projections/Completeness.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { type SingletonHost, Singletons } from "../../src/actors/relay/Singletons.ts"
import { instantMax } from "../../src/domain/Ids.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { quiet } from "../support/callers.ts"
import { EventWriter, openAccount } from "../support/eventWriter.ts"
import { append, eventually, limitsOf } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

const a = accountId("a")

/** A process whose read model, or whose log, is away when the test says so. */
const processOf = (isAway: (store: StoreUnavailable["store"]) => boolean, host: Layer.Layer<never>) => {
  const unlessAway = <A>(store: StoreUnavailable["store"], asked: Effect.Effect<A, StoreUnavailable>) =>
    Effect.suspend(() =>
      isAway(store) ? Effect.fail(new StoreUnavailable({ store, reason: "it is away" })) : asked
    )
  const model = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      swept: unlessAway("read model", real.swept),
      parkedNow: (known: string) => unlessAway("read model", real.parkedNow(known))
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))
  const log = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({ ...real, listWriters: unlessAway("event store", real.listWriters) }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  return Completeness.layer.pipe(
    Layer.provideMerge(Reconciler.layer),
    Layer.provideMerge(Layer.mergeAll(ProjectionEngine.layer, ProjectionHealth.layer)),
    Layer.provideMerge(Layer.mergeAll(log, model)),
    Layer.provide(host),
    Layer.provide(limitsOf({ ledger: { sweepMs: 20, heartbeatMs: 50 }, readSide: { writerSilentMs: 200 } })),
    Layer.provide(quiet),
    Layer.fresh
  )
}

/** Commits an event of a writer that is closed for long; answers when that was recorded. */
const commitOne = Effect.gen(function* () {
  const store = yield* EventStore
  const now = yield* Clock.currentTimeMillis
  const writer = new EventWriter("w", now - 10_000)
  yield* store.registerWriter({ writerId: "w", node: "elsewhere", closedAt: now + 3_600_000 })
  yield* append(writer.commit(openAccount("a")))
  return writer.headOf(a).recordedAt
})

/** What the owner of the rounds on another node says, and where this one is told that they are its own. */
const makeHost = () => {
  const said = { sweptAt: 9_000, completeTo: 8_000 }
  let life: Effect.Effect<void> = Effect.void
  const host: SingletonHost = {
    run: <R>(_: string, own: Effect.Effect<void, never, R>) =>
      Effect.contextWith((context) =>
        Effect.sync(() => {
          life = Effect.provideContext(Effect.scoped(own), context as never) // what it needs was given where it was registered
        })
      ),
    setAwayUnsafe: () => {},
    publishUnsafe: () => {},
    statusUnsafe: ({ decode }) =>
      decode(JSON.stringify({ ...said, lag: { events: 0, ms: 0, isExact: true }, parked: 0 })),
    statesUnsafe: () => [],
    troubleUnsafe: () => undefined
  }
  return { said, layer: Layer.succeed(Singletons, host), owning: Effect.suspend(() => life) }
}

describe("a node that compares the read model with the log", () => {
  it.live("says nothing of it while it is away, and goes on while the log is", () => {
    let away: StoreUnavailable["store"] | undefined
    return Effect.gen(function* () {
      const { completeToUnsafe } = yield* Completeness
      const { statusUnsafe } = yield* Reconciler
      const recordedAt = yield* commitOne
      const isComplete = eventually(Effect.sync(() => assert.isAbove(completeToUnsafe(), recordedAt)))
      yield* isComplete
      away = "event store"
      const failed = statusUnsafe().restarts + 2
      yield* eventually(Effect.sync(() => assert.isAtLeast(statusUnsafe().restarts, failed)))
      assert.isAbove(completeToUnsafe(), recordedAt)
      away = "read model"
      yield* eventually(Effect.sync(() => assert.strictEqual(completeToUnsafe(), 0)))
      away = undefined
      yield* isComplete
    }).pipe(Effect.provide(processOf((store) => store === away, Layer.empty)))
  })

  it.live("says what the next one does once it compares it no more", () => {
    const { layer, owning, said } = makeHost()
    said.completeTo = instantMax
    return Effect.gen(function* () {
      const { completeToUnsafe } = yield* Completeness
      const recordedAt = yield* commitOne
      const owned = yield* Effect.forkChild(owning)
      yield* eventually(Effect.sync(() => assert.isAbove(completeToUnsafe(), recordedAt)))
      yield* Fiber.interrupt(owned)
      assert.isAbove(completeToUnsafe(), recordedAt)
      // The read model was lost since.
      said.completeTo = 5
      assert.isAtMost(completeToUnsafe(), 5)
    }).pipe(Effect.provide(processOf(() => false, layer)))
  })

  it.live("says nothing of what it found before another one did, where its first round since fails", () => {
    const { layer, owning, said } = makeHost()
    let isLogAway = false
    said.completeTo = instantMax
    return Effect.gen(function* () {
      const { completeToUnsafe } = yield* Completeness
      const { statusUnsafe } = yield* Reconciler
      const recordedAt = yield* commitOne
      const owned = yield* Effect.forkChild(owning)
      yield* eventually(Effect.sync(() => assert.isAbove(completeToUnsafe(), recordedAt)))
      yield* Fiber.interrupt(owned)
      // The other one found the read model away.
      said.completeTo = 0
      said.sweptAt++
      isLogAway = true
      const { restarts } = statusUnsafe()
      const ownedAgain = yield* Effect.forkChild(owning)
      yield* eventually(Effect.sync(() => assert.isAbove(statusUnsafe().restarts, restarts)))
      assert.strictEqual(completeToUnsafe(), 0)
      yield* Fiber.interrupt(ownedAgain)
    }).pipe(Effect.provide(processOf((store) => isLogAway && store === "event store", layer)))
  })
})

describe("a node that hears of the rounds of another", () => {
  it.effect("believes none that was begun before it found the read model away", () => {
    const { layer, said } = makeHost()
    let isAway = false
    return Effect.gen(function* () {
      const { completeToUnsafe } = yield* Completeness
      yield* TestClock.adjust(20)
      assert.strictEqual(completeToUnsafe(), 8_000)
      isAway = true
      yield* TestClock.adjust(20)
      assert.strictEqual(completeToUnsafe(), 0)
      isAway = false
      yield* TestClock.adjust(40)
      assert.strictEqual(completeToUnsafe(), 0)
      // This one may have begun before.
      said.sweptAt = 9_100
      yield* TestClock.adjust(40)
      assert.strictEqual(completeToUnsafe(), 0)
      said.sweptAt = 9_200
      yield* TestClock.adjust(20)
      assert.strictEqual(completeToUnsafe(), 8_000)
    }).pipe(Effect.provide(processOf(() => isAway, layer)))
  })
})
