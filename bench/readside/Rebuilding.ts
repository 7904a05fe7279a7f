/** How fast events are projected live, and rebuilt, while balances are asked for. */
import { Clock, Effect, Fiber, Schedule } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { makeHistogram, recordMs, summarize } from "../../src/loadtest/Meter.ts"
import { deposit, EventWriter, openAccount, transfer } from "../../test/support/eventWriter.ts"
import { accountId } from "../../test/support/storedEvents.ts"
import { say, target, timed, whole } from "./Targets.ts"

const accounts = 10_000
/** Events that are measured at once, in many transactions. */
const chunkEvents = 20_000
const commitRows = 1_000
const readEveryMs = 5

const ids = Array.from({ length: accounts }, (_, index) => `acc-${index}`)

/** Transfers between all accounts, after `events` events. */
const commandsAfter = (events: number, count: number) =>
  Array.from({ length: count }, (_, step) => {
    const number = events + step
    const from = ids[number % accounts] ?? ""
    const to = ids[(number * 7 + 1) % accounts] ?? ""
    return from === to ? deposit(from, 1n) : transfer(from, to, 1n)
  })

/** Projects in the lanes of the projectors with the largest transactions, without a bus to wait for. */
const projectLive = Effect.fnUntraced(function* (rows: ReadonlyArray<StoredEvent>) {
  const engine = yield* ProjectionEngine
  const { partitions } = yield* LedgerConfig
  const { projectEventsMax, projectLanes } = yield* ReadSideConfig
  const lanes = Array.from({ length: projectLanes }, (_, lane) =>
    rows.filter((row) => partitionOf(row.accountId, partitions) % projectLanes === lane)
  )
  yield* Effect.forEach(
    lanes,
    (lane) =>
      Effect.gen(function* () {
        for (let start = 0; start < lane.length; start += projectEventsMax) {
          yield* engine.project(lane.slice(start, start + projectEventsMax), [])
        }
      }),
    { concurrency: projectLanes, discard: true }
  )
})

/** Asks for a balance every few milliseconds. Each must be found, whatever happens to the tables. */
const reader = Effect.fnUntraced(function* () {
  const queries = yield* Queries
  const histogram = makeHistogram()
  let index = 0
  const fiber = yield* Effect.forkScoped(
    Effect.suspend(() => {
      index = (index + 37) % accounts
      return timed(queries.balance(accountId(ids[index] ?? "")))
    }).pipe(
      Effect.map(({ ms }) => recordMs(histogram, ms)),
      Effect.repeat(Schedule.spaced(readEveryMs))
    )
  )
  return {
    histogram,
    stop: Effect.suspend(() => (fiber.pollUnsafe() ? Fiber.join(fiber) : Fiber.interrupt(fiber)))
  }
})

export const measureRebuild = Effect.fnUntraced(function* (eventsWanted: number) {
  const store = yield* EventStore
  const writer = new EventWriter("bench", (yield* Clock.currentTimeMillis) - 3_600_000)
  yield* store.registerWriter({ writerId: "bench", node: "bench", closedAt: 0 })
  let events = 0
  let liveMs = 0
  let best = 0
  const play = Effect.fnUntraced(function* (commands: Parameters<EventWriter["decide"]>[0][]) {
    const rows: Array<StoredEvent> = []
    for (let start = 0; start < commands.length; start += commitRows / 2) {
      const commit = writer.commit(...commands.slice(start, start + commitRows / 2))
      yield* store.commit(commit)
      rows.push(...commit.events)
    }
    // The writer would keep a million rows.
    writer.log.length = 0
    const { ms } = yield* timed(projectLive(rows))
    events += rows.length
    liveMs += ms
    best = Math.max(best, (rows.length * 1_000) / ms)
  })
  yield* play([...ids.map((id) => openAccount(id)), ...ids.map((id) => deposit(id, 10n ** 12n))])
  const reading = yield* reader()
  while (events < eventsWanted) yield* play(commandsAfter(events, chunkEvents / 2))
  yield* reading.stop
  const live = (events * 1_000) / liveMs
  yield* say(`${whole(events)} events: live ${whole(live)} a second, at best ${whole(best)}`)

  const during = yield* reader()
  const again = yield* timed(rebuild(books))
  yield* during.stop
  if (again.value.events !== events) {
    return yield* Effect.die(new Error(`${again.value.events} of ${events} events were rebuilt`))
  }
  const rebuilt = (events * 1_000) / again.ms
  const { p99, max } = summarize(during.histogram)
  yield* say(
    `rebuilt ${whole(rebuilt)} a second; ${whole(during.histogram.totalCount)} balances were read meanwhile, p99 ${p99.toFixed(1)} ms, at most ${max.toFixed(0)} ms`
  )
  return [
    target(
      `rebuild of ${whole(events)} events, of the sustained live projection`,
      `${(rebuilt / live).toFixed(2)} (${whole(rebuilt)}/s against ${whole(live)}/s)`,
      ">= 1",
      rebuilt >= live
    )
  ]
}, Effect.scoped)
