/** The signs of life of the read side's thread: an idle node pays for each of them around the clock, in both threads. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as WorkerRunner from "effect/workers/WorkerRunner"
import * as ReadSide from "../../src/actors/projections/ReadSide.ts"
import * as ReadSideRunner from "../../src/actors/thread/ReadSideRunner.ts"
import type { FromReadSide, ReadSideBeat, ToReadSide } from "../../src/actors/thread/ThreadMessages.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ProjectionSql, ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"

/** Nothing asks these: the read model is in memory. */
const noSql = Layer.mergeAll(
  Layer.succeed(ReadModelSql, {} as ReadModelSql["Service"]),
  Layer.succeed(ProjectionSql, {} as ProjectionSql["Service"])
)
const outside = Layer.mergeAll(Bus.layerMemory, EventStore.layerMemory, ReadModel.layerMemory, noSql)

/** Runs a read side as its thread does, in the scope; the other thread is the test. */
const start = Effect.gen(function* () {
  const beats: Array<ReadSideBeat> = []
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
        }
      })
  } as WorkerRunner.WorkerRunnerPlatform["Service"] // of these messages alone
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
  return { within, send: (message: ToReadSide) => send(message) }
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
