/** Subscriptions that are far behind the end of the log, very many of them: bounded together, and none of them is left behind. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { type LoneReader, LoneReaders } from "../../src/actors/subscriptions/LoneReaders.ts"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { quiet } from "../support/callers.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { append, limitsOf, type TestLimits } from "../support/readSides.ts"

/** A reader of which is known whether it keeps something that it has read ahead. */
class Counted implements LoneReader {
  keepsSome = false
  /** How often it had to read that anew. */
  begun = 0
  readonly forget = (): void => {
    this.keepsSome = false
  }

  /** `read`: events of the log, whether it asks for them or not. */
  step(read: number) {
    return Effect.sync(() => {
      if (!this.keepsSome) this.begun++
      this.keepsSome = true
      return { read }
    })
  }
}

/** None of them shares the end of the log. */
const worldOn = (log: Layer.Layer<EventStore>, limits: TestLimits["readSide"]) =>
  Layer.fresh(
    Subscriptions.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(log, CommitFeed.layer)),
      Layer.provide(limitsOf({ readSide: { subscribeSharedFrom: 1_000, subscribePollMs: 5, ...limits } }))
    )
  )

const limits = { ...defaultReadSideLimits, subscribeAloneMax: 3, subscribeUntakenEventsMax: 1_200 }

