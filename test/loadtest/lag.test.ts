/** How a load test waits for a read model that is behind, or away for a moment. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { awaitCaughtUp } from "../../src/loadtest/Lag.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"

const ids = makeRunIds("run", false)
const account = ids.account(0)

/** A read model that gives these answers, one a call, and then the last one for ever. */
const answering = (...answers: ReadonlyArray<"away" | "behind" | "there">) => {
  let asked = 0
  const layer = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      behind: (): ReturnType<typeof real.behind> =>
        Effect.suspend(() => {
          const answer = answers[Math.min(asked++, answers.length - 1)]
          if (answer === "away") return new StoreUnavailable({ store: "read model", reason: "away" })
          return Effect.succeed(answer === "behind" ? [{ account, version: 1, reached: 0 }] : [])
        })
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provide(ProjectionWaiters.layer))
  return { layer, asked: () => asked }
}

const wait = (layer: Layer.Layer<ReadModel>) =>
  Effect.gen(function* () {
    const acknowledged = new Acknowledged(ids, 1, false)
    acknowledged.learn(0, 1)
    const waiting = yield* Effect.forkChild(awaitCaughtUp(ids, 1, acknowledged, "10 seconds"))
    // In small steps, because each pause begins only with the answer before it.
    yield* Effect.repeat(TestClock.adjust("50 millis"), { times: 400 })
    return yield* Fiber.join(waiting)
  }).pipe(Effect.provide(layer))

it.effect("waits for a read model that does not answer for a moment", () =>
  Effect.gen(function* () {
    const { layer, asked } = answering("away", "behind", "away", "there")
    assert.approximately((yield* wait(layer)) ?? Number.NaN, 1.05, 0.1)
    assert.strictEqual(asked(), 4)
  })
)

it.effect("gives up on a read model that is away or behind for longer than its patience", () =>
  Effect.gen(function* () {
    assert.isUndefined(yield* wait(answering("away").layer))
    assert.isUndefined(yield* wait(answering("behind").layer))
  })
)
