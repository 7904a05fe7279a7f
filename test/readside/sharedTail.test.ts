/** Many subscriptions of a node: they share one reading of the log's end, and each still gets every event once and in order. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Stream } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { openSource } from "../../src/actors/subscriptions/ItemSource.ts"
import type { CommittedEvent } from "../../src/actors/subscriptions/SharedEvent.ts"
import { type AccountTail, Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { Rng } from "../support/Rng.ts"
import { eventually, limitsOf, type TestLimits } from "../support/readSides.ts"

/** What the log was asked, and whether it answers. */
interface Watched {
  listings: number
  isDown: boolean
  /** The fibers that asked which writers there are. */
  readonly readers?: Set<number>
  /** Runs before each of these questions. */
  readonly before?: () => Effect.Effect<void>
  /** How long it takes now and then to answer, in milliseconds. */
  readonly pause?: () => number
}

const pauseOf = ({ pause }: Watched) => {
  const ms = pause?.() ?? 0
  return ms > 0 ? Effect.sleep(ms) : Effect.void
}

const worldOf = (watched: Watched, limits: TestLimits["readSide"] = {}) => {
  const log = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real): EventStore["Service"] => ({
      ...real,
      // What it answers is as old as the pause after it: cuts of several readers are taken at one time.
      listWriters: Effect.withFiber(({ id }) => {
        watched.listings++
        watched.readers?.add(id)
        return watched.isDown
          ? Effect.fail(new StoreUnavailable({ store: "event store", reason: "it is down" }))
          : Effect.andThen(
              watched.before?.() ?? Effect.void,
              Effect.tap(real.listWriters, () => pauseOf(watched))
            )
      }),
      readTail: (from) => Effect.andThen(pauseOf(watched), real.readTail(from))
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  return Layer.fresh(
    Subscriptions.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(log, CommitFeed.layer)),
      Layer.provide(limitsOf({ readSide: { subscribePollMs: 5, ...limits } }))
    )
  )
}

const ids = Array.from({ length: 10 }, (_, index) => `acc-${index}`)

/** Commits of accounts that change hands between writers which end and are finished, as nodes come and go. */
const makeLog = Effect.fnUntraced(function* (rng: Rng) {
  const log = yield* EventStore
  const writer = new EventWriter("history", yield* Clock.currentTimeMillis)
  const lanes = Array.from({ length: 6 }, (_, index) => ({ id: `w-0-${index}`, seq: 0 }))
  let lives = 0
  const commit = Effect.gen(function* () {
    const lane = rng.below(lanes.length)
    const found = lanes[lane] ?? assert.fail()
    if (found.seq === 0) yield* log.registerWriter({ writerId: found.id, node: "n", closedAt: 0 })
    const one = () => ids[rng.below(ids.length)] ?? ""
    const events =
      writer.log.length === 0
        ? ids.flatMap((id) => [...writer.decide(openAccount(id)), ...writer.decide(deposit(id, 1_000n))])
        : [deposit(one(), 1n), transfer(one(), one(), 1n)].flatMap((command) => writer.decide(command))
    const outcome = yield* log.commit({ writerId: found.id, seq: ++found.seq, events })
    assert.strictEqual(outcome._tag, "Committed")
    if (rng.chance(0.1)) {
      yield* log.fenceWriter(found.id)
      lanes[lane] = { id: `w-${++lives}-${lane}`, seq: 0 }
    }
    if (rng.chance(0.1)) {
      const ended = (yield* log.listWriters).filter(({ fenced }) => fenced)
      yield* log.moveRelayCursors(new Map(ended.map((row) => [row.writerId, row.lastSeq])))
      yield* log.finishWriters({ silentMs: 0, limit: 1 + rng.below(5) })
    }
  }).pipe(Effect.orDie)
  return { writer, commit }
})

/** Follows as a stream of HTTP does: what comes is handed on while there is room. */
const takeHandedOn = (
  stream: Stream.Stream<CommittedEvent, unknown>,
  to: {
    readonly seen: Array<CommittedEvent>
    /** How often what was handed on was taken with room for more, and without. */
    readonly handedOn: { went: number; stopped: number }
    readonly hasRoom: () => boolean
    readonly pause: Effect.Effect<void>
  }
) =>
  Effect.gen(function* () {
    const { next, handOn } = yield* openSource(stream)
    const step = Effect.andThen(
      Effect.map(next, (events) => to.seen.push(...events)),
      to.pause
    )
    const take = handOn((events) => {
      to.seen.push(...events)
      const goesOn = to.hasRoom()
      to.handedOn[goesOn ? "went" : "stopped"]++
      return goesOn
    })
    return yield* Effect.forever(Effect.andThen(step, take))
  }).pipe(Effect.scoped)

const until = (isSo: () => boolean) => eventually(Effect.sync(() => assert.isTrue(isSo())))

