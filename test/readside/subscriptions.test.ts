/** Subscriptions: every committed event comes, each account's in order, from any place, within bounded memory. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Stream } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { type CommittedEvent, Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
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
    return Effect.gen(function* () {
      const { eventWriter, commits } = threeWriters()
      for (const commit of commits) yield* append(commit)
      const wanted = eventWriter.log.filter((row) => row.accountId.startsWith("acc-1"))
      const events = yield* subscribed({ accountPrefix: "acc-1" }, wanted.length)
      assertInOrder(events)
      assert.strictEqual(new Set(events.map((event) => event.account)).size, 3)
      reads = 0
      yield* subscribed({}, 5)
      assert.isAtMost(reads, 60, "of more than 800 events")
    }).pipe(
      Effect.provide(
        Layer.fresh(
          Subscriptions.layer.pipe(
            Layer.provideMerge(Layer.mergeAll(counted, CommitFeed.layer)),
            Layer.provide(limitsOf({ readSide: { subscribeEventsMax: 20 } }))
          )
        )
      )
    )
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
})
