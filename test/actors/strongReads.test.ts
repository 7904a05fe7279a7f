/** A strong balance is the account's last state, also while it is open whether a commit of the account has landed. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, type Result } from "effect"
import { TestClock } from "effect/testing"
import type { ToldHead } from "../../src/actors/accounts/Placement.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { deposit, memoryStores, open, quiet, readStream, startNode } from "../support/ledgerWorld.ts"

const start = Effect.gen(function* () {
  const inner = yield* EventStore
  const faulty = FaultyStore.over(inner)
  const node = yield* startNode("node", { store: faulty.store })
  yield* node.send(open("a"))
  const send = Effect.forkChild(Effect.result(node.send(deposit("a", 5n))), { startImmediately: true })
  const ask = Effect.forkChild(Effect.result(node.dispatcher.localNode.headOf(AccountId.make("a"))), {
    startImmediately: true
  })
  const landed = Effect.gen(function* () {
    yield* TestClock.adjust(1)
    assert.lengthOf(yield* readStream(inner, "a"), 2)
  })
  /** The store works again, so that the node can end. */
  const recover = Effect.suspend(() => {
    faulty.script = () => undefined
    return TestClock.adjust(2_000)
  })
  return { node, faulty, send, ask, landed, recover }
})

const versionOf = (answer: Result.Result<ToldHead, { readonly _tag: string }>): number | string =>
  answer._tag === "Failure" ? answer.failure._tag : answer.success.head.account.version

const scenario = Effect.provide([memoryStores, quiet])

it.effect("waits for a commit that has landed and is not answered", () =>
  Effect.gen(function* () {
    const { faulty, send, ask, landed } = yield* start
    faulty.holdAnswers("commit")
    yield* send
    yield* landed
    const asked = yield* ask
    yield* TestClock.adjust(100)
    assert.isUndefined(asked.pollUnsafe())
    faulty.release()
    assert.strictEqual(versionOf(yield* Fiber.join(asked)), 2)
  }).pipe(scenario)
)

it.effect("waits while a commit is sent again whose outcome is not known", () =>
  Effect.gen(function* () {
    const { faulty, send, ask, landed } = yield* start
    faulty.script = ({ method, nth }) => (method === "commit" && nth < 6 ? "landedUnknown" : undefined)
    yield* send
    yield* landed
    const asked = yield* ask
    assert.isUndefined(asked.pollUnsafe())
    yield* TestClock.adjust(1_000)
    assert.strictEqual(versionOf(yield* Fiber.join(asked)), 2)
  }).pipe(scenario)
)

it.effect("is unavailable, with the reason, where the outcome stays unknown", () =>
  Effect.gen(function* () {
    const { faulty, send, ask, recover } = yield* start
    faulty.script = ({ method }) => (method === "commit" ? "landedUnknown" : undefined)
    yield* send
    yield* TestClock.adjust(10)
    const asked = yield* ask
    yield* TestClock.adjust(defaultLimits.queryDeadlineMs)
    const answer = yield* Fiber.join(asked)
    assert.strictEqual(versionOf(answer), "Unavailable")
    assert.include(answer._tag === "Failure" ? answer.failure.message : "", "a commit of the account")
    yield* recover
  }).pipe(scenario)
)

it.effect("is told at once where a commit certainly wrote nothing", () =>
  Effect.gen(function* () {
    const { faulty, send, ask, recover } = yield* start
    faulty.script = ({ method, nth }) => (method === "commit" && nth < 3 ? "slowNotWritten" : undefined)
    yield* send
    yield* TestClock.adjust(10)
    const asked = yield* ask
    assert.isUndefined(asked.pollUnsafe())
    yield* TestClock.adjust(40)
    assert.strictEqual(versionOf(yield* Fiber.join(asked)), 1)
    yield* recover
  }).pipe(scenario)
)
