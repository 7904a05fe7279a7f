/** Questions about "now", and about an instant that is just over, where the machine's clock is off. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import * as ExpiryNotices from "../../src/actors/notices/ExpiryNotices.ts"
import * as AnswersByStore from "../../src/actors/past/AnswersByStore.ts"
import { ClosedTimestamps } from "../../src/actors/past/ClosedTimestamps.ts"
import { Sums } from "../../src/actors/past/Sums.ts"
import type { Command } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { AnswerClock } from "../../src/infra/readmodel/AnswerClock.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { batchOf } from "../infra/readModelContract.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { fund, memoryStores, quiet, startNode, startReader } from "../support/ledgerWorld.ts"
import { settable, storeBy } from "../support/settableClock.ts"
import { accountId } from "../support/storedEvents.ts"
import { until } from "../support/waiting.ts"

const minuteMs = 60_000
const hourMs = 60 * minuteMs

/** Stores whose clock is right, and a bus. */
const outsideBy = (truth: Clock.Clock) =>
  Layer.mergeAll(
    Layer.effect(
      EventStore,
      Effect.map(EventStore, (store) => storeBy(truth, store))
    ).pipe(Layer.provide(EventStore.layerMemory)),
    Snapshots.layerMemory,
    Bus.layerMemory,
    ReadModel.layerMemory
  ).pipe(Layer.provideMerge(ProjectionWaiters.layer), Layer.fresh)

describe("a sum as of now", () => {
  it.live.each([
    { what: "an hour ahead", offMs: hourMs },
    { what: "a little ahead", offMs: 300 }
  ])("is answered by a node whose clock is $what, with what the node has committed", ({ offMs }) =>
    Effect.gen(function* () {
      const truth = yield* Clock.Clock
      const { clock, set } = settable(truth)
      yield* Effect.gen(function* () {
        const ledger = yield* Ledger
        yield* ledger.dispatch(openAccount("a"))
        yield* ledger.dispatch(deposit("a", 1n))
        set(offMs)
        // One that was recorded by the clock as it is now, while that is near enough.
        const last = offMs < 500 ? 4n : 0n
        if (last > 0n) yield* ledger.dispatch(deposit("a", last))
        const { knownAt, sums } = yield* ledger.sum("a")
        assert.deepStrictEqual(
          sums.map(({ balance }) => balance),
          [1n + last]
        )
        assert.isBelow(Math.abs(knownAt - truth.currentTimeMillisUnsafe()), minuteMs)
      }).pipe(
        Effect.provide(LedgerNode.over("node", outsideBy(truth))),
        Effect.provide(quiet),
        Effect.provideService(Clock.Clock, clock)
      )
    })
  )

  it.live("is no older than the question where the clock of who answers is behind", () =>
    Effect.gen(function* () {
      const truth = yield* Clock.Clock
      const { clock, set } = settable(truth)
      set(-10 * minuteMs)
      const outside = yield* Layer.build(outsideBy(truth))
      const writer = new EventWriter("writer-1", truth.currentTimeMillisUnsafe() - minuteMs)
      writer.commit(openAccount("a"), deposit("a", 5n))
      yield* Context.get(outside, ReadModel).apply(batchOf(writer.log))
      const sums = Sums.layer.pipe(
        Layer.provide(ClosedTimestamps.layer),
        Layer.provide(Layer.succeedContext(outside))
      )
      const askedAt = truth.currentTimeMillisUnsafe()
      const found = yield* Effect.flatMap(Sums, ({ sum }) => sum("a")).pipe(
        Effect.provide(sums),
        Effect.provideService(Clock.Clock, clock)
      )
      assert.isAtLeast(found.knownAt, askedAt)
      assert.deepStrictEqual(
        found.sums.map(({ balance }) => balance),
        [5n]
      )
    })
  )
})

