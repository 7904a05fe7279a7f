/** A batch that is written behind another commits after it, or goes back to the queue. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { AccountId } from "../../src/domain/Ids.ts"
import type { LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
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
  tally,
  until
} from "../support/ledgerWorld.ts"

const size = 6

/** One deposit on its way, six more behind it, and a store that takes 100 ms from then on. */
const scene = Effect.fnUntraced(function* (options: {
  readonly predecessor?: Fault
  readonly successor?: Fault
  readonly limits?: Partial<LedgerLimits>
  /** The first lane has something else to do until the one before is on its way, so that this one has a later lane. */
  readonly isFirstLaneBusy?: boolean
}) {
  const inner = yield* EventStore
  const store = FaultyStore.over(inner)
  store.isUninterruptible = true
  const node = yield* startNode("follow", {
    store: store.store,
    limits: { batchRowsMax: 8, ...options.limits }
  })
  yield* fund(node, ["hot", "cold"], 0n + 100n)
  store.commitMs = 100
  const send = (account: string, id: string) =>
    Effect.forkChild(Effect.result(node.send(deposit(account, 1n, id))), { startImmediately: true })
  if (options.isFirstLaneBusy) {
    const sent = store.callsOf("commit")
    yield* send("cold", "busy")
    yield* until("the first lane is busy", () => store.callsOf("commit") > sent)
  }
  const before = store.callsOf("commit")
  store.script = ({ method, nth }) => {
    if (method !== "commit") return undefined
    return nth === before ? options.predecessor : nth === before + 1 ? options.successor : undefined
  }
  const first = yield* send("hot", "first")
  yield* until("the first is sent", () => store.callsOf("commit") === before + 1)
  const others = yield* Effect.forEach(Array.from({ length: size }), (_, index) =>
    send("hot", `later-${index}`)
  )
  if (options.isFirstLaneBusy) yield* TestClock.adjust(100)
  yield* until("the others are sent behind it", () => store.behind === 1)
  const rest = Effect.gen(function* () {
    yield* TestClock.adjust(5_000)
    const outcomes = yield* Effect.forEach([first, ...others], Fiber.join)
    assert.deepStrictEqual(yield* invariantsOf(inner), [])
    return tally(outcomes.map(outcomeOf))
  })
  const hot = Effect.map(readStream(inner, "hot"), (rows) => rows.slice(2))
  return {
    inner,
    store,
    node,
    send,
    first,
    others,
    rest,
    hot,
    sendings: () => store.callsOf("commit") - before
  }
})

const world = <A, E>(test: Effect.Effect<A, E, Layer.Success<typeof memoryStores> | Scope.Scope>) =>
  Effect.scoped(test).pipe(Effect.provide(Layer.merge(memoryStores, quiet)))

