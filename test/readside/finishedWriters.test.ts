/**
 * Finished writers: they are numbered, stand in no listing any more, and what they wrote is still found by every
 * reader. On every event store, with the relay, the reconciler and subscriptions above.
 */
import { assert, describe, inject, it } from "@effect/vitest"
import { Clock, Effect, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { KnownWriters } from "../../src/actors/projections/KnownWriters.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { SubscriptionCursor } from "../../src/actors/subscriptions/SubscriptionCursor.ts"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { everyTail } from "../../src/infra/eventstore/EveryTail.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel, sweptFinished } from "../../src/infra/readmodel/ReadModel.ts"
import { TestDatabase, testClient } from "../support/databases.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { invariantsOf } from "../support/invariants.ts"
import { append, assertCaughtUp, eventually, limitsOf, readSideOn } from "../support/readSides.ts"

const storeOn = (url: string) =>
  EventStore.layer.pipe(Layer.provide(testClient), Layer.provide(TestDatabase.eventStore(url)))

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL
const stores = {
  memory: EventStore.layerMemory,
  PostgreSQL: storeOn(inject("postgresUrl")),
  ...(cockroachUrl === undefined ? {} : { CockroachDB: storeOn(cockroachUrl) })
}

/** One life of a node: one writer with some commits on one account, fenced at its end. */
const liveAndDie = Effect.fnUntraced(function* (history: EventWriter, writerId: string, commits: number) {
  const store = yield* EventStore
  history.now = Math.max(history.now, yield* Clock.currentTimeMillis)
  const life = history.fork(writerId)
  for (let nth = 0; nth < commits; nth++) {
    const isNew = history.log.length + nth === 0
    yield* append(life.commit(isNew ? openAccount("one") : deposit("one", 1n)))
  }
  history.log.push(...life.log)
  history.now = life.now
  for (const [account, head] of life.heads) history.heads.set(account, head)
  return yield* store.fenceWriter(writerId)
})

const publishAll = Effect.gen(function* () {
  const store = yield* EventStore
  const writers = yield* store.listWriters
  yield* store.moveRelayCursors(new Map(writers.map((row) => [row.writerId, row.lastSeq])))
})

const now = { silentMs: 0, limit: 100 }

