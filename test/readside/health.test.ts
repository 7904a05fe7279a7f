/** Nothing of the read side stops without being visible: lag in events and milliseconds, failing fibers, readiness. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { makeBusMemory } from "../../src/infra/bus/BusMemory.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import {
  append,
  assertCaughtUp,
  eventually,
  play,
  readSideOn,
  type TestLimits
} from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

/** As a store that is away is told to callers, with what only logs are told. */
const away = (store: "read model" | "bus") =>
  new StoreUnavailable({ store, reason: "cannot connect (ECONNREFUSED)", detail: "no 10.0.0.5:5432" })

interface Faults {
  isBusAway: boolean
  /** What a write of the read model does instead, while it is there. */
  apply: Effect.Effect<boolean, StoreUnavailable> | undefined
}

const world = (faults: Faults, limits: TestLimits) =>
  readSideOn(
    Layer.mergeAll(
      Layer.fresh(EventStore.layerMemory),
      Layer.fresh(
        Layer.effect(
          Bus,
          Effect.map(
            makeBusMemory({ isAway: () => faults.isBusAway, loses: 0, repeats: 0, shuffles: 0 }),
            ({ bus }): Bus["Service"] => ({
              ...bus,
              publish: (messages) => Effect.mapError(bus.publish(messages), () => away("bus")),
              subscribe: (consumer) => Effect.mapError(bus.subscribe(consumer), () => away("bus"))
            })
          )
        )
      ),
      Layer.fresh(
        Layer.effect(
          ReadModel,
          Effect.map(ReadModel, (real) => ({
            ...real,
            apply: (batch: Parameters<typeof real.apply>[0]) =>
              Effect.suspend(() => faults.apply ?? real.apply(batch))
          }))
        ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))
      )
    ),
    limits
  )

const report = Effect.flatMap(ReadSideHealth, (health) => health.report)

const quick = { ledger: { sweepMs: 30, partitions: 2 }, readSide: { ackWaitMs: 60, orphansMs: 30 } }

describe("the health of the read side", () => {
  it.live("is ready while every projection follows the log", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* play(eventWriter, [openAccount("a"), openAccount("b")], [deposit("a", 1n)])
      yield* eventually(assertCaughtUp(eventWriter.log))
      yield* eventually(
        Effect.map(report, ({ ready, reasons, projections: [books], relay }) => {
          assert.deepStrictEqual(reasons, [])
          assert.isTrue(ready)
          assert.strictEqual(books?.name, "books_v1")
          assert.deepStrictEqual(books?.sweep.lag, { events: 0, ms: 0, isExact: true })
          assert.isAbove(books?.sweep.sweeps ?? 0, 0)
          assert.strictEqual(relay.unpublished, 0)
          assert.deepStrictEqual(
            books?.partitions.map(({ partition }) => partition),
            [0, 1]
          )
        })
      )
    }).pipe(Effect.provide(world({ isBusAway: false, apply: undefined }, quick)))
  )

  it.live("reports a hanging projector by the events that wait in its partition", () => {
    const faults: Faults = { isBusAway: false, apply: undefined }
    return Effect.gen(function* () {
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* play(eventWriter, [openAccount("a")])
      yield* eventually(assertCaughtUp(eventWriter.log))
      // It neither fails nor answers; and afterwards nothing arrives at all.
      faults.apply = Effect.never
      yield* play(eventWriter, [deposit("a", 1n)], [deposit("a", 2n)], [deposit("a", 3n)])
      const own = partitionOf(accountId("a"), 2)
      yield* eventually(
        Effect.map(report, ({ ready, reasons, projections: [books] }) => {
          assert.strictEqual(books?.sweep.lag.events, 3)
          assert.isAbove(books?.sweep.lag.ms ?? 0, 100)
          assert.strictEqual(books?.partitions[own]?.behindEvents, 3)
          assert.strictEqual(books?.partitions[1 - own]?.behindEvents, 0)
          assert.isFalse(ready)
          assert.match(reasons.join(), /books_v1 is 3 events and \d+ ms behind/)
        })
      )
    }).pipe(
      Effect.provide(
        // What waits is left to the bus for as long as the test takes: the lag is told, not hidden by loading.
        world(faults, {
          ledger: quick.ledger,
          readSide: { ...quick.readSide, readyLagEventsMax: 2, lostAfterMs: 3_600_000 }
        })
      )
    )
  })

  it.live("is not ready while the bus is away", () => {
    const faults: Faults = { isBusAway: true, apply: undefined }
    return Effect.gen(function* () {
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* play(eventWriter, [openAccount("a")])
      yield* eventually(
        Effect.map(report, ({ ready, reasons }) => {
          assert.isFalse(ready)
          assert.include(reasons, "relay: bus: cannot connect (ECONNREFUSED)")
          assert.include(reasons, "books_v1, partition 0: bus: cannot connect (ECONNREFUSED)")
        })
      )
      faults.isBusAway = false
      yield* eventually(assertCaughtUp(eventWriter.log))
      // Nothing more is sent: an idle partition must not stay red for ever.
      yield* eventually(Effect.map(report, ({ reasons }) => assert.deepStrictEqual(reasons, [])))
    }).pipe(Effect.provide(world(faults, quick)))
  })

  it.live("is not ready while no reconciliation completes", () => {
    const faults: Faults = { isBusAway: false, apply: undefined }
    return Effect.gen(function* () {
      const eventWriter = new EventWriter("writer-1", Date.now())
      faults.apply = Effect.fail(away("read model"))
      yield* append(eventWriter.commit(openAccount("a")))
      yield* eventually(
        Effect.map(report, ({ reasons }) =>
          assert.include(reasons, "reconciler of books_v1: read model: cannot connect (ECONNREFUSED)")
        )
      )
      faults.apply = Effect.never
      yield* eventually(
        Effect.map(report, ({ ready, reasons }) => {
          assert.isFalse(ready)
          assert.match(reasons.join(), /books_v1 has not been compared with the log for \d+ ms/)
        })
      )
    }).pipe(
      Effect.provide(
        world(faults, { ledger: quick.ledger, readSide: { ...quick.readSide, readyLagMsMax: 300 } })
      )
    )
  })
})
