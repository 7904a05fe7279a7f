/** A node that starts while the event store does not answer waits for it, says so, and ends only when its patience is over. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore, type Method } from "../support/faultyStore.ts"
import { memoryStores, open, quiet, startNode } from "../support/ledgerWorld.ts"

const methods: ReadonlyArray<Method> = ["heartbeat", "listWriters", "fenceWriter", "registerWriter"]

/** A store on which an earlier life of the node left a writer, so that all that a start asks for is asked for. */
const startOver = Effect.fnUntraced(function* (failing: Method) {
  const store = yield* EventStore
  yield* store.registerWriter({ writerId: "node.earlier", node: "node (alone)", closedAt: 0 })
  const faulty = FaultyStore.over(store, ({ method }) => (method === failing ? "unavailable" : undefined))
  const node = yield* Effect.forkChild(startNode("node", { store: faulty.store }))
  return { faulty, node }
})

it.effect.each(methods)("a node starts when the store answers %s again, and said that it waits", (method) =>
  Effect.gen(function* () {
    const said: Array<string> = []
    const logger = Logger.make<unknown, void>(({ message }) => {
      said.push(String(Array.isArray(message) ? message[0] : message))
    })
    yield* Effect.gen(function* () {
      const { faulty, node } = yield* startOver(method)
      yield* TestClock.adjust(defaultLimits.storeStartMs / 2)
      assert.isUndefined(node.pollUnsafe(), "it waits")
      assert.include(said, "the start of this node waits for the event store")
      faulty.script = () => undefined
      yield* TestClock.adjust(5_000)
      const started = yield* Fiber.join(node)
      assert.strictEqual((yield* started.send(open("a"))).replayed, false)
    }).pipe(Effect.provide(Layer.merge(memoryStores, Logger.layer([logger]))))
  })
)

it.effect.each(methods)("a node ends with the reason when the store never answers %s", (method) =>
  Effect.gen(function* () {
    const { node } = yield* startOver(method)
    yield* TestClock.adjust(defaultLimits.storeStartMs + 5_000)
    const failure = yield* Effect.flip(Fiber.join(node))
    assert.strictEqual(failure._tag, "StoreUnavailable")
    assert.include(failure.message, "a fault of the test")
  }).pipe(Effect.provide([memoryStores, quiet]))
)
