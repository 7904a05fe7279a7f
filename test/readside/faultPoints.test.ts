/** Projector fibers that die at each of their calls, before or after it took effect: the read model comes out the same. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ProjectionHealth } from "../../src/actors/readside/ProjectionHealth.ts"
import { Arrivals } from "../../src/infra/Arrivals.ts"
import { Bus } from "../../src/infra/Bus.ts"
import { EventStore } from "../../src/infra/EventStore.ts"
import { ReadModel } from "../../src/infra/ReadModel.ts"
import { Bookkeeper, deposit, openAccount, transfer } from "../support/bookkeeper.ts"
import { assertCaughtUp, eventually, play, readSideOn } from "../support/readSides.ts"

interface FaultPoint {
  readonly call: string
  /** Counts down at each call; the fiber dies when it gets to 0. */
  left: number
  readonly when: "before" | "after"
}

const killed = "killed at a fault point"

const at =
  (point: FaultPoint) =>
  (call: string) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      if (call !== point.call || --point.left !== 0) return self
      return point.when === "before" ? Effect.die(killed) : Effect.andThen(self, Effect.die(killed))
    })

const world = (point: FaultPoint) => {
  const faulty = at(point)
  const bus = Layer.effect(
    Bus,
    Effect.map(Bus, (real) => ({
      ...real,
      subscribe: (consumer: Parameters<typeof real.subscribe>[0]) =>
        real.subscribe(consumer).pipe(
          faulty("subscribe"),
          Effect.map((subscription) => ({
            take: (accept: Parameters<typeof subscription.take>[0]) =>
              faulty("take")(subscription.take(accept)).pipe(
                Effect.map((deliveries) =>
                  deliveries.map((delivery) => ({
                    ...delivery,
                    ackUnsafe: () => {
                      if (point.call === "ack" && --point.left === 0) throw new Error(killed)
                      delivery.ackUnsafe()
                    }
                  }))
                )
              )
          }))
        )
    }))
  ).pipe(Layer.provide(Bus.layerMemory))
  const readModel = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      checkpoints: faulty("checkpoints")(real.checkpoints),
      look: (accounts: Parameters<typeof real.look>[0]) => faulty("look")(real.look(accounts)),
      apply: (batch: Parameters<typeof real.apply>[0]) => faulty("apply")(real.apply(batch))
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(Arrivals.layer))
  const log = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({
      ...real,
      listWriters: faulty("listWriters")(real.listWriters)
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  // No sweep: it would hide what the projectors lose.
  return readSideOn(Layer.mergeAll(Layer.fresh(log), Layer.fresh(bus), Layer.fresh(readModel)), {
    ledger: { partitions: 2 },
    readSide: { ackWaitMs: 20, backoffMaxMs: 50 }
  })
}

const ids = ["a", "b", "c", "d"]

const calls = ["checkpoints", "subscribe", "take", "look", "apply", "ack", "listWriters"]
const points: ReadonlyArray<FaultPoint> = calls.flatMap((call) =>
  [1, 2, 3, 5].flatMap((left) => (["before", "after"] as const).map((when) => ({ call, left, when })))
)

describe("a projector that is killed", () => {
  let deaths = 0

  for (const call of calls) {
    it.live(`at ${call} begins again and comes to the same rows`, () =>
      Effect.forEach(
        points.filter((point) => point.call === call),
        (point) =>
          Effect.gen(function* () {
            const { left, when } = point
            const copy = { ...point }
            yield* Effect.gen(function* () {
              const bookkeeper = new Bookkeeper("writer-1", Date.now())
              yield* play(
                bookkeeper,
                ids.map((id) => openAccount(id))
              )
              for (let round = 0; round < 6; round++) {
                yield* play(
                  bookkeeper,
                  ids.flatMap((id, index) => [deposit(id, 10n), transfer(id, ids[(index + 1) % 4] ?? id, 1n)])
                )
                yield* eventually(assertCaughtUp(bookkeeper.log))
              }
              const health = yield* ProjectionHealth
              deaths += health.partitionsUnsafe().reduce((sum, { restarts }) => sum + restarts, 0)
            }).pipe(
              Effect.provide(world(copy)),
              Effect.tapCause((cause) => Effect.logError(`${call} ${left} ${when}`, cause))
            )
          }),
        { discard: true }
      )
    )
  }

  it("was killed often enough to prove something", () => {
    assert.isAtLeast(deaths, 40)
  })
})