describe("a successor batch", () => {
  it.effect("is answered after its predecessor, and is not sent by itself", () =>
    world(
      Effect.gen(function* () {
        const { store, first, others, hot, rest, sendings } = yield* scene({ predecessor: "slow" })
        // The successor's 100 ms are over, and its predecessor takes 40 ms more.
        yield* TestClock.adjust(120)
        assert.deepStrictEqual(yield* hot, [])
        assert.isUndefined(others[0]?.pollUnsafe())
        yield* TestClock.adjust(30)
        assert.isDefined(first.pollUnsafe())
        assert.deepStrictEqual(yield* rest, { Accepted: 1 + size })
        assert.deepStrictEqual([sendings(), store.behind], [2, 1])
      })
    )
  )

  it.effect("keeps a strong balance waiting for its predecessor alone", () =>
    world(
      Effect.gen(function* () {
        const { node, rest } = yield* scene({ predecessor: "slow" })
        const asked = yield* Effect.forkChild(node.dispatcher.localNode.headOf(AccountId.make("hot")), {
          startImmediately: true
        })
        // Written by now, and not committed.
        yield* TestClock.adjust(120)
        assert.isUndefined(asked.pollUnsafe())
        yield* TestClock.adjust(30)
        // Opened, funded, and the deposit of the predecessor: none of the six behind it had landed.
        assert.strictEqual((yield* Fiber.join(asked)).head.account.version, 3)
        assert.deepStrictEqual(yield* rest, { Accepted: 1 + size })
      })
    )
  )

  for (const predecessor of [
    "notWritten",
    "overtaken",
    "lostUnknown",
    "landedUnknown",
    "unnamedConflict"
  ] as const) {
    it.effect(`is requeued and sent again when its predecessor meets "${predecessor}"`, () =>
      world(
        Effect.gen(function* () {
          const { store, hot, rest, sendings } = yield* scene({ predecessor })
          assert.deepStrictEqual(yield* rest, { Accepted: 1 + size })
          assert.strictEqual(store.injected.get(predecessor), 1)
          assert.isAbove(sendings(), 2)
          const commands = (yield* hot).map((row) => row.commandId).filter((id) => !id.startsWith("foreign"))
          assert.deepStrictEqual(commands, [
            "first",
            ...Array.from({ length: size }, (_, index) => `later-${index}`)
          ])
        })
      )
    )
  }

  it.effect("that meets a defect before its predecessor is durable loses no caller's outcome", () =>
    world(
      Effect.gen(function* () {
        const { store, rest } = yield* scene({ predecessor: "hangs", successor: "dies" })
        assert.deepStrictEqual(yield* rest, { Accepted: 1 + size })
        assert.strictEqual(store.injected.get("dies"), 1)
      })
    )
  )

  it.effect("whose predecessor meets a defect is not lost with it", () =>
    world(
      Effect.gen(function* () {
        const { rest } = yield* scene({ predecessor: "dies", successor: "hangs" })
        assert.deepStrictEqual(yield* rest, { Accepted: size, Indeterminate: 1 })
      })
    )
  )

  for (const faults of [
    { predecessor: "lostUnknown" },
    { predecessor: "hangs", successor: "dies" }
  ] as const) {
    it.effect(
      `is decided again when a lane was fenced before it was taken back (${JSON.stringify(faults)})`,
      () =>
        world(
          Effect.gen(function* () {
            const { store, send, rest, hot } = yield* scene({ ...faults, limits: { lanes: 3 } })
            yield* TestClock.adjust(50)
            const { script } = store
            store.commitMs = 0
            store.script = (call) =>
              call.method === "commit" && !store.injected.has("fenced") ? "fenced" : script(call)
            const fenced = yield* send("cold", "fenced")
            yield* until("a lane is fenced", () => store.injected.has("fenced"))
            const fencedAt = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
            yield* TestClock.adjust(10)
            assert.deepStrictEqual(yield* rest, { Accepted: 1 + size })
            yield* Fiber.join(fenced)
            const [first, ...later] = yield* hot
            assert.isBelow(first?.recordedAt ?? 0, fencedAt)
            assert.strictEqual(later.length, size)
            for (const row of later) {
              assert.isAtLeast(row.recordedAt, fencedAt, `${row.commandId} under a new writer`)
            }
          })
        )
    )
  }

  it.effect.each([false, true])(
    "does not keep its node from ending when the one before takes too long (in the later lane: %s)",
    (isFirstLaneBusy) =>
      world(
        Effect.gen(function* () {
          const { inner, store, node, first, others, hot } = yield* scene({
            predecessor: "hangs",
            isFirstLaneBusy,
            limits: { commandDeadlineMs: 300 }
          })
          const stopping = yield* Effect.forkChild(node.stop, { startImmediately: true })
          yield* TestClock.adjust(5_000)
          yield* Fiber.join(stopping)
          const outcomes = yield* Effect.forEach([first, ...others], Fiber.join)
          assert.deepStrictEqual(tally(outcomes.map(outcomeOf)), { Indeterminate: 1 + size })
          assert.deepStrictEqual(yield* invariantsOf(inner), [])
          assert.strictEqual(store.held(), 0)
          assert.include([0, 1, 1 + size], (yield* hot).length)
        })
      )
  )
})