const keysOf = (events: ReadonlyArray<{ readonly account: string; readonly version: number }>) =>
  events.map(({ account, version }) => `${account}@${version}`).toSorted()

const assertOnceInOrder = (events: ReadonlyArray<CommittedEvent>, who: string) => {
  const reached = new Map<string, number>()
  for (const { account, version } of events) {
    const last = reached.get(account)
    if (last !== undefined) assert.strictEqual(version, last + 1, `${who}: ${account}@${version} in its turn`)
    reached.set(account, version)
  }
}

describe("subscriptions that share the end of the log", () => {
  for (const seed of [1, 2, 3]) {
    it.live(`get every event once and in order, quick and slow ones (seed ${seed})`, () => {
      const rng = new Rng(seed)
      const watched = { listings: 0, isDown: false, pause: () => (rng.chance(0.4) ? rng.below(12) : 0) }
      const limits = {
        subscribeSharedFrom: 2,
        subscribeSharedEventsMax: 5 + rng.below(60),
        subscribeEventsMax: 1 + rng.below(30)
      }
      return Effect.gen(function* () {
        const { writer, commit } = yield* makeLog(rng)
        for (let nth = 0; nth < 30; nth++) yield* commit
        const { subscribe } = yield* Subscriptions
        const followers = Array.from({ length: 8 }, (_, index) => ({
          name: `follower ${index}`,
          prefix: index % 3 === 0 ? "" : `acc-${index}`,
          pauseMs: index % 4 === 3 ? 3 : 0,
          seen: [] as CommittedEvent[]
        }))
        const wanted = (prefix: string) =>
          writer.log
            .filter(({ accountId }) => accountId.startsWith(prefix))
            .map(({ accountId, version }) => ({ account: accountId, version }))
        const pauseAfter = (pauseMs: number) => (pauseMs > 0 ? Effect.sleep(pauseMs) : Effect.void)
        const handedOn = { went: 0, stopped: 0 }
        const fibers = yield* Effect.forEach(followers, ({ prefix, pauseMs, seen }, index) =>
          Effect.forkChild(
            index % 2 === 0
              ? Stream.runForEach(subscribe({ accountPrefix: prefix }), (event) => {
                  seen.push(event)
                  return pauseAfter(pauseMs)
                })
              : takeHandedOn(subscribe({ accountPrefix: prefix }), {
                  seen,
                  handedOn,
                  hasRoom: () => !rng.chance(0.2),
                  pause: pauseAfter(pauseMs)
                })
          )
        )
        for (let nth = 0; nth < 150; nth++) {
          yield* commit
          if (rng.chance(0.3)) yield* Effect.sleep(rng.below(4))
        }
        // Once they have caught up with the log and follow it, and some of them stopped.
        while (handedOn.went === 0 || handedOn.stopped === 0) {
          yield* commit
          yield* Effect.sleep(10)
        }
        yield* until(() => followers.every(({ prefix, seen }) => seen.length >= wanted(prefix).length))
        yield* Fiber.interruptAll(fibers)
        for (const { name, prefix, seen } of followers) {
          assertOnceInOrder(seen, name)
          assert.deepEqual(keysOf(seen), keysOf(wanted(prefix)), name)
        }
        // A cursor of any of them goes on without a loss.
        for (const { prefix, seen } of followers) {
          const place = rng.below(seen.length)
          const later = new Set(keysOf(seen.slice(place + 1)))
          if (later.size === 0) continue
          yield* subscribe({ accountPrefix: prefix, after: seen[place]?.cursor }).pipe(
            Stream.runForEachWhile(({ account, version }) =>
              Effect.sync(() => {
                later.delete(`${account}@${version}`)
                return later.size > 0
              })
            ),
            Effect.timeout("150 seconds")
          )
        }
      }).pipe(Effect.provide(worldOf(watched, limits)))
    })
  }

  it.live("read the log once for all that have caught up", () => {
    const watched: Watched = { listings: 0, isDown: false }
    return Effect.gen(function* () {
      const { commit } = yield* makeLog(new Rng(1))
      yield* commit
      const { subscribe } = yield* Subscriptions
      const seen = new Array<number>(100).fill(0)
      const fibers = yield* Effect.forEach(seen, (_, index) =>
        subscribe().pipe(
          Stream.runForEach(() =>
            Effect.sync(() => {
              seen[index] = (seen[index] ?? 0) + 1
            })
          ),
          Effect.forkChild
        )
      )
      yield* until(() => seen.every((count) => count === 20))
      // Until the last of them has met the reader between two of its own cuts.
      yield* Effect.sleep("200 millis")
      const before = watched.listings
      yield* Effect.sleep("200 millis")
      // Once in 5 milliseconds by the reader for all; 100 times as often if each looked for itself.
      assert.isBelow(watched.listings - before, 400)
      yield* Fiber.interruptAll(fibers)
      yield* eventually(
        Effect.gen(function* () {
          const after = watched.listings
          yield* Effect.sleep("50 millis")
          assert.strictEqual(watched.listings, after, "nothing is read once the last reader has gone")
        })
      )
    }).pipe(Effect.provide(worldOf(watched)))
  })

  it.live("share it also where each of their cuts has something new", () => {
    const readers = new Set<number>()
    let before = Effect.void
    return Effect.gen(function* () {
      const { commit } = yield* makeLog(new Rng(3))
      yield* commit
      const { subscribe } = yield* Subscriptions
      // Longer than a cut takes, so that not all of them are taken at one time.
      before = Effect.andThen(commit, Effect.sleep(1))
      const fibers = yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkChild(Stream.runDrain(subscribe())))
      yield* eventually(
        Effect.gen(function* () {
          readers.clear()
          yield* Effect.sleep("30 millis")
          assert.strictEqual(readers.size, 1, "one reader for all")
        })
      )
      before = Effect.void
      yield* Fiber.interruptAll(fibers)
    }).pipe(Effect.provide(worldOf({ listings: 0, isDown: false, readers, before: () => before })))
  })

  it.live("share it again where all left at the moment that the reader was started", () => {
    const readers = new Set<number>()
    return Effect.gen(function* () {
      const { watchAccount } = yield* Subscriptions
      const account = AccountId.make("one")
      // The reader's fiber is made by the look, and stopped with the scope in the same turn, before it has begun.
      yield* Effect.gen(function* () {
        for (let nth = 0; nth < 2; nth++) yield* watchAccount(account, 60_000)
        yield* Effect.scoped(yield* watchAccount(account, 60_000))
      }).pipe(Effect.scoped)
      assert.strictEqual(readers.size, 0)
      const watches = yield* Effect.forEach([1, 2, 3], () => watchAccount(account, 60_000))
      for (const watch of watches) yield* watch
      yield* until(() => readers.size > 0)
    }).pipe(Effect.scoped, Effect.provide(worldOf({ listings: 0, isDown: false, readers })))
  })

  it.live("fail when the log does, and share it again later", () => {
    const watched: Watched = { listings: 0, isDown: false }
    return Effect.gen(function* () {
      const { commit } = yield* makeLog(new Rng(2))
      yield* commit
      const { subscribe } = yield* Subscriptions
      const followAll = Effect.forEach([1, 2, 3, 4], () =>
        Effect.forkScoped(Effect.flip(Stream.runDrain(subscribe())))
      )
      for (let round = 0; round < 2; round++) {
        const fibers = yield* followAll
        yield* Effect.sleep("50 millis")
        watched.isDown = true
        const failures = yield* Effect.forEach(fibers, Fiber.join).pipe(Effect.timeout("60 seconds"))
        for (const failure of failures) assert.strictEqual(failure._tag, "Unavailable")
        watched.isDown = false
      }
    }).pipe(Effect.scoped, Effect.provide(worldOf(watched)))
  })

  it.live("wake a reader of an account at its next event, and no other", () => {
    const watched: Watched = { listings: 0, isDown: false }
    return Effect.scoped(
      Effect.gen(function* () {
        const log = yield* EventStore
        const writer = new EventWriter("w")
        yield* log.registerWriter({ writerId: "w", node: "n", closedAt: 0 })
        let seq = 0
        const commit = (...events: ReturnType<typeof writer.decide>) =>
          Effect.orDie(log.commit({ writerId: "w", seq: ++seq, events }))
        yield* commit(...writer.decide(openAccount("one")), ...writer.decide(openAccount("two")))
        const { watchAccount } = yield* Subscriptions
        const watch = yield* watchAccount(AccountId.make("one"), 60_000)
        const others = yield* Effect.forEach(["two", "three"], (id) =>
          watchAccount(AccountId.make(id), 60_000)
        )
        // The first look starts the reader; from then on no wait is left to the clock.
        yield* watch
        yield* Effect.sleep("50 millis")
        const woken: Array<string> = []
        const note = (name: string, { next }: AccountTail) =>
          Effect.andThen(
            next,
            Effect.sync(() => woken.push(name))
          ).pipe(Effect.forkChild)
        const changed = yield* watch
        yield* note("one", changed)
        for (const other of others) yield* note("other", yield* other)
        yield* commit(...writer.decide(deposit("one", 1n)))
        yield* until(() => woken.length > 0)
        assert.deepEqual(woken, ["one"])
        // It is woken too when the reader ends, so that it looks for itself.
        yield* note("one at the end", yield* watch)
        watched.isDown = true
        yield* until(() => woken.includes("one at the end"))
      })
    ).pipe(Effect.provide(worldOf(watched)))
  })
})
