/** A stream of events that is opened again, for as long as its reader lives. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Scheduler, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Unavailable } from "../../src/domain/Errors.ts"
import { defaultClientLimits } from "../../src/rpc/client/ClientOptions.ts"
import type { NodeClient, NodeConnection } from "../../src/rpc/client/NodeConnection.ts"
import { remoteEvents } from "../../src/rpc/client/RemoteEvents.ts"

/** Counts the steps of all fibers. */
class CountingScheduler extends Scheduler.MixedScheduler {
  steps = 0
  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    this.steps++
    return super.shouldYield(fiber)
  }
}

const scheduler = new CountingScheduler()

it.effect("an event costs no more after many connections than after a few", () =>
  Effect.gen(function* () {
    const passing = new Unavailable({ what: "the node", reason: "it ends" })
    /** The steps that had been made by each event; a connection brings one and is lost. */
    const steps: Array<number> = []
    const events = remoteEvents<number, number>(
      Effect.succeed({} as NodeConnection), // none is looked at
      () => Effect.succeed({} as NodeClient), // as above
      defaultClientLimits,
      {
        open: (_, after) => Stream.concat(Stream.make(after + 1), Stream.fail(passing)),
        after: 0,
        placeOf: (event) => event,
        isResumable: () => true,
        onGivenUp: () => passing
      }
    )
    const connections = 400
    const reading = yield* Effect.forkChild(
      events.pipe(
        Stream.take(connections),
        Stream.runForEach(() => Effect.sync(() => steps.push(scheduler.steps)))
      )
    )
    for (let nth = 0; nth < connections; nth++) yield* TestClock.adjust(20)
    yield* Fiber.join(reading)
    const stepsOf = (from: number, to: number) => (steps[to] ?? 0) - (steps[from] ?? 0)
    assert.isAbove(stepsOf(10, 20), 0)
    assert.isBelow(stepsOf(380, 390), 2 * stepsOf(10, 20))
  }).pipe(Effect.provideService(Scheduler.Scheduler, scheduler))
)
