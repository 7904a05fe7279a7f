/** The relay: every commit reaches the bus in order of its writer, whichever node wrote it and however long the bus was away. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { Relay } from "../../src/actors/relay/Relay.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { fairWeather, makeBusMemory } from "../../src/infra/bus/BusMemory.ts"
import type { BusMessage } from "../../src/infra/bus/BusMessage.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { quiet } from "../support/callers.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { append, appendAndOffer, eventually, limitsOf, type TestLimits } from "../support/readSides.ts"
import { settable } from "../support/settableClock.ts"

/** What the store reads, and what the bus acknowledges at once. */
interface Hands {
  readonly readOf?: (store: EventStore["Service"]) => EventStore["Service"]["readEvents"]
  readonly takes?: (messages: ReadonlyArray<BusMessage>) => boolean
}

const tooMuch = new StoreUnavailable({ store: "bus", reason: "no acknowledgement within 3000 ms" })

/** A bus that keeps what was acknowledged, in order, repetitions included. */
const makeHarness = (
  isAway: () => boolean = () => false,
  isStuck: () => boolean = () => false,
  publishMs = 0,
  { readOf, takes }: Hands = {}
) =>
  Effect.gen(function* () {
    const published: Array<BusMessage> = []
    const { bus } = yield* makeBusMemory({ ...fairWeather, isAway })
    const watched: Bus["Service"] = {
      ...bus,
      publish: (messages) =>
        Effect.suspend(() => {
          if (takes?.(messages) === false) return Effect.fail(tooMuch)
          return isStuck() ? Effect.never : bus.publish(messages)
        }).pipe(
          Effect.delay(publishMs),
          Effect.tap(() => Effect.sync(() => published.push(...messages)))
        )
    }
    const store = yield* Layer.build(
      Layer.effect(
        EventStore,
        Effect.map(EventStore, (real) => ({ ...real, readEvents: readOf?.(real) ?? real.readEvents }))
      ).pipe(Layer.provide(Layer.fresh(EventStore.layerMemory)))
    )
    const relay = (limits: TestLimits = {}) =>
      Layer.fresh(Relay.layer.pipe(Layer.provideMerge(Layer.fresh(CommitFeed.layer)))).pipe(
        Layer.provideMerge(
          Layer.mergeAll(
            Layer.succeedContext(store),
            Layer.succeed(Bus, watched),
            Layer.fresh(ProjectionWaiters.layer)
          )
        ),
        Layer.provide(limitsOf({ ...limits, ledger: { partitions: 1 } }))
      )
    const seqsOf = (writer: string) =>
      published.flatMap(({ parts }) =>
        parts.filter(({ writerId }) => writerId === writer).map(({ seq }) => seq)
      )
    const orderOf = () =>
      published.flatMap(({ parts }) => parts.map(({ writerId, seq }) => `${writerId}:${seq}`))
    /** So many commits of `w1` are on the bus, each once and in order. */
    const isPublished = (count: number) =>
      Effect.sync(() => assert.deepStrictEqual(seqsOf("w1"), upTo(count)))
    return { store, relay, seqsOf, orderOf, isPublished }
  })

const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1)

const commitsOf = (eventWriter: EventWriter, count: number) =>
  Array.from({ length: count }, (_, index) =>
    eventWriter.commit(index === 0 ? openAccount(eventWriter.writerId) : deposit(eventWriter.writerId, 1n))
  )

const cursorIs = (writer: string, seq: number) =>
  eventually(
    Effect.gen(function* () {
      const store = yield* EventStore
      assert.strictEqual((yield* store.relayCursors).get(writer), seq)
    })
  )

