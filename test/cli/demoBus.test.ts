/** A day is played while JetStream is killed or emptied: commands are still accepted, and the read model catches up. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, References } from "effect"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { runDemo } from "../../src/cli/DemoRun.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import type { NatsServer } from "../../src/infra/dev/NatsServer.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { beginningOfDay } from "../support/chronicle.ts"
import { preparedDataDir } from "../support/devStacks.ts"
import { until } from "../support/waiting.ts"

/** Lines of the day; the bus breaks after `breakAt`, and is mended once `settledWithout` more are settled. */
const lines = 1_600
const breakAt = 500
const settledWithout = 600

const playThrough = Effect.fnUntraced(function* (
  breakBus: (nats: NatsServer) => Effect.Effect<void, unknown>
) {
  const stack = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
  const file = yield* beginningOfDay(lines)
  yield* LedgerNode.migrate(stack)
  return yield* Effect.gen(function* () {
    const bus = yield* Bus
    const ledger = yield* Ledger
    const atBreak = yield* Deferred.make<void>()
    let settled = 0
    const demo = yield* runDemo({
      file,
      journals: `${stack.dataDir}/refusals`,
      onSettled: (count) =>
        Effect.suspend(() => {
          settled = count
          return count === breakAt ? Deferred.succeed(atBreak, undefined) : Effect.void
        })
    }).pipe(Effect.forkScoped)
    yield* Deferred.await(atBreak)
    yield* breakBus(stack.nats)
    assert.isFalse(yield* stack.nats.isRunning)
    yield* until("the node has noticed", () => !bus.isConnectedUnsafe())
    const before = settled
    const committed = (yield* ledger.stats).committed
    yield* until("commands are settled without a bus", () => settled >= before + settledWithout)
    assert.isAbove((yield* ledger.stats).committed, committed, "some of them were accepted")
    assert.isFalse(bus.isConnectedUnsafe(), "and there was none meanwhile")
    yield* stack.nats.start
    const result = yield* Fiber.join(demo)
    assert.isAbove(result.played.commands, before + settledWithout)
    assert.deepEqual(result.verdicts.faults, [])
    assert.isTrue(Object.values(result.verdicts.invariants).every(Boolean))
    // The audit passes over what is not projected yet: here everything has to be.
    assert.strictEqual((yield* (yield* Audit).verify()).behind, 0)
    return result
  }).pipe(
    Effect.provide(Audit.layer.pipe(Layer.provideMerge(LedgerNode.layer({ ...stack, nodeName: "demo" })))),
    Effect.provideService(References.MinimumLogLevel, "Error")
  )
})

layer(NodeServices.layer, { excludeTestServices: true })("demo without a bus", (it) => {
  it.effect(
    "accepts commands while nats-server is away, and catches up once it is back",
    () => playThrough((nats) => nats.kill),
    420_000
  )

  it.effect(
    "fills the read model from the log after all of JetStream was deleted",
    () => playThrough((nats) => nats.deleteJetStream),
    420_000
  )
})