it.effect("an instant that is over is answered where the clock of who answers is behind", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(1_800_000_000_000)
    const truth = yield* Clock.Clock
    const { clock, set } = settable(truth)
    set(-10 * minuteMs)
    const store = yield* EventStore
    yield* fund(yield* startNode("node"), ["a"], 5n)
    const reader = yield* startReader({ store: storeBy(truth, store) }).pipe(
      Effect.provideService(Clock.Clock, clock)
    )
    yield* TestClock.adjust(100)
    const ask = (agoMs: number) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.result(reader.at(accountId("a"), { _tag: "RecordedAt", instant: now - agoMs }))
      )
    const asked = yield* Effect.forkChild(ask(0))
    yield* TestClock.adjust(4_000)
    assert.isTrue(Result.isSuccess(yield* Fiber.join(asked)))
    // A day to come is not waited for.
    const late = yield* Effect.forkChild(ask(-24 * hourMs))
    yield* TestClock.adjust(0)
    const answer = yield* Fiber.join(late)
    assert.strictEqual(Result.isFailure(answer) && answer.failure._tag, "NotYetVisible")
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.live(
  "notices are written of the holds that have expired, though the machine's clock is an hour ahead",
  () =>
    Effect.gen(function* () {
      const truth = yield* Clock.Clock
      const { clock, set } = settable(truth)
      const outside = yield* Layer.build(outsideBy(truth))
      const now = truth.currentTimeMillisUnsafe()
      const writer = new EventWriter("writer-1", now - minuteMs)
      const place = (commandId: string, expiresAt: number) =>
        ({ _tag: "PlaceHold", account: "a", amount: 1n, commandId, expiresAt }) as const
      writer.commit(
        openAccount("a"),
        deposit("a", 5n),
        place("over", now - 5_000),
        place("open", now + hourMs / 2)
      )
      yield* Context.get(outside, ReadModel).apply(batchOf(writer.log))
      set(hourMs)
      const sent: Array<Command> = []
      const dispatcher = Layer.effect(
        Dispatcher,
        Effect.map(Dispatcher, (real) => ({
          ...real,
          dispatchMany: (commands: ReadonlyArray<Command>) =>
            Effect.sync(() => {
              sent.push(...commands)
              return []
            })
        }))
      ).pipe(Layer.provide(LedgerNode.writeSide("node")))
      yield* Effect.gen(function* () {
        yield* until("a notice is written", () => sent.length > 0)
        assert.deepStrictEqual(new Set(sent.map(({ commandId }) => commandId)), new Set(["~x~a~over"]))
      }).pipe(
        Effect.provide(
          ExpiryNotices.layer.pipe(
            Layer.provide(ClosedTimestamps.layer),
            Layer.provide(dispatcher),
            Layer.provide(Layer.succeedContext(outside)),
            Layer.provide(Layer.succeed(AnswerClock, Effect.sync(truth.currentTimeMillisUnsafe))),
            Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, noticeMs: 10 }))
          )
        ),
        Effect.provideService(Clock.Clock, clock)
      )
    })
)

it.effect(
  "a node of the read side alone answers of an instant within the skew bound of the event store's",
  () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_800_000_000_000)
      const truth = yield* Clock.Clock
      const { clock, set } = settable(truth)
      const store = storeBy(truth, yield* EventStore)
      // Also where it is ahead from the beginning on.
      set(hourMs)
      const built = yield* Layer.build(
        AnswersByStore.layer.pipe(Layer.provide(Layer.succeed(EventStore, store)))
      ).pipe(Effect.provideService(Clock.Clock, clock))
      const aheadMs = Effect.map(
        Context.get(built, AnswerClock),
        (now) => now - truth.currentTimeMillisUnsafe()
      )
      assert.strictEqual(yield* aheadMs, 500)
      for (let minutes = 0; minutes < 10; minutes++) {
        yield* TestClock.adjust(minuteMs)
        assert.strictEqual(yield* aheadMs, 500)
      }
      set(0)
      yield* TestClock.adjust(minuteMs)
      assert.strictEqual(yield* aheadMs, 0)
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a node of the read side alone asks on for the event store's clock behind a bug", () =>
  Effect.gen(function* () {
    const inner = yield* EventStore
    let [isBroken, asked] = [false, 0]
    const heartbeat: (typeof inner)["heartbeat"] = (writers) =>
      Effect.suspend(() => {
        asked++
        return isBroken ? Effect.die(new Error("a bug")) : inner.heartbeat(writers)
      })
    const store = Layer.succeed(EventStore, { ...inner, heartbeat })
    yield* Layer.build(AnswersByStore.layer.pipe(Layer.provide(store)))
    isBroken = true
    yield* TestClock.adjust(minuteMs)
    isBroken = false
    const before = asked
    yield* TestClock.adjust(minuteMs)
    assert.isAbove(asked, before)
  }).pipe(Effect.provide([memoryStores, quiet]))
)