for (const [name, store] of Object.entries(stores)) {
  describe(`finished writers on ${name}`, () => {
    it.live("leave the listing once they are fenced, published and silent", () =>
      Effect.gen(function* () {
        const log = yield* EventStore
        const history = new EventWriter()
        const fences = new Map<string, number>()
        for (const id of ["w-1", "w-2", "w-3"]) fences.set(id, yield* liveAndDie(history, id, 2))
        yield* append(history.fork("w-live").commit(deposit("one", 1n)))
        assert.strictEqual(yield* log.lastFinished, 0)
        assert.strictEqual(yield* log.finishWriters(now), 0, "nothing is published")
        yield* log.moveRelayCursors(new Map([["w-1", 2]]))
        assert.strictEqual(yield* log.finishWriters(now), 0, "the fence is not passed")
        yield* publishAll
        yield* Effect.sleep("5 millis")
        assert.strictEqual(yield* log.finishWriters({ silentMs: 3_600_000, limit: 100 }), 0)
        assert.strictEqual(yield* log.finishWriters({ silentMs: 0, limit: 2 }), 2)
        assert.strictEqual(yield* log.finishWriters(now), 1)
        assert.strictEqual(yield* log.finishWriters(now), 0)
        assert.strictEqual(yield* log.lastFinished, 3)
        assert.deepStrictEqual(
          (yield* log.listWriters).map(({ writerId }) => writerId),
          ["w-live"]
        )
        assert.deepStrictEqual([...(yield* log.relayCursors).keys()], ["w-live"])
        const all = yield* log.finishedWriters({ above: 0, upTo: 3, limit: 100 })
        assert.deepStrictEqual(
          all.map(({ ordinal, writerId, lastSeq }) => [ordinal, writerId, lastSeq]),
          [...fences].map(([writerId, seq], index) => [index + 1, writerId, seq])
        )
        assert.deepStrictEqual(yield* log.finishedWriters({ above: 1, upTo: 2, limit: 100 }), all.slice(1, 2))
        assert.deepStrictEqual(yield* log.finishedWriters({ above: 1, upTo: 3, limit: 1 }), all.slice(1, 2))
        assert.deepStrictEqual(
          yield* log.registeredWriters(["w-1", "w-live", "of another ledger"]),
          new Set(["w-1", "w-live"])
        )
        assert.lengthOf(yield* everyTail(log), 4)
        assert.deepStrictEqual(yield* invariantsOf(log), [])
      }).pipe(Effect.provide(Layer.fresh(store)))
    )

    it.live("are numbered once when several nodes find them", () =>
      Effect.gen(function* () {
        const log = yield* EventStore
        const history = new EventWriter()
        for (let nth = 0; nth < 30; nth++) yield* liveAndDie(history, `w-${nth}`, 1)
        yield* publishAll
        yield* Effect.sleep("5 millis")
        const find = log.finishWriters({ silentMs: 0, limit: 4 }).pipe(Effect.option)
        // Of those that look at once one may find some, and all others none.
        const node = Effect.repeat(Effect.andThen(find, log.lastFinished), {
          until: (found) => found >= 30,
          times: 100
        })
        yield* Effect.all(
          Array.from({ length: 6 }, () => node),
          { concurrency: 6, discard: true }
        )
        assert.strictEqual(yield* log.lastFinished, 30)
        const all = yield* log.finishedWriters({ above: 0, upTo: 30, limit: 100 })
        assert.deepStrictEqual(
          all.map(({ ordinal }) => ordinal),
          Array.from({ length: 30 }, (_, index) => index + 1)
        )
        assert.strictEqual(new Set(all.map(({ writerId }) => writerId)).size, 30)
      }).pipe(Effect.provide(Layer.fresh(store)))
    )

    it.live("drop out of the cursor of a subscription that delivered them", () =>
      Effect.gen(function* () {
        const log = yield* EventStore
        const history = new EventWriter()
        for (let nth = 0; nth < 40; nth++) {
          yield* liveAndDie(history, `life-${String((nth * 7) % 40).padStart(2, "0")}`, 3)
          if (nth === 25) {
            yield* publishAll
            yield* Effect.sleep("5 millis")
            yield* log.finishWriters(now)
          }
        }
        const { subscribe } = yield* Subscriptions
        const read = (after: string | undefined, count: number) =>
          Stream.runCollect(Stream.take(subscribe({ after }), count)).pipe(
            Effect.map((events) => [...events]),
            Effect.timeout("60 seconds")
          )
        const all = yield* read(undefined, history.log.length)
        assert.deepStrictEqual(
          all.map(({ version }) => version),
          history.log.map(({ version }) => version)
        )
        const middle = all[60]
        const rest = yield* read(middle?.cursor, history.log.length - 61)
        assert.deepStrictEqual(
          rest.map(({ version }) => version),
          history.log.slice(61).map(({ version }) => version)
        )
        yield* publishAll
        yield* Effect.sleep("5 millis")
        while ((yield* log.finishWriters(now)) > 0);
        yield* append(history.fork("life-last").commit(deposit("one", 1n)))
        const [last] = yield* read(rest.at(-1)?.cursor, 1)
        yield* append(history.fork("life-after").commit(openAccount("two")))
        const [after] = yield* read(last?.cursor, 1)
        assert.isAtMost(after?.cursor.length ?? 0, 100)
        // A cursor of the first format names every writer.
        const old = Object.fromEntries((yield* everyTail(log)).map((one) => [one.writerId, one.lastSeq]))
        const oldCursor = Buffer.from(JSON.stringify({ ...old, "life-after": 0 })).toString("base64url")
        const [again] = yield* read(oldCursor, 1)
        assert.strictEqual(again?.account, "two")
        assert.isAtMost(again?.cursor.length ?? 0, 150)
      }).pipe(
        Effect.provide(
          Layer.fresh(
            Subscriptions.layer.pipe(
              Layer.provideMerge(Layer.mergeAll(store, CommitFeed.layer)),
              Layer.provide(limitsOf({ readSide: { subscribePollMs: 10, subscribeCommitsMax: 2 } }))
            )
          )
        )
      )
    )

    it.live("lose nothing of their last commits for a subscription that is resumed within one", () =>
      Effect.gen(function* () {
        const log = yield* EventStore
        const history = new EventWriter()
        for (const id of ["life-0", "life-1", "life-2"]) {
          const life = history.fork(id)
          yield* append(life.commit(openAccount(`${id}-a`), openAccount(`${id}-b`), openAccount(`${id}-c`)))
          history.log.push(...life.log)
          yield* log.fenceWriter(id)
        }
        yield* publishAll
        yield* Effect.sleep("5 millis")
        assert.strictEqual(yield* log.finishWriters(now), 3)
        const { subscribe } = yield* Subscriptions
        const read = (after: string | undefined, count: number) =>
          Stream.runCollect(Stream.take(subscribe({ after }), count)).pipe(
            Effect.map((events) => [...events]),
            Effect.timeoutOrElse({ duration: "60 seconds", orElse: () => Effect.die("events are missing") })
          )
        const all = yield* read(undefined, 9)
        for (const [index, { cursor }] of all.entries()) {
          // Within a commit its cursors stand before it: all of it comes again.
          const first = index % 3 === 2 ? index + 1 : index - (index % 3)
          const rest = yield* read(cursor, 9 - first)
          assert.deepStrictEqual(
            rest.map(({ account }) => account),
            all.slice(first).map(({ account }) => account),
            `after event ${index}`
          )
        }
      }).pipe(
        Effect.provide(
          Layer.fresh(
            Subscriptions.layer.pipe(
              Layer.provideMerge(Layer.mergeAll(store, CommitFeed.layer)),
              Layer.provide(limitsOf({ readSide: { subscribePollMs: 10 } }))
            )
          )
        )
      )
    )
  })
}

