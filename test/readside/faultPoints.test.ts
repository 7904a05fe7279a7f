/** Projector fibers that die at each of their calls, before or after it took effect: the read model comes out the same. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { calls, type FaultPoint, FaultPoints } from "../support/faultPoints.ts"
import { assertCaughtUp, eventually, play, readSideOn } from "../support/readSides.ts"

const world = (faults: FaultPoints) => {
  const bus = Layer.effect(
    Bus,
    Effect.map(Bus, (real) => faults.bus(real))
  ).pipe(Layer.provide(Bus.layerMemory))
  const readModel = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => faults.readModel(real))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))
  const log = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => faults.log(real))
  ).pipe(Layer.provide(EventStore.layerMemory))
  // No sweep: it would hide what the projectors lose.
  return readSideOn(Layer.mergeAll(Layer.fresh(log), Layer.fresh(bus), Layer.fresh(readModel)), {
    ledger: { partitions: 2 },
    // Who keeps what was written looks seldom, which would leave little to kill.
    readSide: { ackWaitMs: 20, backoffMaxMs: 50, headsKeptMax: looks(faults) ? 0 : 1_000 }
  })
}

const looks = ({ armed }: FaultPoints) => armed.some(({ call }) => call === "look")

const ids = ["a", "b", "c", "d"]

const points: ReadonlyArray<FaultPoint> = calls.flatMap((call) =>
  [1, 2, 3, 5].flatMap((left) => (["before", "after"] as const).map((when) => ({ call, left, when })))
)

describe("a projector that is killed", () => {
  let deaths = 0

  for (const call of calls) {
    it.live(`restarted at ${call} comes to the same rows`, () =>
      Effect.forEach(
        points.filter((point) => point.call === call),
        (point) => {
          const faults = new FaultPoints()
          faults.armed = [{ ...point }]
          // Every second commit never comes: the next one shows a gap.
          faults.loses = ({ seq }) => seq % 2 === 0
          return Effect.gen(function* () {
            const eventWriter = new EventWriter("writer-1", Date.now())
            yield* play(
              eventWriter,
              ids.map((id) => openAccount(id))
            )
            for (let round = 0; round < 6; round++) {
              yield* play(
                eventWriter,
                ids.map((id) => deposit(id, 5n)),
                ids.flatMap((id, index) => [deposit(id, 10n), transfer(id, ids[(index + 1) % 4] ?? id, 1n)])
              )
              yield* eventually(assertCaughtUp(eventWriter.log))
            }
            deaths += faults.deaths
          }).pipe(
            Effect.provide(world(faults)),
            Effect.tapCause((cause) => Effect.logError(`${call} ${point.left} ${point.when}`, cause))
          )
        },
        { discard: true }
      )
    )
  }

  it("was killed often enough to prove something", () => {
    assert.isAtLeast(deaths, 40)
  })
})