describe("the relay", () => {
  it.live("publishes what is offered once and in order", () =>
    Effect.gen(function* () {
      const { relay, seqsOf } = yield* makeHarness()
      yield* Effect.gen(function* () {
        const [first, ...rest] = commitsOf(new EventWriter("w1"), 50)
        if (first !== undefined) yield* appendAndOffer(first)
        yield* cursorIs("w1", 1)
        // The first may have been found in the log by the look for orphans at the start.
        const { eventsFromStore } = (yield* Relay).statusUnsafe()
        for (const commit of rest) yield* appendAndOffer(commit)
        yield* cursorIs("w1", 50)
        assert.deepStrictEqual(seqsOf("w1"), upTo(50))
        assert.deepInclude((yield* Relay).statusUnsafe(), { events: 50, eventsFromStore })
      }).pipe(Effect.provide(relay()))
    })
  )

  it.live("saves its cursors when it ends", () =>
    Effect.gen(function* () {
      const { relay, seqsOf, store } = yield* makeHarness()
      yield* Effect.gen(function* () {
        for (const commit of commitsOf(new EventWriter("w1"), 5)) yield* appendAndOffer(commit)
        const { statusUnsafe } = yield* Relay
        yield* eventually(Effect.sync(() => assert.strictEqual(statusUnsafe().events, 5)))
      }).pipe(Effect.provide(relay({ readSide: { relayCursorMs: 3_000 } })))
      const cursors = yield* Context.get(store, EventStore).relayCursors
      assert.strictEqual(cursors.get("w1"), 5)
      yield* Effect.gen(function* () {
        for (const commit of commitsOf(new EventWriter("w2"), 5)) yield* appendAndOffer(commit)
        yield* cursorIs("w2", 5)
      }).pipe(Effect.provide(relay()))
      assert.deepStrictEqual(seqsOf("w1"), upTo(5))
    })
  )

  it.live("publishes the rest of the feed when it ends", () =>
    Effect.gen(function* () {
      let isAway = false
      const { relay, seqsOf, store } = yield* makeHarness(() => isAway)
      yield* Effect.gen(function* () {
        const [first, ...rest] = commitsOf(new EventWriter("w1"), 5)
        if (first !== undefined) yield* appendAndOffer(first)
        const { statusUnsafe } = yield* Relay
        yield* eventually(Effect.sync(() => assert.strictEqual(statusUnsafe().events, 1)))
        isAway = true
        for (const commit of rest) yield* appendAndOffer(commit)
        yield* eventually(Effect.sync(() => assert.isAbove(statusUnsafe().restarts, 0)))
        isAway = false
      }).pipe(Effect.provide(relay({ readSide: { backoffMaxMs: 3_600_000, relayCursorMs: 3_600_000 } })))
      assert.deepStrictEqual(seqsOf("w1"), upTo(5))
      assert.strictEqual((yield* Context.get(store, EventStore).relayCursors).get("w1"), 5)
    })
  )

  it.live("publishes at its end what was under way when it was told to end", () =>
    Effect.gen(function* () {
      let isStuck = false
      let stuck = 0
      const { relay, seqsOf, store } = yield* makeHarness(
        () => false,
        () => {
          if (isStuck) stuck++
          return isStuck
        }
      )
      yield* Effect.gen(function* () {
        const [first, ...rest] = commitsOf(new EventWriter("w1"), 5)
        if (first !== undefined) yield* appendAndOffer(first)
        const { statusUnsafe } = yield* Relay
        yield* eventually(Effect.sync(() => assert.strictEqual(statusUnsafe().events, 1)))
        isStuck = true
        for (const commit of rest) yield* appendAndOffer(commit)
        yield* eventually(Effect.sync(() => assert.strictEqual(stuck, 1)))
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            isStuck = false
          })
        )
      }).pipe(Effect.scoped, Effect.provide(relay({ readSide: { relayCursorMs: 3_600_000 } })))
      assert.deepStrictEqual(seqsOf("w1"), upTo(5))
      assert.strictEqual((yield* Context.get(store, EventStore).relayCursors).get("w1"), 5)
    })
  )

  // An event of these takes about 500 bytes.
  for (const [what, limit] of Object.entries({
    "of the number of its events": { feedEventsMax: 10 },
    "of their size": { feedBytesMax: 5_000 }
  }))
    it.live(`reads from the store what the feed dropped because ${what}`, () =>
      Effect.gen(function* () {
        let isAway = false
        const { relay, seqsOf } = yield* makeHarness(() => isAway)
        yield* Effect.gen(function* () {
          const [first, ...rest] = commitsOf(new EventWriter("w1"), 200)
          if (first !== undefined) yield* appendAndOffer(first)
          // The look at all tails, at the start, is over.
          yield* cursorIs("w1", 1)
          isAway = true
          for (const commit of rest) yield* appendAndOffer(commit)
          isAway = false
          yield* cursorIs("w1", 200)
          assert.deepStrictEqual(seqsOf("w1"), upTo(200))
          assert.isAbove((yield* Relay).statusUnsafe().eventsFromStore, 100)
        }).pipe(Effect.provide(relay({ readSide: { ...limit, publishEventsMax: 7 } })))
      })
    )

  it.live("publishes tails that it reads from the store in the order in which they were recorded", () =>
    Effect.gen(function* () {
      const { relay, orderOf, store } = yield* makeHarness()
      // In turn, so that each tail has commits between those of the other.
      const writers = [new EventWriter("w1"), new EventWriter("w2")]
      const commits = upTo(300).flatMap((turn) =>
        writers.map((writer, index) => {
          writer.now = 2 * turn + index
          return writer.commit(turn === 1 ? openAccount(writer.writerId) : deposit(writer.writerId, 1n))
        })
      )
      for (const commit of commits) yield* Effect.provide(append(commit), store)
      const log = Context.get(store, EventStore)
      for (const { writerId } of writers) yield* log.fenceWriter(writerId)
      yield* cursorIs("w1", 301).pipe(Effect.provide(relay({ readSide: { publishEventsMax: 7 } })))
      assert.deepStrictEqual(
        orderOf(),
        commits.map(({ writerId, seq }) => `${writerId}:${seq}`)
      )
    })
  )

  it.live("publishes what it took out of the feed while the bus was away", () =>
    Effect.gen(function* () {
      let isAway = false
      const { relay, seqsOf } = yield* makeHarness(() => isAway)
      yield* Effect.gen(function* () {
        const { statusUnsafe } = yield* Relay
        const [first, second, last] = commitsOf(new EventWriter("w1"), 3)
        if (first !== undefined) yield* appendAndOffer(first)
        yield* cursorIs("w1", 1)
        isAway = true
        if (second !== undefined) yield* appendAndOffer(second)
        yield* eventually(
          Effect.sync(() => assert.strictEqual(statusUnsafe().lastError, "bus: the bus is away"))
        )
        // Nothing follows that would show a gap.
        isAway = false
        yield* cursorIs("w1", 2)
        if (last !== undefined) yield* appendAndOffer(last)
        yield* cursorIs("w1", 3)
        assert.deepStrictEqual(seqsOf("w1"), upTo(3))
        assert.isUndefined(statusUnsafe().lastError)
      }).pipe(Effect.provide(relay()))
    })
  )

  it.live("publishes at its start the tails that dead nodes left", () =>
    Effect.gen(function* () {
      const { relay, seqsOf, store } = yield* makeHarness()
      for (const commit of commitsOf(new EventWriter("dead"), 12))
        yield* Effect.provide(append(commit), store)
      const log = Context.get(store, EventStore)
      yield* log.moveRelayCursors(new Map([["dead", 4]]))
      yield* log.fenceWriter("dead")
      yield* cursorIs("dead", 13).pipe(Effect.provide(relay({ readSide: { publishEventsMax: 3 } })))
      assert.deepStrictEqual(seqsOf("dead"), upTo(12).slice(4))
    })
  )

  it.live("publishes a large commit over a link that takes little at once", () =>
    Effect.gen(function* () {
      const { relay, seqsOf } = yield* makeHarness(undefined, undefined, 0, {
        takes: (messages) => messages.length <= 3
      })
      yield* Effect.gen(function* () {
        const writer = new EventWriter("w1")
        yield* appendAndOffer(writer.commit(openAccount("w1")))
        yield* cursorIs("w1", 1)
        yield* appendAndOffer(writer.commit(...upTo(100).map(() => deposit("w1", 1n))))
        yield* cursorIs("w1", 2)
      }).pipe(Effect.provide(relay({ readSide: { messageBytesMax: 1_000 } })))
      assert.isAbove(seqsOf("w1").filter((seq) => seq === 2).length, 3)
    })
  )

  it.live("publishes what stands before and behind a commit that cannot be read", () =>
    Effect.gen(function* () {
      const page = new StoreUnavailable({ store: "event store", reason: "invalid page", state: "XX001" })
      const { relay, seqsOf, store } = yield* makeHarness(undefined, undefined, 0, {
        readOf:
          ({ readEvents }) =>
          (keys) =>
            keys.some(({ version }) => version === 5) ? Effect.fail(page) : readEvents(keys)
      })
      for (const commit of commitsOf(new EventWriter("dead"), 12))
        yield* Effect.provide(append(commit), store)
      yield* Context.get(store, EventStore).fenceWriter("dead")
      yield* cursorIs("dead", 13).pipe(Effect.provide(relay()), Effect.provide(quiet))
      assert.deepStrictEqual(
        seqsOf("dead"),
        upTo(12).filter((seq) => seq !== 5)
      )
    })
  )

  it.live("is done with a writer whose commits were published before its fence, or that made none", () =>
    Effect.gen(function* () {
      const { relay, seqsOf, store } = yield* makeHarness()
      const log = Context.get(store, EventStore)
      for (const commit of commitsOf(new EventWriter("dead"), 3)) yield* Effect.provide(append(commit), store)
      yield* log.moveRelayCursors(new Map([["dead", 3]]))
      yield* log.registerWriter({ writerId: "idle", node: "a", closedAt: 0 })
      for (const writer of ["dead", "idle"]) yield* log.fenceWriter(writer)
      yield* Effect.gen(function* () {
        // They are listed no more.
        yield* eventually(Effect.map(log.lastFinished, (last) => assert.strictEqual(last, 2)))
        const { statusUnsafe } = yield* Relay
        yield* eventually(Effect.sync(() => assert.strictEqual(statusUnsafe().unpublished, 0)))
      }).pipe(Effect.provide(relay({ readSide: { writerKeptMs: 1, orphansMs: 20 } })))
      assert.deepStrictEqual([...seqsOf("dead"), ...seqsOf("idle")], [])
    })
  )

  it.live("publishes what is offered while it publishes a long tail of a dead node", () =>
    Effect.gen(function* () {
      const { relay, orderOf, store } = yield* makeHarness(undefined, undefined, 10)
      for (const commit of commitsOf(new EventWriter("dead"), 90))
        yield* Effect.provide(append(commit), store)
      yield* Context.get(store, EventStore).fenceWriter("dead")
      yield* Effect.gen(function* () {
        yield* eventually(Effect.sync(() => assert.isAbove(orderOf().length, 0)))
        for (const commit of commitsOf(new EventWriter("w1"), 3)) yield* appendAndOffer(commit)
        yield* cursorIs("dead", 91)
        yield* cursorIs("w1", 3)
      }).pipe(Effect.provide(relay({ readSide: { publishEventsMax: 2 } })))
      const order = orderOf()
      assert.deepStrictEqual(
        order.filter((one) => one.startsWith("dead")),
        upTo(90).map((seq) => `dead:${seq}`)
      )
      assert.isBelow(order.indexOf("w1:3"), order.indexOf("dead:90"))
    })
  )

  it.live("publishes the tails of dead nodes only", () =>
    Effect.gen(function* () {
      const { relay, seqsOf } = yield* makeHarness()
      yield* Effect.gen(function* () {
        const store = yield* EventStore
        for (const commit of commitsOf(new EventWriter("w1"), 1)) yield* appendAndOffer(commit)
        yield* cursorIs("w1", 1)
        for (const commit of commitsOf(new EventWriter("other"), 3)) yield* append(commit)
        for (const commit of commitsOf(new EventWriter("alive"), 3)) yield* append(commit)
        // The others go on reporting, one does not.
        const beat = (writerId: string) => ({ writerId, closedAt: 0 })
        yield* eventually(
          Effect.gen(function* () {
            yield* store.heartbeat([beat("w1"), beat("alive")])
            assert.strictEqual((yield* store.relayCursors).get("other"), 3)
          })
        )
        assert.deepStrictEqual(seqsOf("other"), [1, 2, 3])
        assert.deepStrictEqual(seqsOf("alive"), [])
      }).pipe(Effect.provide(relay({ readSide: { orphansMs: 20, writerSilentMs: 200 } })))
    })
  )

  describe("of a backlog", () => {
    const behindMs = 60_000
    /** The first commit is taken at once, the others came every 2 ms: a slice of 250 took 500 ms to be recorded, a third of which it is given. */
    const backlog = Effect.gen(function* () {
      // The look for tails of dead nodes at the start finds nothing.
      yield* TestClock.adjust(1)
      const writer = new EventWriter("w1", 1)
      const commits = upTo(900).map((seq) => {
        writer.now++
        return writer.commit(seq === 1 ? openAccount("w1") : deposit("w1", 1n))
      })
      yield* TestClock.setTime(writer.now + behindMs)
      for (const commit of commits) yield* append(commit)
      const feed = yield* CommitFeed
      for (const commit of commits) feed.offerUnsafe(commit)
    })

    it.effect("publishes it slice by slice, at most three times as fast as it was recorded", () =>
      Effect.gen(function* () {
        const { relay, isPublished } = yield* makeHarness()
        yield* Effect.gen(function* () {
          yield* backlog
          yield* TestClock.adjust(1)
          yield* isPublished(251)
          yield* TestClock.adjust(150)
          yield* isPublished(251)
          yield* TestClock.adjust(50)
          yield* isPublished(501)
          yield* TestClock.adjust(400)
          yield* isPublished(900)
        }).pipe(Effect.provide(relay({ readSide: { relayCursorMs: 3_600_000 } })))
      })
    )

    it.effect("rests no longer where the clock is set back while a slice is published", () =>
      Effect.gen(function* () {
        const machine = settable(yield* Clock.Clock)
        let backMs = 0
        const setBack = () => {
          backMs += behindMs / 10
          machine.setBack(backMs)
          return false
        }
        const { relay, isPublished } = yield* makeHarness(() => false, setBack)
        yield* Effect.gen(function* () {
          yield* backlog
          yield* TestClock.adjust(1)
          yield* isPublished(251)
          yield* TestClock.adjust(200)
          yield* isPublished(501)
        }).pipe(
          Effect.provide(
            relay({ readSide: { relayCursorMs: 3_600_000 } }).pipe(
              Layer.provide(Layer.succeed(Clock.Clock, machine.clock))
            )
          )
        )
      })
    )

    it.effect("publishes the tail of a dead node meanwhile", () =>
      Effect.gen(function* () {
        const { relay, seqsOf, isPublished } = yield* makeHarness()
        yield* Effect.gen(function* () {
          yield* backlog
          yield* TestClock.adjust(1)
          yield* isPublished(251)
          for (const commit of commitsOf(new EventWriter("other"), 3)) yield* append(commit)
          const { fenceWriter } = yield* EventStore
          yield* fenceWriter("other")
          yield* TestClock.adjust(100)
          assert.deepStrictEqual(seqsOf("other"), [1, 2, 3])
          yield* isPublished(251)
          yield* TestClock.adjust(600)
          yield* isPublished(900)
        }).pipe(Effect.provide(relay({ readSide: { relayCursorMs: 3_600_000, orphansMs: 50 } })))
      })
    )

    it.effect("publishes it without a rest while a query waits for what is behind", () =>
      Effect.gen(function* () {
        const { relay, isPublished } = yield* makeHarness()
        yield* Effect.gen(function* () {
          yield* backlog
          yield* TestClock.adjust(1)
          yield* isPublished(251)
          const { await: awaitPosition } = yield* ProjectionWaiters
          yield* Effect.forkScoped(awaitPosition({ account: "w1" as AccountId, version: 900 })) // as the writer's id
          yield* TestClock.adjust(1)
          yield* isPublished(900)
        }).pipe(Effect.provide(relay({ readSide: { relayCursorMs: 3_600_000 } })))
      })
    )

    it.effect("publishes all of it without a rest when it ends", () =>
      Effect.gen(function* () {
        const { relay, isPublished } = yield* makeHarness()
        yield* Effect.gen(function* () {
          yield* backlog
          yield* TestClock.adjust(1)
          yield* isPublished(251)
        }).pipe(Effect.provide(relay({ readSide: { relayCursorMs: 3_600_000 } })))
        yield* isPublished(900)
      })
    )
  })
})
