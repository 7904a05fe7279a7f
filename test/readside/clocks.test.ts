/** A machine's clock that is off hides nothing from the read side, and makes no other node unready. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { type SingletonHost, Singletons } from "../../src/actors/relay/Singletons.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { fairWeather, makeBusMemory } from "../../src/infra/bus/BusMemory.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import {
  append,
  appendAndOffer,
  assertCaughtUp,
  eventually,
  readSideOn,
  type TestLimits
} from "../support/readSides.ts"
import { settable, storeBy } from "../support/settableClock.ts"

/** The bus has just brought something in every partition. */
const bringSomething = Effect.gen(function* () {
  const checkpoints = Array.from({ length: partitions }, (_, partition) => ({
    partition,
    position: 1,
    recordedAt: 1
  }))
  const model = yield* ReadModel
  yield* model.apply({ moves: [], lines: [], transfers: [], contras: [], holds: [], checkpoints })
})

const minuteMs = 60_000
const partitions = 2

/**
 * The read side of a node whose clock is `offMs` ahead of that of the stores, on a bus that takes everything and brings nothing. The clock of
 * the read model was set back by `setBackMs` since it wrote how far the bus was read.
 */
const offBy = <A, E, R>(
  offMs: number,
  limits: TestLimits,
  test: Effect.Effect<A, E, R>,
  setBackMs = 0,
  loses = 1
) =>
  Effect.gen(function* () {
    const truth = yield* Clock.Clock
    const { clock, set } = settable(truth)
    set(offMs)
    const outside = Layer.mergeAll(
      Layer.effect(
        EventStore,
        Effect.map(EventStore, (store) => storeBy(truth, store))
      ).pipe(Layer.provide(EventStore.layerMemory)),
      Layer.effect(
        Bus,
        Effect.map(makeBusMemory({ ...fairWeather, loses }), ({ bus }) => bus)
      ),
      Layer.effect(
        ReadModel,
        Effect.map(ReadModel, (model) => ({
          ...model,
          checkpoints: Effect.map(
            model.checkpoints,
            (found) =>
              new Map(
                [...found].map(([partition, one]) => [
                  partition,
                  { ...one, quietMs: one.quietMs - setBackMs }
                ])
              )
          ),
          apply: (batch: Parameters<typeof model.apply>[0]) =>
            Effect.provideService(model.apply(batch), Clock.Clock, truth)
        }))
      ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))
    )
    return yield* test.pipe(
      Effect.provide(readSideOn(Layer.fresh(outside), limits)),
      Effect.provideService(Clock.Clock, clock)
    )
  })

describe("the reconciler of a node whose clock is off", () => {
  it.live("loads what the bus never brings as soon as another, though the clock is a minute behind", () =>
    offBy(
      -minuteMs,
      { ledger: { sweepMs: 200, partitions }, readSide: { sweepGraceMs: 50, lostAfterMs: 50 } },
      Effect.gen(function* () {
        const writer = new EventWriter("writer-1", Date.now())
        yield* append(writer.commit(openAccount("a")))
        yield* eventually(assertCaughtUp(writer.log), 50)
      })
    )
  )

  it.live("loads it as soon where the read model's clock was set back by an hour", () =>
    offBy(
      0,
      { ledger: { sweepMs: 200, partitions }, readSide: { sweepGraceMs: 50, lostAfterMs: 50 } },
      Effect.gen(function* () {
        yield* bringSomething
        const writer = new EventWriter("writer-1", Date.now())
        yield* append(writer.commit(openAccount("a")))
        yield* eventually(assertCaughtUp(writer.log), 50)
      }),
      60 * minuteMs
    )
  )

  it.live("leaves to the bus what is only late, and tells how late, though the clock is a minute ahead", () =>
    offBy(
      minuteMs,
      { ledger: { sweepMs: 100, partitions }, readSide: { sweepGraceMs: 0, lostAfterMs: minuteMs / 2 } },
      Effect.gen(function* () {
        const { statusUnsafe } = yield* Reconciler
        yield* bringSomething
        yield* append(new EventWriter("writer-1", Date.now()).commit(openAccount("a")))
        const enough = statusUnsafe().sweeps + 5
        yield* eventually(Effect.sync(() => assert.isAtLeast(statusUnsafe().sweeps, enough)))
        const { lag, loaded, sweptAt } = statusUnsafe()
        assert.strictEqual(loaded, 0)
        assert.strictEqual(lag.events, 1)
        assert.isBelow(lag.ms, minuteMs / 2)
        assert.isBelow(sweptAt, Date.now() + minuteMs / 2)
      })
    )
  )
})

describe("the lag of what a node projects", () => {
  for (const offMs of [-10 * minuteMs, 10 * minuteMs])
    it.live(`is by the event store's clock where that of the machine is ${offMs} ms off`, () =>
      offBy(
        offMs,
        { ledger: { partitions } },
        Effect.gen(function* () {
          const health = yield* ProjectionHealth
          const writer = new EventWriter("writer-1", Date.now() - 3_000)
          yield* appendAndOffer(writer.commit(openAccount("a")))
          // Recorded three seconds ago, and what comes later a moment more: the first may come before the store's clock is known.
          yield* eventually(
            Effect.gen(function* () {
              yield* appendAndOffer(writer.commit(deposit("a", 1n)))
              const { max, p50 } = health.lagMsUnsafe()
              assert.isAtLeast(p50, 2_000)
              assert.isBelow(max, minuteMs)
            })
          )
        }),
        0,
        0
      )
    )
})

describe("a node that hears of another's rounds", () => {
  it.effect("is ready while they go on and only then, whatever the other's clock says of them", () => {
    let sweptAt = 0
    const elsewhere: SingletonHost = {
      run: () => Effect.void,
      setAwayUnsafe: () => {},
      publishUnsafe: () => {},
      statusUnsafe: ({ decode }) =>
        decode(
          JSON.stringify({ sweptAt, lag: { events: 0, ms: 0, isExact: true }, completeTo: 0, parked: 0 })
        ),
      statesUnsafe: () => [],
      troubleUnsafe: () => undefined
    }
    const outside = Layer.mergeAll(
      EventStore.layerMemory,
      Bus.layerMemory,
      ReadModel.layerMemory.pipe(Layer.provideMerge(ProjectionWaiters.layer)),
      Layer.succeed(Singletons, elsewhere)
    )
    const reasons = Effect.map(
      Effect.flatMap(ReadSideHealth, ({ report }) => report),
      (report) => report.reasons
    )
    return Effect.gen(function* () {
      for (const offMs of [-minuteMs, 0, minuteMs]) {
        for (let round = 0; round < 30; round++) {
          sweptAt = (yield* Clock.currentTimeMillis) + offMs
          yield* TestClock.adjust(100)
          assert.deepStrictEqual(yield* reasons, [], `${offMs} ms ahead`)
        }
        yield* TestClock.adjust(1_000)
        assert.deepStrictEqual(yield* reasons, ["books_v1 has not been compared with the log for 1000 ms"])
      }
    }).pipe(
      Effect.provide(
        readSideOn(Layer.fresh(outside), {
          ledger: { sweepMs: 100, partitions },
          readSide: { readyLagMsMax: 300 }
        })
      ),
      (test) => Effect.andThen(TestClock.setTime(1_767_225_600_000), test)
    )
  })
})
