/** The events of an account that is followed: from the log, and once they are caught up with, from what is read for all followers. */
import { assert, describe, it, layer } from "@effect/vitest"
import { type Array as Arr, Effect, Fiber, Layer, Queue, Result, Stream } from "effect"
import { AccountPages, AccountWatch, accountEvents } from "../../src/AccountEvents.ts"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { handOnNothing, openSource } from "../../src/actors/subscriptions/ItemSource.ts"
import { SharedCommit, type SharedEvent } from "../../src/actors/subscriptions/SharedEvent.ts"
import { type AccountTail, Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { entryOf, type StoredEvent } from "../../src/domain/StoredEvent.ts"
import type { HistoryEntry } from "../../src/domain/Views.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { memoryLedger, quiet } from "../support/callers.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { freshServices } from "../support/freshServices.ts"
import { eventually, limitsOf } from "../support/readSides.ts"

const account = "one"
const aPageEach = Effect.succeed({ eventsMaxUnsafe: () => 200, setBehindUnsafe: () => {} })

/** A log of one account that counts how often it is read. */
const makeLog = (deposits: number) => {
  const writer = new EventWriter("w")
  writer.decide(openAccount(account))
  const add = (): StoredEvent => writer.decide(deposit(account, 1n))[0] ?? assert.fail("no event")
  for (let nth = 0; nth < deposits; nth++) add()
  const reads: Array<number> = []
  return {
    writer,
    add,
    reads,
    history: (_: string, { after = 0, limit = 1_000 }: Parameters<Ledger["Service"]["history"]>[1] = {}) =>
      Effect.sync(() => {
        reads.push(after)
        return writer.log.slice(after, after + limit).map((row) => Result.getOrThrow(entryOf(row)))
      })
  }
}

const sharedOf = (row: StoredEvent): SharedEvent =>
  new SharedCommit({ writerId: "w", seq: row.version, events: [row] }, "", "").events[0] ??
  assert.fail("no event")

/** Follows the log from a version on, and is given what a node would have read. */
const follow = Effect.fnUntraced(function* (log: ReturnType<typeof makeLog>, after: number) {
  const given = yield* Queue.unbounded<ReadonlyArray<SharedEvent> | undefined>()
  const watched = Effect.succeed(Effect.succeed({ next: Queue.take(given), handOn: handOnNothing }))
  const entries = yield* Queue.unbounded<HistoryEntry>()
  yield* accountEvents(
    { history: log.history },
    { account, after, followMs: 1 },
    () => watched,
    aPageEach
  ).pipe(
    Stream.runForEach((entry) => Queue.offer(entries, entry)),
    Effect.forkScoped
  )
  return {
    give: (events: ReadonlyArray<SharedEvent> | undefined) => Queue.offer(given, events),
    take: (count: number) =>
      Effect.map(Queue.takeN(entries, count), (taken) => taken.map(({ version }) => version))
  }
})

describe("the events of a followed account", () => {
  it.live("are taken as they were read for all, each once", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const log = makeLog(2)
        const { give, take } = yield* follow(log, 0)
        assert.deepEqual(yield* take(3), [1, 2, 3])
        const [third, fourth] = [log.writer.log[2] ?? assert.fail(), log.add()]
        yield* give([sharedOf(third), sharedOf(fourth)])
        yield* give([])
        yield* give([sharedOf(fourth), sharedOf(log.add())])
        assert.deepEqual(yield* take(2), [4, 5])
        assert.deepEqual(log.reads, [0])
      })
    )
  )

  it.live("are read from the log where there is a gap, and where what was read for all is gone", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const log = makeLog(2)
        const { give, take } = yield* follow(log, 0)
        yield* take(3)
        log.add()
        yield* give([sharedOf(log.add())])
        assert.deepEqual(yield* take(2), [4, 5])
        log.add()
        yield* give(undefined)
        assert.deepEqual(yield* take(1), [6])
        assert.deepEqual(log.reads, [0, 3, 5])
      })
    )
  )

  it.live("are read from the log where one does not follow upon the last by its hash", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const log = makeLog(0)
        const { give, take } = yield* follow(log, 0)
        yield* take(1)
        const row = log.add()
        yield* give([sharedOf({ ...row, payload: row.payload.replace('"1"', '"2"') })])
        yield* take(1)
        assert.deepEqual(log.reads, [0, 1])
      })
    )
  )

  it.live(
    "are handed on where each follows upon the last, and read from the log after one that does not",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const log = makeLog(0)
          let give = (_: Arr.NonEmptyReadonlyArray<SharedEvent>): boolean => assert.fail("nobody takes it")
          const handOn: AccountTail["handOn"] = (take) =>
            Effect.callback((resume) => {
              give = (events) => {
                const goesOn = take(events)
                if (!goesOn) resume(Effect.void)
                return goesOn
              }
            })
          const watched = Effect.succeed(Effect.succeed({ next: Effect.never, handOn }))
          const asked = { account, after: 0, followMs: 1 }
          const source = yield* openSource(
            accountEvents({ history: log.history }, asked, () => watched, aPageEach)
          )
          const versionsOf = (entries: ReadonlyArray<HistoryEntry>) => entries.map(({ version }) => version)
          assert.deepEqual(versionsOf(yield* source.next), [1])
          const taken: Array<ReadonlyArray<number>> = []
          const handing = yield* Effect.forkChild(
            source.handOn((entries) => {
              taken.push(versionsOf(entries))
              return true
            }),
            { startImmediately: true }
          )
          const second = sharedOf(log.add())
          assert.isTrue(give([second]))
          assert.isTrue(give([second]), "it was had before")
          const [third, fourth] = [log.add(), log.add()]
          assert.isTrue(give([second, sharedOf(third), sharedOf(fourth)]))
          assert.deepEqual(taken, [[2], [3, 4]])
          log.add()
          assert.isFalse(give([sharedOf(log.add())]), "there is a gap")
          yield* Fiber.join(handing)
          assert.deepEqual(versionsOf(yield* source.next), [5, 6])
          assert.deepEqual(log.reads, [0, 4])
        })
      )
  )

  it.live("are linked with the last that its reader has, which is read from the log", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const log = makeLog(2)
        const { give, take } = yield* follow(log, 3)
        yield* eventually(Effect.sync(() => assert.deepEqual(log.reads, [2])))
        yield* give([sharedOf(log.add())])
        assert.deepEqual(yield* take(1), [4])
        yield* give([sharedOf(log.add())])
        assert.deepEqual(yield* take(1), [5])
        assert.deepEqual(log.reads, [2])
      })
    )
  )

  it.live("are refused to a reader who has seen more of them than there are", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const log = makeLog(2)
        const watched = Effect.succeed(Effect.succeed({ next: Effect.never, handOn: handOnNothing }))
        const asked = { account, after: 4, followMs: 1 }
        const refused = yield* Effect.flip(
          Stream.runDrain(accountEvents({ history: log.history }, asked, () => watched, aPageEach))
        )
        assert.deepInclude(refused, { _tag: "InvalidCommand" })
        assert.include(refused.message, "no version 4")
      })
    )
  )
})