describe("a cursor of a log that was restored to an earlier state since", () => {
  it.live("passes over nothing that the log got after that", () =>
    Effect.gen(function* () {
      const log = yield* EventStore
      const history = new EventWriter()
      yield* liveAndDie(history, "before", 2)
      const lost = new SubscriptionCursor(40, [43], [["before", 7]]).print()
      const { follow, subscribe } = yield* Subscriptions
      const [step] = yield* Stream.runCollect(Stream.take(follow({ after: lost }), 1))
      const live = history.fork("live")
      yield* append(live.commit(deposit("one", 1n)))
      history.log.push(...live.log)
      yield* log.fenceWriter("live")
      yield* publishAll
      yield* Effect.sleep("5 millis")
      assert.strictEqual(yield* log.finishWriters(now), 2)
      const [event] = yield* Stream.runCollect(Stream.take(subscribe({ after: step?.cursor }), 1)).pipe(
        Effect.timeoutOrElse({ duration: "60 seconds", orElse: () => Effect.die("nothing came") })
      )
      assert.strictEqual(event?.version, 3)
    }).pipe(
      Effect.provide(
        Layer.fresh(
          Subscriptions.layer.pipe(
            Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, CommitFeed.layer)),
            Layer.provide(limitsOf({ readSide: { subscribePollMs: 10 } }))
          )
        )
      )
    )
  )
})

describe("a subscription that is far behind", () => {
  it.effect("opens the tails of finished writers only when it comes to their time", () => {
    const opened = new Set<string>()
    const watched = Layer.effect(
      EventStore,
      Effect.map(EventStore, (real) => ({
        ...real,
        readTail: (from: Parameters<typeof real.readTail>[0]) => {
          opened.add(from.writerId)
          return real.readTail(from)
        }
      }))
    ).pipe(Layer.provide(EventStore.layerMemory))
    return Effect.gen(function* () {
      const log = yield* EventStore
      const history = new EventWriter("writer-1", 1)
      for (let nth = 0; nth < 50; nth++) {
        yield* liveAndDie(history, `life-${String((nth * 7) % 50).padStart(2, "0")}`, 3)
        yield* TestClock.adjust("10 minutes")
      }
      yield* publishAll
      assert.strictEqual(yield* log.finishWriters({ silentMs: 60_000, limit: 100 }), 50)
      const { subscribe } = yield* Subscriptions
      let after: string | undefined
      for (let nth = 0; nth < 150; nth += 15) {
        opened.clear()
        const events = yield* Stream.runCollect(Stream.take(subscribe({ after }), 15))
        assert.deepStrictEqual(
          [...events].map(({ version }) => version),
          history.log.slice(nth, nth + 15).map(({ version }) => version)
        )
        assert.isAtMost(opened.size, 7)
        after = events.at(-1)?.cursor
        assert.isAtMost(after?.length ?? 0, 60)
      }
    }).pipe(
      Effect.provide(
        Layer.fresh(
          Subscriptions.layer.pipe(
            Layer.provideMerge(Layer.mergeAll(watched, CommitFeed.layer)),
            Layer.provide(limitsOf({ readSide: { subscribeEventsMax: 5 } }))
          )
        )
      )
    )
  })
})

