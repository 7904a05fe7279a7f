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

it.effect("a start that a hesitating store delays registers one writer a lane", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const faulty = FaultyStore.over(store, ({ method }) =>
      // Each writer is registered, and the heartbeat behind that fails.
      method === "heartbeat" && faulty.callsOf("registerWriter") > 0 ? "unavailable" : undefined
    )
    const starting = yield* Effect.forkChild(startNode("node", { store: faulty.store }))
    yield* TestClock.adjust(defaultLimits.storeStartMs / 2)
    assert.isUndefined(starting.pollUnsafe(), "it waits")
    assert.isAbove(faulty.callsOf("registerWriter"), 10)
    faulty.script = () => undefined
    yield* TestClock.adjust(5_000)
    const started = yield* Fiber.join(starting)
    assert.lengthOf(yield* store.listWriters, defaultLimits.lanes)
    assert.strictEqual((yield* started.send(open("a"))).replayed, false)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a lane that goes on as a new writer registers one, however long the store hesitates", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const faulty = FaultyStore.over(store)
    const node = yield* startNode("node", { store: faulty.store })
    const before = (yield* store.listWriters).length
    const registered = faulty.callsOf("registerWriter")
    faulty.script = ({ method, nth }) => {
      if (method === "commit" && nth === 0) return "fenced"
      return method === "heartbeat" ? "unavailable" : undefined
    }
    const sent = yield* Effect.forkChild(node.send(open("a")), { startImmediately: true })
    yield* TestClock.adjust(5_000)
    assert.isAbove(faulty.callsOf("registerWriter"), registered + 5)
    faulty.script = () => undefined
    yield* TestClock.adjust(5_000)
    assert.strictEqual((yield* Fiber.join(sent)).replayed, false)
    assert.lengthOf(yield* store.listWriters, before + 1)
  }).pipe(Effect.provide([memoryStores, quiet]))
)
