/** Look-ups for commands that wait: their bound, and that none keeps its place when it is interrupted, at whatever moment. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Scheduler } from "effect"
import { Lookups } from "../../src/actors/commands/Lookups.ts"

it.effect("as many run and wait as may, and what is more is told so", () =>
  Effect.gen(function* () {
    const lookups = new Lookups({ atOnce: 1, waitingMax: 1 })
    let begun = 0
    const never = Effect.andThen(
      Effect.sync(() => begun++),
      Effect.never
    )
    const fibers = yield* Effect.forEach([1, 2], () =>
      Effect.forkChild(lookups.run(never, Effect.succeed("full")), { startImmediately: true })
    )
    assert.strictEqual(yield* lookups.run(never, Effect.succeed("full")), "full")
    assert.strictEqual(begun, 1)
    yield* Fiber.interruptAll(fibers)
    assert.strictEqual(yield* lookups.run(Effect.succeed("done"), Effect.succeed("full")), "done")
  })
)

it.effect("one that is interrupted between any two of its steps leaves its place free", () =>
  Effect.gen(function* () {
    const lookups = new Lookups({ atOnce: 1, waitingMax: 0 })
    for (let steps = 0; steps < 40; steps++) {
      const fiber = yield* lookups.run(Effect.never, Effect.succeed("full")).pipe(
        // It gives way after every few steps, as a fiber does after a long run of them.
        Effect.provideService(Scheduler.MaxOpsBeforeYield, 3),
        Effect.forkChild
      )
      for (let step = 0; step < steps; step++) yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      const after = yield* lookups.run(Effect.succeed("done"), Effect.succeed("full"))
      assert.strictEqual(after, "done", `after ${steps} steps`)
    }
  })
)