describe("the cursor of a subscription", () => {
  it("names finished writers by one number", () => {
    const cursor = new SubscriptionCursor()
    cursor.advance("a", 3)
    cursor.advance("b", 5)
    cursor.finish("b", 2)
    assert.isTrue(cursor.isFinished(2))
    assert.isFalse(cursor.isFinished(1))
    cursor.finish("a", 1)
    assert.strictEqual(cursor.finishedTo, 2)
    cursor.advance("c", 1)
    const text = cursor.print()
    const parsed = SubscriptionCursor.parse(text)
    assert.strictEqual(parsed._tag === "Success" ? parsed.success.print() : "", text)
    assert.strictEqual(Buffer.from(text, "base64url").toString(), '[2,2,[],{"c":1}]')
    assert.strictEqual(
      Buffer.from(cursor.printBefore({ writerId: "c", seq: 1 }), "base64url").toString(),
      '[2,2,[],{"c":0}]'
    )
  })
})

describe("a read side beside many lives of nodes", () => {
  const model = ReadModel.layerMemory.pipe(Layer.provideMerge(ProjectionWaiters.layer))
  const services = Layer.mergeAll(
    Layer.fresh(EventStore.layerMemory),
    Layer.fresh(Bus.layerMemory),
    Layer.fresh(model)
  )
  const limits = {
    ledger: { sweepMs: 50 },
    readSide: { orphansMs: 20, writerKeptMs: 1, relayCursorMs: 10 }
  }

  it.live("keeps one cursor for all writers whose tails it published", () =>
    Effect.gen(function* () {
      const log = yield* EventStore
      const readModel = yield* ReadModel
      const history = new EventWriter()
      for (let nth = 0; nth < 20; nth++) yield* liveAndDie(history, `life-${nth}`, 2)
      yield* eventually(
        Effect.gen(function* () {
          yield* assertCaughtUp(history.log)
          assert.lengthOf(yield* log.listWriters, 0)
          assert.deepStrictEqual([...(yield* readModel.swept)], [[sweptFinished, 20]])
        })
      )
      const known = yield* (yield* KnownWriters).areKnown(["life-3", "of another ledger"])
      assert.isTrue(known("life-3"), "its messages may come late")
      assert.isFalse(known("of another ledger"))
    }).pipe(Effect.provide(readSideOn(services, limits)))
  )

  it.live("reads the tails of finished writers when the read model was lost", () =>
    Effect.gen(function* () {
      const log = yield* EventStore
      const history = new EventWriter()
      for (let nth = 0; nth < 20; nth++) yield* liveAndDie(history, `life-${nth}`, 2)
      yield* publishAll
      yield* Effect.sleep("5 millis")
      assert.strictEqual(yield* log.finishWriters(now), 20)
      const { loaded } = yield* (yield* Reconciler).sweep({ load: true })
      assert.strictEqual(loaded, history.log.length)
      yield* assertCaughtUp(history.log)
    }).pipe(Effect.provide(readSideOn(services, { readSide: { orphansMs: 3_600_000 } })))
  )

  it.live("finds the tails of writers that came and were finished between two of its rounds", () =>
    Effect.gen(function* () {
      const log = yield* EventStore
      const { sweep } = yield* Reconciler
      yield* sweep({ load: true })
      const history = new EventWriter()
      yield* liveAndDie(history, "life-0", 2)
      yield* publishAll
      yield* Effect.sleep("5 millis")
      assert.strictEqual(yield* log.finishWriters(now), 1)
      assert.strictEqual((yield* sweep({ load: true })).loaded, history.log.length)
      yield* assertCaughtUp(history.log)
    }).pipe(Effect.provide(readSideOn(services, { readSide: { orphansMs: 3_600_000 } })))
  )

  it.effect(
    "fences a writer that is silent while others report, and none after a standstill of the store",
    () =>
      Effect.gen(function* () {
        const log = yield* EventStore
        const report = (...ids: ReadonlyArray<string>) =>
          log.heartbeat(ids.map((writerId) => ({ writerId, closedAt: 0 })))
        const fenced = Effect.map(log.listWriters, (rows) =>
          rows.filter((row) => row.fenced).map(({ writerId }) => writerId)
        )
        for (const writerId of ["a", "b"]) yield* log.registerWriter({ writerId, node: "test", closedAt: 0 })
        yield* TestClock.adjust("20 seconds")
        yield* report("a")
        yield* TestClock.adjust("450 millis")
        assert.deepStrictEqual(yield* fenced, [], "b had no time to report")
        yield* report("b")
        for (let second = 0; second < 30; second++) {
          yield* TestClock.adjust("1 second")
          yield* report("a")
        }
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* fenced, ["b"])
      }).pipe(Effect.provide(readSideOn(services, { ledger: { sweepMs: 400 } })))
  )
})
