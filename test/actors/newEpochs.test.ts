/** A lane that starts a new epoch writes no command that was decided in an earlier one. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { type Fault, FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  memoryStores,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  until
} from "../support/ledgerWorld.ts"

/** Deposits on their way or waiting, one an account named, to a store that takes 100 ms and meets the faults in turn. */
const scene = Effect.fnUntraced(function* (options: {
  readonly lanes: number
  readonly faults: ReadonlyArray<Fault | undefined>
  readonly accounts: ReadonlyArray<string>
}) {
  const { lanes, faults, accounts } = options
  const inner = yield* EventStore
  const store = FaultyStore.over(inner)
  const node = yield* startNode("new-writer", { store: store.store, limits: { lanes } })
  yield* fund(node, ["hot", "cold"], 100n)
  const before = store.callsOf("commit")
  const sendings = () => store.callsOf("commit") - before
  store.commitMs = 100
  store.script = ({ method, nth }) => (method === "commit" ? faults[nth - before] : undefined)
  const sent = yield* Effect.forEach(accounts, (account, nth) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Effect.result(node.send(deposit(account, 1n))), {
        startImmediately: true
      })
      yield* until("it is sent, or waits for a lane", () => sendings() === Math.min(nth + 1, lanes))
      return fiber
    })
  )
  return {
    store,
    sendings,
    now: Effect.clockWith((clock) => clock.currentTimeMillis),
    outcomes: Effect.gen(function* () {
      yield* TestClock.adjust(5_000)
      const results = yield* Effect.forEach(sent, Fiber.join)
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
      return results.map(outcomeOf)
    }),
    lastRecordedAt: (account: string) =>
      Effect.map(readStream(inner, account), (rows) => rows.at(-1)?.recordedAt ?? 0)
  }
})

it.effect("a batch taken while a lane starts a new epoch is decided again when it was not written", () =>
  Effect.gen(function* () {
    const { store, sendings, now, outcomes, lastRecordedAt } = yield* scene({
      lanes: 2,
      faults: ["fenced", undefined, "slowNotWritten"],
      accounts: ["cold", "hot", "hot"]
    })
    store.hold("registerWriter")
    yield* TestClock.adjust(100)
    yield* until("the next one is taken", () => sendings() === 3)
    assert.strictEqual(store.held(), 1, "the lane that was fenced is being renewed")
    const fencedAt = yield* now
    yield* TestClock.adjust(20)
    store.release()
    assert.deepStrictEqual(yield* outcomes, ["Accepted", "Accepted", "Accepted"])
    assert.isAtLeast(yield* lastRecordedAt("hot"), fencedAt)
  }).pipe(Effect.scoped, Effect.provide([memoryStores, quiet]))
)

it.effect("commands that wait while a lane fails are decided again", () =>
  Effect.gen(function* () {
    const { now, outcomes, lastRecordedAt } = yield* scene({
      lanes: 1,
      faults: ["dies"],
      accounts: ["hot", "cold"]
    })
    const sentAt = yield* now
    assert.deepStrictEqual(yield* outcomes, ["Indeterminate", "Accepted"])
    assert.isAtLeast(yield* lastRecordedAt("cold"), sentAt + 100)
  }).pipe(Effect.scoped, Effect.provide([memoryStores, quiet]))
)