/** A node that bounds what readers who are behind keep together to 400 events. */
const bounding = Subscriptions.layer.pipe(
  Layer.provide(Layer.mergeAll(EventStore.layerMemory, CommitFeed.layer)),
  Layer.provide(limitsOf({ readSide: { subscribeUntakenEventsMax: 400 } })),
  Layer.fresh
)

describe("the events of accounts whose readers are behind", () => {
  it.live(
    "are read in smaller pages the more of them there are, and in whole ones once the others have caught up",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { joinPaged } = yield* Subscriptions
          const log = makeLog(1_000)
          const limits: Array<number> = []
          const ledger = {
            history: (...asked: Parameters<Ledger["Service"]["history"]>) => {
              limits.push(asked[1]?.limit ?? 0)
              return log.history(...asked)
            }
          }
          const never = () =>
            Effect.succeed(Effect.succeed({ next: Effect.never, handOn: () => Effect.void }))
          const begin = (followMs: number | undefined, after: number) =>
            Effect.gen(function* () {
              const page = yield* Queue.bounded<ReadonlyArray<HistoryEntry>>(1)
              const asked = { account, after, followMs }
              yield* accountEvents(ledger, asked, never, joinPaged).pipe(
                Stream.runForEachArray((entries) => Queue.offer(page, entries)),
                Effect.forkScoped
              )
              return Effect.map(Queue.take(page), ({ length }) => length)
            })
          // Those that follow and have everything are not counted.
          for (let nth = 0; nth < 50; nth++) yield* yield* begin(1, 990)
          const behind = yield* Effect.forEach(Array.from({ length: 10 }), (_, nth) =>
            begin(nth % 2 === 0 ? 1 : undefined, 0)
          )
          yield* eventually(Effect.sync(() => assert.isAtLeast(limits.length, 60)))
          limits.length = 0
          for (const take of behind) for (let nth = 0; nth < 3; nth++) yield* take
          for (const limit of limits) assert.strictEqual(limit, 40)
          assert.isAtLeast(limits.length, 10)
        }).pipe(Effect.provide(bounding))
      )
  )
})

layer(memoryLedger, { excludeTestServices: true })("readers that follow accounts of a node", (it) => {
  it.effect("do not ask the log for what they have caught up with", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ledger = yield* Ledger
        const watch = yield* AccountWatch
        yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
        let reads = 0
        const counted = {
          history: (...asked: Parameters<typeof ledger.history>) =>
            Effect.suspend(() => {
              reads++
              return ledger.history(...asked)
            })
        }
        const seen = Array.from({ length: 5 }, () => [] as HistoryEntry[])
        const fibers = yield* Effect.forEach(seen, (entries) =>
          accountEvents(counted, { account, after: 0, followMs: 5 }, watch, aPageEach).pipe(
            Stream.runForEach((entry) => Effect.sync(() => entries.push(entry))),
            Effect.forkChild
          )
        )
        let deposits = 0
        const readsOf = Effect.fnUntraced(function* (count: number) {
          const before = reads
          for (let nth = 0; nth < count; nth++) {
            yield* ledger.dispatch({ _tag: "Deposit", account, amount: 1n })
            deposits++
            yield* eventually(
              Effect.sync(() => {
                for (const entries of seen) assert.strictEqual(entries.length, deposits + 1)
              })
            )
          }
          return reads - before
        })
        // Until the reader for all runs, and each of them has its seat.
        yield* Effect.repeat(readsOf(1), { until: (count) => count === 0 })
        assert.strictEqual(yield* readsOf(20), 0)
        const all = yield* ledger.history(account)
        for (const entries of seen) assert.deepEqual(entries, all)
        yield* Fiber.interruptAll(fibers)
      })
    )
  )
})

it.live("a node of the read side brings what accounts get, as every other node does", () =>
  Effect.gen(function* () {
    const services = yield* freshServices
    yield* Effect.gen(function* () {
      const { joinPaged, watchAccount } = yield* Subscriptions
      assert.strictEqual(yield* AccountWatch, watchAccount)
      assert.strictEqual(yield* AccountPages, joinPaged)
    }).pipe(Effect.provide(LedgerNode.layerReadSide(services, { readSide: "here" })))
  }).pipe(Effect.scoped, Effect.provide(quiet))
)
