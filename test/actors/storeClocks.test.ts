/** A store with several clocks: nodes ask it through gateways that differ by less than the skew bound. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, type Result } from "effect"
import { TestClock } from "effect/testing"
import type { PastState } from "../../src/actors/past/TimeTravel.ts"
import type { QueryError } from "../../src/domain/Errors.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
  quiet,
  type Store,
  startNode,
  startReader
} from "../support/ledgerWorld.ts"

/** The same log through another gateway, whose clock is ahead. */
const ahead = (store: Store, aheadMs: number): Store => ({
  ...store,
  heartbeat: (writers) => Effect.map(store.heartbeat(writers), (now) => now + aheadMs)
})

const balanceOf = (answer: Result.Result<PastState, QueryError>): string =>
  answer._tag === "Failure"
    ? answer.failure._tag
    : answer.success.head.account._tag === "Absent"
      ? "absent"
      : String(answer.success.head.account.balance)

describe("a balance as of an instant", () => {
  for (const aheadMs of [0, 20, 200, 499]) {
    it.effect(`does not change when it is asked through a gateway ${aheadMs} ms ahead`, () =>
      Effect.gen(function* () {
        yield* TestClock.setTime(1_800_000_000_000)
        const store = yield* EventStore
        const old = yield* startNode("old")
        yield* fund(old, ["a"], 100n)
        yield* TestClock.adjust(1_000)
        yield* old.stop
        const reader = yield* startReader({ store: ahead(store, aheadMs) })
        const at = (instant: number) =>
          Effect.result(reader.at("a" as AccountId, { _tag: "RecordedAt", instant }))
        yield* Effect.forkChild(at((yield* Clock.currentTimeMillis) - 1))
        yield* TestClock.adjust(2)

        // A node that the reader has not seen starts, and a command of it is on its way to the store.
        const faulty = FaultyStore.over(store)
        const node = yield* startNode("new", { store: faulty.store })
        faulty.hold("commit")
        const sent = yield* Effect.forkChild(node.send(deposit("a", 1n)))
        yield* TestClock.adjust(8)
        const instant = yield* Clock.currentTimeMillis
        const asking = yield* Effect.forkChild(at(instant))
        yield* TestClock.adjust(0)
        const early = asking.pollUnsafe() === undefined ? undefined : balanceOf(yield* Fiber.join(asking))
        faulty.release()
        yield* TestClock.adjust(1)
        yield* Fiber.join(sent)
        yield* TestClock.adjust(6_000)
        const answer = early ?? balanceOf(yield* Fiber.join(asking))
        assert.strictEqual(answer, "101")
        assert.strictEqual(balanceOf(yield* at(instant)), answer)
      }).pipe(Effect.provide([memoryStores, quiet]))
    )
  }
})
