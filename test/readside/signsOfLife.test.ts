/**
 * The signs of life of the read side's thread: an idle node pays for each of them around the clock, in both threads. And what it tells
 * queries of that wait.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as WorkerRunner from "effect/workers/WorkerRunner"
import * as ReadSide from "../../src/actors/projections/ReadSide.ts"
import * as ReadSideRunner from "../../src/actors/thread/ReadSideRunner.ts"
import type { FromReadSide, ReadSideBeat, ToReadSide } from "../../src/actors/thread/ThreadMessages.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { Position } from "../../src/domain/Receipt.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { encodeCommits } from "../../src/infra/bus/BusMessage.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ProjectionSql, ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { EventWriter, openAccount } from "../support/eventWriter.ts"
import { append } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

/** Nothing asks these: the read model is in memory. */
const noSql = Layer.mergeAll(
  Layer.succeed(ReadModelSql, {} as ReadModelSql["Service"]),
  Layer.succeed(ProjectionSql, {} as ProjectionSql["Service"])
)

/** Runs a read side as its thread does, in the scope; the other thread is the test. */
const start = Effect.gen(function* () {
  const beats: Array<ReadSideBeat> = []
  const reached: Array<Position> = []
  const singletons: Array<string> = []
  let send: (message: ToReadSide) => Effect.Effect<void> = () => Effect.void
  const platform = {
    start: () =>
      Effect.succeed({
        run: (handler: (port: number, message: ToReadSide) => Effect.Effect<void> | void) => {
          send = (message) => handler(0, message) ?? Effect.void
          return Effect.never
        },
        send: () => Effect.void,
        sendUnsafe: (_: number, message: FromReadSide) => {
          if (message._tag === "Beat") beats.push(message.beat)
          if (message._tag === "Reached") reached.push(...message.positions)
          if (message._tag === "Run") singletons.push(message.name)
        }
      })
  } as WorkerRunner.WorkerRunnerPlatform["Service"] // of these messages alone
  const store = yield* Layer.build(Layer.fresh(EventStore.layerMemory))
  const outside = Layer.mergeAll(Bus.layerMemory, Layer.succeedContext(store), ReadModel.layerMemory, noSql)
  yield* ReadSideRunner.run(outside, ReadSide.layer, Layer.empty).pipe(
    Effect.provideService(WorkerRunner.WorkerRunnerPlatform, platform),
    Effect.forkScoped
  )
  /** The signs of life of so many milliseconds. */
  const within = (ms: number) =>
    Effect.suspend(() => {
      beats.length = 0
      return Effect.as(TestClock.adjust(ms), beats)
    })
  /** The parts of the read side that one node of a cluster runs, by name. */
  const ownAll = Effect.suspend(() =>
    Effect.forEach(singletons, (name) => send({ _tag: "Own", name }), { discard: true })
  )
  return { within, send: (message: ToReadSide) => send(message), store, reached, ownAll }
})

it.effect("come half as often while nothing happens, and each says only what is new", () =>
  Effect.gen(function* () {
    const { within } = yield* start
    yield* within(60_000)
    const idle = yield* within(60_000)
    assert.strictEqual(idle.length, 120)
    assert.isTrue(idle.every(({ nextMs }) => nextMs === 500))
    // Each sweep says when it was, and up to when all is there.
    const sweeps = 60_000 / (defaultLimits.sweepMs / 4 + 1_400)
    assert.isAtMost(idle.filter(({ status }) => status !== undefined).length, sweeps + 1)
  }).pipe(Effect.scoped)
)

it.effect("come four times a second from the next one on when there is something to do", () =>
  Effect.gen(function* () {
    const { within, send } = yield* start
    yield* within(60_000)
    yield* send({ _tag: "Await", positions: [{ account: "a" as AccountId, version: 1 }] })
    const [first, ...busy] = yield* within(1_250)
    assert.strictEqual(first?.nextMs, 250)
    assert.strictEqual(busy.length, 3)
    assert.strictEqual((yield* within(60_000)).at(-1)?.nextMs, 500)
  }).pipe(Effect.scoped)
)

it.effect(
  "a query that begins to wait for what was just written is woken, and none that did not find it later",
  () =>
    Effect.gen(function* () {
      const { within, send, store, reached, ownAll } = yield* start
      yield* within(1_000)
      yield* ownAll
      const position = { account: accountId("a"), version: 1 }
      const wait = Effect.suspend(() => send({ _tag: "Await", positions: [position] }))
      yield* wait
      const commit = new EventWriter("w1").commit(openAccount("a"))
      yield* Effect.provide(append(commit), store)
      yield* send({ _tag: "Commits", commits: encodeCommits([commit]), missed: [] })
      yield* within(100)
      assert.deepStrictEqual(reached, [position])
      yield* wait
      yield* within(1)
      assert.deepStrictEqual(reached, [position, position])
      // It looked into the read model, which was lost meanwhile: a wait that ended here would show it an older balance.
      yield* within(10_000)
      yield* wait
      yield* within(10_000)
      assert.deepStrictEqual(reached, [position, position])
    }).pipe(Effect.scoped)
)