describe("readers of the log by themselves", () => {
  it.effect("keep no more together than that of a few, and each has its turns", () =>
    Effect.gen(function* () {
      const alone = yield* LoneReaders.make(limits)
      const readers = Array.from({ length: 12 }, () => new Counted())
      for (const reader of readers) alone.join(reader)
      const kept = () => readers.filter(({ keepsSome }) => keepsSome).length
      let most = 0
      const readAll = (reader: Counted) =>
        Effect.gen(function* () {
          for (let nth = 0; nth < 60; nth++) {
            yield* alone.inTurn(reader, reader.step(1_000))
            most = Math.max(most, kept())
            yield* Effect.yieldNow
          }
          alone.leave(reader)
          reader.forget()
        })
      yield* Effect.forEach(readers, readAll, { concurrency: "unbounded", discard: true })
      assert.isAtMost(most, limits.subscribeAloneMax)
      // A turn is worth what has to be read anew for it.
      for (const { begun } of readers) assert.isAtMost(begun, 6)
    })
  )

  it.effect("go on where others take nothing of what they were given, or are gone", () =>
    Effect.gen(function* () {
      const alone = yield* LoneReaders.make(limits)
      const stuck = Array.from({ length: 3 }, () => new Counted())
      for (const reader of stuck) yield* alone.inTurn(reader, reader.step(10))
      const other = new Counted()
      const reading = yield* Effect.forkChild(alone.inTurn(other, other.step(10)), { startImmediately: true })
      yield* TestClock.adjust("10 millis")
      assert.isUndefined(reading.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(reading)).read, 10)
      assert.isFalse(stuck.every(({ keepsSome }) => keepsSome))
      // One that gives up while it waits, or as it is given its turn, leaves its place to the next.
      const never = new Counted()
      const held = yield* Effect.forkChild(
        Effect.forEach(stuck, (reader) => alone.inTurn(reader, Effect.never), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 seconds")
      const waiting = yield* Effect.forkChild(alone.inTurn(never, never.step(1)), { startImmediately: true })
      const next = yield* Effect.forkChild(alone.inTurn(other, other.step(7)), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(held)
      for (const reader of stuck) alone.leave(reader)
      assert.strictEqual((yield* Fiber.join(next)).read, 7)
      assert.strictEqual(never.begun, 0)
    })
  )

  it.effect("are given their turns behind one that met a bug", () =>
    Effect.gen(function* () {
      const alone = yield* LoneReaders.make({ ...limits, subscribeAloneMax: 1 })
      const broken: LoneReader = {
        forget: () => {
          throw new Error("a bug")
        }
      }
      const other = new Counted()
      for (const nth of [1, 2]) {
        yield* alone.inTurn(broken, Effect.succeed({ read: 1 }))
        const waiting = yield* Effect.forkChild(alone.inTurn(other, other.step(1)), {
          startImmediately: true
        })
        yield* TestClock.adjust("1 second")
        assert.isDefined(waiting.pollUnsafe(), `${nth}`)
        alone.leave(other)
      }
    }).pipe(Effect.provide(quiet))
  )

  it.live("give way also where nothing of what they read is asked for", () => {
    let readTo = 0
    const counted = Layer.effect(
      EventStore,
      Effect.map(EventStore, (real): EventStore["Service"] => ({
        ...real,
        readTail: (options) => {
          readTo = Math.max(readTo, options.after)
          return real.readTail(options)
        }
      }))
    ).pipe(Layer.provide(EventStore.layerMemory))
    const commits = 60
    const rowsACommit = 1_000
    return Effect.gen(function* () {
      const writer = new EventWriter("w")
      for (let seq = 1; seq <= commits; seq++) {
        const events = Array.from({ length: rowsACommit }, () =>
          writer.decide(writer.log.length === 0 ? openAccount("a:1") : deposit("a:1", 1n))
        ).flat()
        yield* append({ writerId: "w", seq, events })
      }
      const { subscribe } = yield* Subscriptions
      const rare = Stream.runDrain(subscribe({ accountPrefix: "z:" }))
      yield* Effect.forEach([1, 2, 3], () => Effect.forkScoped(rare, { startImmediately: true }))
      const first = yield* Stream.runCollect(Stream.take(subscribe({ accountPrefix: "a:" }), 1))
      assert.lengthOf(first, 1)
      // The others have by far not come to the end.
      assert.isBelow(readTo, commits / 2)
    }).pipe(
      Effect.scoped,
      Effect.provide(worldOn(counted, { subscribeAloneMax: 3, subscribeKeysMax: 2_000 }))
    )
  })

  it.effect("read the less at once, the more they are", () =>
    Effect.gen(function* () {
      const alone = yield* LoneReaders.make(limits)
      const readers = Array.from({ length: 3_000 }, () => new Counted())
      const [one = assert.fail()] = readers
      alone.join(one)
      assert.strictEqual(alone.eventsMax, 1_000)
      for (const reader of readers.slice(0, 12)) alone.join(reader)
      assert.strictEqual(alone.eventsMax, 100)
      for (const reader of readers) alone.join(reader)
      assert.strictEqual(alone.eventsMax, 1)
      for (const reader of readers.slice(1)) alone.leave(reader)
      assert.strictEqual(alone.eventsMax, 1_000)
    })
  )

  it.live("lose and repeat nothing where they give up their turns within the log of several writers", () => {
    let listings = 0
    const counted = Layer.effect(
      EventStore,
      Effect.map(EventStore, (real): EventStore["Service"] => ({
        ...real,
        listWriters: Effect.suspend(() => {
          listings++
          return real.listWriters
        })
      }))
    ).pipe(Layer.provide(EventStore.layerMemory))
    return Effect.gen(function* () {
      const accounts = Array.from({ length: 12 }, (_, nth) => `acc-${nth}`)
      const writer = new EventWriter()
      const seqs = [0, 0, 0]
      // Accounts change hands all the time.
      for (let nth = 0; nth < 300; nth++) {
        const one = accounts[(nth * 5) % 12] ?? ""
        const { events } = writer.commit(
          ...(nth === 0 ? accounts.map((id) => openAccount(id)) : [deposit(one, 1n), deposit("acc-0", 1n)])
        )
        const lane = (nth * 7 + (nth % 5)) % 3
        const seq = (seqs[lane] ?? 0) + 1
        seqs[lane] = seq
        yield* append({ writerId: `w-${lane}`, seq, events })
      }
      const total = writer.log.length
      const { subscribe } = yield* Subscriptions
      const all = yield* Effect.forEach(
        Array.from({ length: 6 }),
        () => {
          let taken = 0
          const pause = Effect.suspend(() => (++taken % 80 === 0 ? Effect.sleep("120 millis") : Effect.void))
          return Stream.runCollect(
            Stream.take(
              Stream.tap(subscribe(), () => pause),
              total
            )
          )
        },
        { concurrency: "unbounded" }
      )
      for (const events of all) {
        const reached = new Map<string, number>()
        for (const { account, version } of events) {
          assert.strictEqual(version, (reached.get(account) ?? 0) + 1)
          reached.set(account, version)
        }
      }
      // Each turn within the log begins with a cut of its own, which is two listings at least.
      assert.isAbove(listings, 6 * 2 * 2)
    }).pipe(Effect.provide(worldOn(counted, { subscribeAloneMax: 2, subscribeEventsMax: 40 })))
  })

  it.live("come to the end of a log of large commits, few of them at once", () => {
    let [now, most] = [0, 0]
    const counted = Layer.effect(
      EventStore,
      Effect.map(EventStore, (real): EventStore["Service"] => ({
        ...real,
        readTail: (from) =>
          Effect.sync(() => {
            most = Math.max(most, ++now)
          }).pipe(
            Effect.andThen(Effect.sleep("1 millis")),
            Effect.andThen(real.readTail(from)),
            Effect.ensuring(Effect.sync(() => now--))
          )
      }))
    ).pipe(Layer.provide(EventStore.layerMemory))
    return Effect.gen(function* () {
      const accounts = Array.from({ length: 40 }, (_, nth) => `acc-${nth}`)
      const writer = new EventWriter()
      yield* append(writer.commit(...accounts.map((id) => openAccount(id))))
      for (let nth = 0; nth < 20; nth++)
        yield* append(writer.commit(...accounts.map((id) => deposit(id, 1n))))
      const total = writer.log.length
      const { subscribe } = yield* Subscriptions
      // These take an event, and nothing more for as long as the others read.
      const slow = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 10 }), () => Stream.runForEach(subscribe(), () => Effect.never), {
          concurrency: "unbounded"
        })
      )
      const all = yield* Effect.forEach(
        Array.from({ length: 40 }),
        () => Stream.runCollect(Stream.take(subscribe(), total)),
        { concurrency: "unbounded" }
      )
      for (const events of all) {
        assert.strictEqual(new Set(events.map(({ account, version }) => `${account}@${version}`)).size, total)
        const reached = new Map<string, number>()
        for (const { account, version } of events) {
          assert.strictEqual(version, (reached.get(account) ?? 0) + 1)
          reached.set(account, version)
        }
      }
      assert.isAtMost(most, 2)
      yield* Fiber.interrupt(slow)
    }).pipe(
      Effect.provide(
        worldOn(counted, { subscribeAloneMax: 2, subscribeKeysMax: 200, subscribeEventsMax: 100 })
      )
    )
  })
})
