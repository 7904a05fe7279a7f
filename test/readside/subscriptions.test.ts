/** Subscriptions: every committed event comes, each account's in order, from any place, within bounded memory. */
import { deflateRawSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Result, Stream } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import type { CommittedEvent } from "../../src/actors/subscriptions/SharedEvent.ts"
import { SubscriptionCursor } from "../../src/actors/subscriptions/SubscriptionCursor.ts"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import type { Commit } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { Rng } from "../support/Rng.ts"
import { append, appendAndOffer, eventually, limitsOf, type TestLimits } from "../support/readSides.ts"

const worldOn = (log: Layer.Layer<EventStore>, limits: TestLimits["readSide"] = {}) =>
  Layer.fresh(
    Subscriptions.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(log, CommitFeed.layer)),
      Layer.provide(limitsOf({ readSide: limits ?? {} }))
    )
  )
const world = (limits?: TestLimits["readSide"]) => worldOn(EventStore.layerMemory, limits)

const ids = Array.from({ length: 12 }, (_, index) => `acc-${index}`)

/** A log that counts the events that are read from it by their keys. */
const countedReads = () => {
  let reads = 0
  const counted = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({
      ...real,
      readEvents: (keys: Parameters<typeof real.readEvents>[0]) => {
        reads += keys.length
        return real.readEvents(keys)
      }
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  return { counted, reads: () => reads }
}

/** One history written by three writers in turn, as lanes and nodes do: accounts change hands all the time. */
const threeWriters = () => {
  const eventWriter = new EventWriter("w-0")
  const seqs = [0, 0, 0]
  const commits: Array<Commit> = []
  const add = (...commands: ReadonlyArray<CommandInput>) => {
    const { events } = eventWriter.commit(...commands)
    const lane = (commits.length * 7 + (commits.length % 5)) % 3
    const seq = (seqs[lane] ?? 0) + 1
    seqs[lane] = seq
    commits.push({ writerId: `w-${lane}`, seq, events })
  }
  add(...ids.map((id) => openAccount(id)), ...ids.map((id) => deposit(id, 1_000n)))
  for (let index = 0; index < 300; index++) {
    const [from = "", to = ""] = [ids[index % 12], ids[(index * 5 + 1) % 12]]
    add(deposit(from, 1n), ...(from === to ? [] : [transfer(from, to, 1n)]))
  }
  return { eventWriter, commits }
}

/** So many commits of one account by a writer, which another one may have written to before. */
const appendAll = Effect.fnUntraced(function* (eventWriter: EventWriter, writerId: string, count: number) {
  const store = yield* EventStore
  const known = (yield* Effect.orDie(store.listWriters)).find((row) => row.writerId === writerId)
  if (known === undefined) yield* Effect.orDie(store.registerWriter({ writerId, node: "test", closedAt: 0 }))
  for (let nth = 1; nth <= count; nth++) {
    const isNew = eventWriter.log.length === 0
    const { events } = eventWriter.commit(isNew ? openAccount("one") : deposit("one", 1n))
    const commit = { writerId, seq: (known?.lastSeq ?? 0) + nth, events }
    assert.strictEqual((yield* Effect.orDie(store.commit(commit)))._tag, "Committed")
  }
})

/** Events that were decided before, as a writer's next commit. */
const appendBy = Effect.fnUntraced(function* (writerId: string, seq: number, events: Commit["events"]) {
  const store = yield* EventStore
  if (seq === 1) yield* Effect.orDie(store.registerWriter({ writerId, node: "test", closedAt: 0 }))
  assert.strictEqual((yield* Effect.orDie(store.commit({ writerId, seq, events })))._tag, "Committed")
})

const sharesAccount = (some: Commit["events"], others: Commit["events"]): boolean =>
  some.some(({ accountId }) => others.some((other) => other.accountId === accountId))

const subscribed = (asked: Parameters<Subscriptions["Service"]["subscribe"]>[0], count: number) =>
  Effect.flatMap(Subscriptions, ({ subscribe }) =>
    Stream.runCollect(Stream.take(subscribe(asked), count)).pipe(Effect.timeout("60 seconds"), Effect.orDie)
  )

const assertInOrder = (events: ReadonlyArray<CommittedEvent>) => {
  const versions = new Map<string, number>()
  for (const { account, version } of events) {
    assert.strictEqual(version, (versions.get(account) ?? 0) + 1, `${account}@${version} in its turn`)
    versions.set(account, version)
  }
}

describe("a subscription", () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    it.live(`keeps the order of each account over writers that come and go (seed ${seed})`, () => {
      const rng = new Rng(seed)
      const limits = {
        subscribeCommitsMax: 1 + rng.below(6),
        subscribeKeysMax: 10 + rng.below(60),
        subscribeEventsMax: 1 + rng.below(40),
        // Above the number of accounts: what is forgotten is judged by what is read ahead alone.
        subscribeAccountsMax: 30
      }
      return Effect.gen(function* () {
        const log = yield* EventStore
        const writer = new EventWriter("history", yield* Clock.currentTimeMillis)
        const writers = Array.from({ length: 20 }, (_, index) => ({ id: `w-0-${index}`, seq: 0 }))
        let lives = 0
        const commitOne = Effect.gen(function* () {
          const lane = rng.below(writers.length)
          const found = writers[lane] ?? assert.fail()
          if (found.seq === 0) yield* log.registerWriter({ writerId: found.id, node: "n", closedAt: 0 })
          const one = () => ids[rng.below(ids.length)] ?? ""
          const isNew = writer.log.length === 0
          const events = isNew
            ? ids.flatMap((id) => [...writer.decide(openAccount(id)), ...writer.decide(deposit(id, 1_000n))])
            : [deposit(one(), 1n), transfer(one(), one(), 1n)].flatMap((command) => writer.decide(command))
          const outcome = yield* log.commit({ writerId: found.id, seq: ++found.seq, events })
          assert.strictEqual(outcome._tag, "Committed")
          if (rng.chance(0.02)) {
            yield* log.fenceWriter(found.id)
            writers[lane] = { id: `w-${++lives}-${lane}`, seq: 0 }
          }
        })
        const finishSome = Effect.gen(function* () {
          const ended = (yield* log.listWriters).filter(({ fenced }) => fenced)
          yield* log.moveRelayCursors(new Map(ended.map((row) => [row.writerId, row.lastSeq])))
          yield* Effect.sleep("2 millis")
          yield* log.finishWriters({ silentMs: 0, limit: 1 + rng.below(5) })
        })
        for (let nth = 0; nth < 200; nth++) yield* commitOne
        yield* finishSome
        const { subscribe } = yield* Subscriptions
        const seen: Array<CommittedEvent> = []
        let after: string | undefined
        // Commits and ends go on while it reads, is cut off, and goes on from its last cursor.
        for (let part = 0; part < 12; part++) {
          yield* subscribe({ after }).pipe(
            Stream.take(1 + rng.below(80)),
            Stream.runForEach((event) =>
              Effect.gen(function* () {
                const last = seen.findLast(({ account }) => account === event.account)?.version ?? 0
                if (event.version > last) seen.push(event)
                after = event.cursor
                if (rng.chance(0.3)) yield* commitOne
                if (rng.chance(0.02)) yield* finishSome
              })
            ),
            Effect.timeout("60 seconds")
          )
          assertInOrder(seen)
        }
        yield* subscribe({ after }).pipe(
          Stream.runForEachWhile((event) =>
            Effect.sync(() => {
              const last = seen.findLast(({ account }) => account === event.account)?.version ?? 0
              if (event.version > last) seen.push(event)
              return seen.length < writer.log.length
            })
          ),
          Effect.timeout("60 seconds")
        )
        assertInOrder(seen)
        assert.strictEqual(seen.length, writer.log.length)
        assert.isAbove(yield* log.lastFinished, 0)
      }).pipe(Effect.provide(world({ ...limits, subscribePollMs: 5 })))
    })
  }

  it.live("keeps the order where it is resumed and an earlier version stands deeper in another tail", () =>
    Effect.gen(function* () {
      const writer = new EventWriter("history")
      yield* appendBy("w-0", 1, [...writer.decide(openAccount("one")), ...writer.decide(openAccount("two"))])
      const [, opened] = yield* subscribed({}, 2)
      const base = writer.now
      const at = (ms: number, command: CommandInput) => {
        writer.now = base + ms
        return writer.decide(command)
      }
      const second = at(0, deposit("one", 1n))
      const third = at(20, deposit("one", 1n))
      const other = at(25, deposit("two", 1n))
      // The lane that has the second version sent a later command of another account first.
      yield* appendBy("w-1", 1, other)
      yield* appendBy("w-1", 2, second)
      yield* appendBy("w-2", 1, third)
      const rest = yield* subscribed({ after: opened?.cursor }, 3)
      assert.deepStrictEqual(
        rest.filter(({ account }) => account === "one").map(({ version }) => version),
        [2, 3]
      )
    }).pipe(Effect.provide(world({ subscribeCommitsMax: 1 })))
  )

  for (const seed of [1, 2, 3, 4]) {
    it.live(
      `keeps the order where lanes commit out of the order of time, resumed anywhere (seed ${seed})`,
      () => {
        const rng = new Rng(seed)
        return Effect.gen(function* () {
          const writer = new EventWriter("history")
          const seqs = new Map<string, number>()
          const commit = (events: Commit["events"]) =>
            Effect.suspend(() => {
              const lane = `w-${rng.below(5)}`
              const seq = (seqs.get(lane) ?? 0) + 1
              seqs.set(lane, seq)
              return appendBy(lane, seq, events)
            })
          yield* commit(
            ids.flatMap((id) => [...writer.decide(openAccount(id)), ...writer.decide(deposit(id, 1_000n))])
          )
          for (let round = 0; round < 25; round++) {
            const decided = Array.from({ length: 10 }, () => {
              const one = () => ids[rng.below(ids.length)] ?? ""
              return writer.decide(rng.chance(0.5) ? deposit(one(), 1n) : transfer(one(), one(), 1n))
            }).filter((events) => events.length > 0)
            // Any order that keeps that of each account.
            while (decided.length > 0) {
              const free = decided.filter((events, index) =>
                decided.slice(0, index).every((before) => !sharesAccount(before, events))
              )
              const next = free[rng.below(free.length)] ?? assert.fail("the first is always free")
              decided.splice(decided.indexOf(next), 1)
              yield* commit(next)
            }
          }
          const seen: Array<CommittedEvent> = []
          const reached = new Map<string, number>()
          while (seen.length < writer.log.length) {
            const { subscribe } = yield* Subscriptions
            const part = yield* Stream.runCollect(
              Stream.take(
                subscribe({ after: seen.at(-1)?.cursor }),
                Math.min(1 + rng.below(30), writer.log.length - seen.length)
              )
            ).pipe(Effect.timeout("60 seconds"))
            for (const event of part) {
              const last = reached.get(event.account) ?? 0
              assert.isAtMost(event.version, last + 1, `${event.account}@${event.version} in its turn`)
              if (event.version <= last) continue
              reached.set(event.account, event.version)
              seen.push(event)
            }
          }
          assertInOrder(seen)
        }).pipe(
          Effect.provide(
            world({
              subscribeCommitsMax: 1 + rng.below(3),
              subscribeKeysMax: 1 + rng.below(6),
              subscribeEventsMax: 1 + rng.below(20),
              subscribeAccountsMax: 1 + rng.below(6)
            })
          )
        )
      }
    )
  }

  for (const subscribeCommitsMax of [100, 7]) {
    it.live(`brings a log of three writers in order of each account, ${subscribeCommitsMax} ahead`, () =>
      Effect.gen(function* () {
        const { eventWriter, commits } = threeWriters()
        for (const commit of commits) yield* append(commit)
        const events = yield* subscribed({}, eventWriter.log.length)
        assertInOrder(events)
        assert.deepStrictEqual(
          new Set(events.map((event) => `${event.account}@${event.version} ${event.hash}`)),
          new Set(eventWriter.log.map((row) => `${row.accountId}@${row.version} ${row.hash}`))
        )
        assert.isTrue(events.every(({ event }) => event !== undefined))
      }).pipe(Effect.provide(world({ subscribeCommitsMax, subscribeEventsMax: 20 })))
    )
  }

  it.live("keeps the order where one writer goes on with an account of another", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter("w-9")
      // The one that comes first by name has the later half of the log.
      yield* appendAll(eventWriter, "w-9", 50)
      yield* appendAll(eventWriter, "w-1", 50)
      assertInOrder(yield* subscribed({}, eventWriter.log.length))
    }).pipe(Effect.provide(world({ subscribeCommitsMax: 7 })))
  )

  it.live("keeps the order when commits come while it reads the tails", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter("w-0")
      let between: Effect.Effect<unknown> = Effect.void
      const log = Layer.effect(
        EventStore,
        Effect.map(EventStore, (real) => ({
          ...real,
          readTail: (from: Parameters<typeof real.readTail>[0]) =>
            Effect.tap(real.readTail(from), () => {
              const now = between
              between = Effect.void
              return now
            })
        }))
      ).pipe(Layer.provide(EventStore.layerMemory))
      yield* Effect.gen(function* () {
        const first = appendAll(eventWriter, "w-0", 1)
        yield* first
        yield* appendAll(eventWriter, "w-1", 1)
        // Two more of one account: the earlier one in the tail that was read, the later one in the tail that was not.
        const context = yield* Effect.context<EventStore>()
        between = Effect.andThen(
          Effect.suspend(() => appendAll(eventWriter, "w-0", 1)),
          Effect.suspend(() => appendAll(eventWriter, "w-1", 1))
        ).pipe(Effect.provideContext(context))
        assertInOrder(yield* subscribed({}, 4))
      }).pipe(Effect.provide(worldOn(Layer.fresh(log), { subscribePollMs: 10 })))
    })
  )

  it.live("loses no event of a writer that commits once more and is finished while a cut is taken", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter("w-0")
      let between: Effect.Effect<unknown> = Effect.void
      const log = Layer.effect(
        EventStore,
        Effect.map(EventStore, (real) => ({
          ...real,
          // As on a node that stands still after the statement was answered.
          listWriters: Effect.tap(real.listWriters, () => {
            const now = between
            between = Effect.void
            return now
          })
        }))
      ).pipe(Layer.provide(EventStore.layerMemory))
      yield* Effect.gen(function* () {
        yield* appendAll(eventWriter, "w-0", 3)
        const store = yield* EventStore
        const context = yield* Effect.context<EventStore>()
        between = Effect.gen(function* () {
          yield* appendAll(eventWriter, "w-0", 1)
          yield* store.moveRelayCursors(new Map([["w-0", yield* store.fenceWriter("w-0")]]))
          yield* Effect.sleep("2 millis")
          assert.strictEqual(yield* store.finishWriters({ silentMs: 0, limit: 1 }), 1)
          yield* appendAll(eventWriter, "w-1", 1)
        }).pipe(Effect.orDie, Effect.provideContext(context))
        const events = yield* subscribed({}, 5)
        assertInOrder(events)
        assert.strictEqual(events.length, 5)
      }).pipe(Effect.provide(worldOn(Layer.fresh(log), { subscribePollMs: 10 })))
    })
  )

  it.live("loses no event when it is resumed by a cursor", () =>
    Effect.gen(function* () {
      const { eventWriter, commits } = threeWriters()
      for (const commit of commits) yield* append(commit)
      const all = yield* subscribed({}, eventWriter.log.length)
      for (const place of [0, 1, 30, 31, 200, all.length - 2]) {
        const seen = new Set(all.slice(0, place + 1).map((event) => `${event.account}@${event.version}`))
        const later = new Set(
          all.map((event) => `${event.account}@${event.version}`).filter((key) => !seen.has(key))
        )
        const { subscribe } = yield* Subscriptions
        let again = 0
        yield* Stream.runForEachWhile(subscribe({ after: all[place]?.cursor }), (event) =>
          Effect.sync(() => {
            const key = `${event.account}@${event.version}`
            if (seen.has(key)) again++
            later.delete(key)
            return later.size > 0
          })
        )
        // At most the commit it was in the middle of.
        assert.isAtMost(again, 24, `after ${place}`)
      }
    }).pipe(Effect.provide(world()))
  )

  it.live("delivers what this node and others commit while it waits", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter()
      yield* append(eventWriter.commit(openAccount("a"), openAccount("b")))
      const { subscribe } = yield* Subscriptions
      const seen: Array<string> = []
      const reader = yield* Effect.forkChild(
        Stream.runForEach(subscribe({ after: "now" }), ({ account, version }) =>
          Effect.sync(() => seen.push(`${account}@${version}`))
        )
      )
      yield* eventually(
        Effect.gen(function* () {
          yield* appendAndOffer(eventWriter.commit(deposit("a", 1n)))
          assert.isAbove(seen.length, 0)
        })
      )
      assert.notInclude(seen, "a@1", "what was there before is not asked for")
      // By another node: not offered to this one's feed.
      yield* append(eventWriter.commit(deposit("b", 1n)))
      yield* eventually(Effect.sync(() => assert.include(seen, "b@2")))
      yield* Fiber.interrupt(reader)
    }).pipe(Effect.provide(world({ subscribePollMs: 20 })))
  )

  it.live("reads only the events of its prefix that its consumer takes", () => {
    const { counted, reads } = countedReads()
    return Effect.gen(function* () {
      const { eventWriter, commits } = threeWriters()
      for (const commit of commits) yield* append(commit)
      const wanted = eventWriter.log.filter((row) => row.accountId.startsWith("acc-1"))
      const events = yield* subscribed({ accountPrefix: "acc-1" }, wanted.length)
      assertInOrder(events)
      assert.strictEqual(new Set(events.map((event) => event.account)).size, 3)
      const before = reads()
      yield* subscribed({}, 5)
      assert.isAtMost(reads() - before, 60, "of more than 800 events")
    }).pipe(Effect.provide(worldOn(counted, { subscribeEventsMax: 20 })))
  })

  it.live("refuses a text that is no cursor", () =>
    Effect.gen(function* () {
      const { subscribe } = yield* Subscriptions
      for (const after of ["", "nonsense", Buffer.from('{"w":-1}').toString("base64url")]) {
        const error = yield* Effect.flip(Stream.runDrain(subscribe({ after })))
        assert.strictEqual(error._tag, "InvalidCommand")
      }
    }).pipe(Effect.provide(world()))
  )

  /** A cursor that claims so many commits of writers, in the form of the wire. */
  const claiming = (positions: Iterable<readonly [string, number]>) =>
    Buffer.from(JSON.stringify([2, 0, [], Object.fromEntries(positions)])).toString("base64url")

  it.live("does not repeat what a cursor says of writers that the log does not know", () =>
    Effect.gen(function* () {
      const { eventWriter, commits } = threeWriters()
      for (const commit of commits) yield* append(commit)
      const after = claiming(Array.from({ length: 10_000 }, (_, nth) => [`stranger-${nth}`, 7] as const))
      assert.isAbove(after.length, 200_000)
      for (const event of yield* subscribed({ after }, eventWriter.log.length))
        assert.isBelow(event.cursor.length, 500)
    }).pipe(Effect.provide(world()))
  )

  it.live("prints so much of long cursors and no more before its consumer takes it", () => {
    const { counted, reads } = countedReads()
    return Effect.gen(function* () {
      const store = yield* EventStore
      const writers = Array.from({ length: 3_000 }, (_, nth) => `${"n".repeat(40)}-${nth}`)
      for (const writerId of writers) yield* store.registerWriter({ writerId, node: "test", closedAt: 0 })
      yield* appendAll(new EventWriter("w-0"), "w-0", 400)
      const after = claiming(writers.map((writer) => [writer, 0] as const))
      const before = reads()
      const [event] = yield* subscribed({ after }, 1)
      const named = Result.map(SubscriptionCursor.parse(event?.cursor ?? ""), (cursor) => cursor.named)
      assert.isAbove(Result.getOrThrow(named).length, 2_500)
      assert.isAtMost(reads() - before, 40, "of 400 events, whose cursors would be 80 MB")
    }).pipe(Effect.provide(worldOn(Layer.fresh(counted))))
  })

  it("has a cursor that is accepted again, however many writers it would have to name", () => {
    const cursor = new SubscriptionCursor(
      7,
      Array.from({ length: 30_000 }, (_, nth) => 10 + 2 * nth),
      Array.from({ length: 20_000 }, (_, nth) => [`${"n".repeat(60)}-${nth}`, 2 ** 40] as const)
    )
    const again = SubscriptionCursor.parse(cursor.print())
    assert.isTrue(Result.isSuccess(again))
    if (Result.isSuccess(again)) assert.strictEqual(again.success.finishedTo, 7)
    assert.isTrue(Result.isFailure(SubscriptionCursor.parse("a".repeat(400_001))))
  })

  it("has a cursor that fits into a header: packed, and where that is too long without those that committed least", () => {
    const ids = Array.from({ length: 400 }, (_, nth) => {
      const nonce = ((nth * 2_654_435_761) % 36 ** 6).toString(36)
      return `chronicle-commands-7b9c6d5f9c-${nth >> 1}.${(1_795_964_301_782 + nth).toString(36)}.${nonce}.${nth % 2}`
    })
    const cursor = new SubscriptionCursor(
      7,
      [],
      ids.map((writer, nth) => [writer, 1_000 + nth] as const)
    )
    const fitting = cursor.print(12_288)
    assert.isAtMost(fitting.length, 12_288)
    const whole = Result.getOrThrow(SubscriptionCursor.parse(fitting))
    for (const [nth, writer] of ids.entries()) assert.strictEqual(whole.positionOf(writer), 1_000 + nth)
    const text = cursor.print(2_000)
    assert.isAtMost(text.length, 2_000)
    const short = Result.getOrThrow(SubscriptionCursor.parse(text))
    assert.isAbove(short.named.length, 10)
    const least = Math.min(...short.named.map((writer) => short.positionOf(writer)))
    assert.strictEqual(least, 1_400 - short.named.length)
    assert.strictEqual(short.finishedTo, 7)
  })

  it("has a cursor that nodes of an earlier version read, wherever it need not be packed", () => {
    const writers = Array.from({ length: 150 }, (_, nth): [string, number] => [
      `node-${nth >> 1}.${nth}`,
      nth
    ])
    const cursor = new SubscriptionCursor(7, [], writers)
    const read = (text: string) => JSON.parse(Buffer.from(text, "base64url").toString())
    assert.deepStrictEqual(read(cursor.print()), [2, 7, [], Object.fromEntries(writers)])
    assert.deepStrictEqual(read(cursor.print(12_288)), [2, 7, [], Object.fromEntries(writers)])
    const before = cursor.printBefore({ writerId: "node-0.1", seq: 1 })
    assert.deepStrictEqual(read(before), [2, 7, [], { ...Object.fromEntries(writers), "node-0.1": 0 }])
  })

  it("refuses a packed cursor that is none, or would be too large", () => {
    const large = deflateRawSync(`[2,0,[],{"${"n".repeat(500_000)}":1}]`).toString("base64url")
    for (const text of ["z.", "z.AAAA", `z.${large}`])
      assert.isTrue(Result.isFailure(SubscriptionCursor.parse(text)), text.slice(0, 10))
  })
})
