/** In virtual time: messages that come twice, in any order and minutes late, and such that never come; no row differs. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import type { BusMessage } from "../../src/infra/bus/BusMessage.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { Rng } from "../support/Rng.ts"
import {
  assertCaughtUp,
  assertPrefixes,
  assertVersions,
  play,
  readSideOn,
  type TestLimits,
  underAnotherId
} from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

/** A read side in memory, over a bus whose messages go through other hands first. */
const world = (hands: (real: Bus["Service"]) => Bus["Service"]["publish"], limits: TestLimits) =>
  readSideOn(
    Layer.mergeAll(
      Layer.fresh(EventStore.layerMemory),
      Layer.fresh(
        Layer.effect(
          Bus,
          Effect.map(Bus, (real) => ({ ...real, publish: hands(real) }))
        ).pipe(Layer.provide(Bus.layerMemory))
      ),
      Layer.fresh(ReadModel.layerMemory.pipe(Layer.provideMerge(ProjectionWaiters.layer)))
    ),
    limits
  )

const beginning = Date.parse("2026-03-01T00:00:00Z")
const minute = 60_000
const latestMs = 12 * minute

/** Each message is acknowledged at once, and comes twice, each time up to twelve minutes late. */
const lateTwice = (rng: Rng, inTheAir: { count: number }) => (real: Bus["Service"]) =>
  Effect.fnUntraced(function* (messages: ReadonlyArray<BusMessage>) {
    for (const message of messages) {
      // Under another id, or the bus would drop the second.
      for (const copy of [message, underAnotherId(message)]) {
        inTheAir.count++
        const arrive = Effect.andThen(
          real.publish([copy]),
          Effect.sync(() => inTheAir.count--)
        )
        yield* Effect.forkDetach(Effect.delay(arrive, rng.below(latestMs)))
      }
    }
  })

const ids = Array.from({ length: 12 }, (_, index) => `acc-${index}`)
const round = (rng: Rng): ReadonlyArray<CommandInput> =>
  Array.from({ length: 6 }, () => {
    const [from, to] = [ids[rng.below(12)] ?? "", ids[rng.below(12)] ?? ""]
    return from === to ? deposit(from, 3n) : transfer(from, to, 1n)
  })

describe("messages that are delivered twice, reordered and delayed by minutes", () => {
  for (const [name, sweepMs] of [
    ["by the bus and the log alone", 3_600_000],
    ["beside the sweep, for which all of them are lost", defaultLimits.sweepMs]
  ] as const) {
    for (const seed of [1, 2]) {
      it.effect(`leave no row different, ${name} (seed ${seed})`, () =>
        Effect.gen(function* () {
          yield* TestClock.setTime(beginning)
          const rng = new Rng(seed)
          const inTheAir = { count: 0 }
          yield* Effect.gen(function* () {
            const eventWriter = new EventWriter("writer-1", beginning)
            yield* play(eventWriter, [
              ...ids.map((id) => openAccount(id)),
              ...ids.map((id) => deposit(id, 1_000n))
            ])
            let isMeanwhile = false
            for (let step = 0; step < 40; step++) {
              eventWriter.now = Math.max(eventWriter.now, yield* Clock.currentTimeMillis)
              yield* play(eventWriter, round(rng))
              yield* TestClock.adjust(20_000)
              yield* assertPrefixes(eventWriter.log)
              isMeanwhile ||= inTheAir.count > 20
            }
            assert.isTrue(isMeanwhile, "many were under way for long")
            yield* TestClock.adjust(latestMs + minute)
            assert.strictEqual(inTheAir.count, 0, "all of them came")
            yield* assertCaughtUp(eventWriter.log)
          }).pipe(
            Effect.provide(
              world(lateTwice(rng, inTheAir), { ledger: { sweepMs }, readSide: defaultReadSideLimits })
            )
          )
        })
      )
    }
  }
})

describe("the last event of an idle account, lost on the bus", () => {
  const idle = accountId("idle")
  const neighbour = ids.find((id) => partitionOf(accountId(id), 16) === partitionOf(idle, 16)) ?? ""
  const { sweepGraceMs, lostAfterMs, lagBudgetMs } = defaultReadSideLimits
  /** What is younger, or not yet taken for lost, is the bus's. */
  const soonest = Math.max(sweepGraceMs, lostAfterMs)

  const tick = 50

  for (const isBusy of [false, true]) {
    it.effect(
      `is there within the interval of the sweep, while its partition is ${isBusy ? "busy" : "silent"}`,
      () =>
        Effect.gen(function* () {
          yield* TestClock.setTime(beginning)
          let loses = false
          const hands = (real: Bus["Service"]) => (messages: ReadonlyArray<BusMessage>) =>
            loses ? Effect.void : real.publish(messages)
          yield* Effect.gen(function* () {
            const readModel = yield* ReadModel
            const eventWriter = new EventWriter("writer-1", beginning)
            yield* play(eventWriter, [openAccount("idle"), openAccount(neighbour)])
            yield* TestClock.adjust(lagBudgetMs)
            yield* assertVersions(eventWriter.log)
            const waits: Array<number> = []
            // At all places between two sweeps.
            for (let phase = 0; phase < 8; phase++) {
              eventWriter.now = Math.max(eventWriter.now, yield* Clock.currentTimeMillis)
              loses = true
              yield* play(eventWriter, [deposit("idle", 1n)])
              yield* TestClock.adjust(tick)
              loses = false
              const { version } = eventWriter.headOf(idle).account
              let waited = tick
              while ((yield* readModel.versions([idle])).get(idle) !== version) {
                assert.isAtMost(waited, defaultLimits.sweepMs)
                eventWriter.now = Math.max(eventWriter.now, yield* Clock.currentTimeMillis)
                if (isBusy && waited % 200 === 0) yield* play(eventWriter, [deposit(neighbour, 1n)])
                yield* TestClock.adjust(tick)
                waited += tick
              }
              waits.push(waited)
              yield* TestClock.adjust(4_000 + 270 * phase)
            }
            assert.isAtLeast(Math.min(...waits), soonest, "the bus had not brought it")
            yield* assertCaughtUp(eventWriter.log)
          }).pipe(
            Effect.provide(
              world(hands, {
                ledger: { partitions: 16, sweepMs: defaultLimits.sweepMs },
                readSide: { ...defaultReadSideLimits, orphansMs: 3_600_000 }
              })
            )
          )
        })
    )
  }
})
