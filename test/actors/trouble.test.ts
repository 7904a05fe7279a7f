/** Whether a node takes commands, as health tells it: also while it is asked for nothing. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { CommitOutcome, EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore, type Method } from "../support/faultyStore.ts"
import { deposit, memoryStores, open, quiet, startNode, withdraw } from "../support/ledgerWorld.ts"

const start = Effect.gen(function* () {
  const faulty = FaultyStore.over(yield* EventStore)
  const node = yield* startNode("node", { store: faulty.store })
  yield* node.send(open("a"))
  const fail = (failing?: Method) => {
    faulty.script = ({ method }) =>
      method !== failing ? undefined : method === "commit" ? "notWritten" : "unavailable"
  }
  return { node, fail, trouble: () => node.dispatcher.stats().trouble }
})

it.effect("an outage is over when the store answers again, though no command is sent", () =>
  Effect.gen(function* () {
    const { node, fail, trouble } = yield* start
    fail("commit")
    const refused = yield* Effect.forkChild(Effect.flip(node.send(deposit("a", 1n))))
    yield* TestClock.adjust(defaultLimits.commandDeadlineMs / 2)
    assert.strictEqual(trouble(), "a fault of the test")
    yield* TestClock.adjust(defaultLimits.commandDeadlineMs)
    assert.strictEqual((yield* Fiber.join(refused))._tag, "Unavailable")
    fail()
    yield* TestClock.adjust(2 * defaultLimits.heartbeatMs)
    assert.isUndefined(trouble())
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("an outage is seen while no command is sent", () =>
  Effect.gen(function* () {
    const { fail, trouble } = yield* start
    assert.isUndefined(trouble())
    fail("heartbeat")
    yield* TestClock.adjust(2 * defaultLimits.heartbeatMs)
    assert.strictEqual(trouble(), "a fault of the test")
    fail()
    yield* TestClock.adjust(2 * defaultLimits.heartbeatMs)
    assert.isUndefined(trouble())
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect.each(["readStreams", "findCommands"] as const)(
  "a caller whom an outage keeps waiting is not told where the store is: %s",
  (method) =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      const first = yield* startNode("first")
      yield* first.send(open("a"))
      yield* first.stop
      const away = new StoreUnavailable({
        store: "event store",
        reason: "cannot connect (ECONNREFUSED)",
        detail: "cannot connect: connect ECONNREFUSED 10.0.0.5:5432"
      })
      const second = yield* startNode("second", { store: { ...inner, [method]: () => Effect.fail(away) } })
      // A refusal is told once the log says that its id is new.
      const refused = yield* Effect.forkChild(Effect.flip(second.send(withdraw("a", 1n))))
      yield* TestClock.adjust(2 * defaultLimits.commandDeadlineMs)
      const { _tag, message } = yield* Fiber.join(refused)
      assert.strictEqual(_tag, "Unavailable")
      assert.include(message, "cannot connect (ECONNREFUSED)")
      assert.notInclude(message, "10.0.0.5")
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect.each(["NotWritten", "Unknown"] as const)(
  "the log is told once a minute what the database says of a commit, and callers are not: %s",
  (_tag) =>
    Effect.gen(function* () {
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => said.push(String(message)))
      const words = "permission denied for table events (42501)"
      const told = () => said.filter((line) => line.includes(words)).length
      yield* Effect.gen(function* () {
        const inner = yield* EventStore
        let isRefusing = true
        const refused = CommitOutcome[_tag]({ reason: "a right is missing (42501)", detail: words })
        const commit: typeof inner.commit = (...asked) =>
          isRefusing ? Effect.succeed(refused) : inner.commit(...asked)
        const node = yield* startNode("node", { store: { ...inner, commit } })
        const waiting = yield* Effect.forkChild(Effect.flip(node.send(open("a"))))
        yield* TestClock.adjust(2 * defaultLimits.commandDeadlineMs)
        const { message } = yield* Fiber.join(waiting)
        const atFirst = told()
        yield* TestClock.adjust(60_000)
        const later = yield* Effect.forkChild(Effect.exit(node.send(open("b"))))
        yield* TestClock.adjust(defaultLimits.commandDeadlineMs)
        const atLast = told()
        isRefusing = false
        yield* TestClock.adjust(60_000)
        yield* Fiber.join(later)
        assert.notInclude(message, words)
        assert.deepStrictEqual([atFirst, atLast], [1, 2])
      }).pipe(Effect.provide(Layer.merge(memoryStores, Logger.layer([logger]))))
    })
)
