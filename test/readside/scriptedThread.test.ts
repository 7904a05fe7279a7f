/** What the thread of the commands does while the other one starts, by threads that say what a test scripts. */
import { Worker } from "node:worker_threads"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { Completeness } from "../../src/actors/projections/Completeness.ts"
import { ReadSideThreadStatus } from "../../src/actors/projections/ThreadStatus.ts"
import { Singletons } from "../../src/actors/relay/Singletons.ts"
import * as ReadSideThread from "../../src/actors/thread/ReadSideThread.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { quiet } from "../support/callers.ts"
import { EventWriter, openAccount } from "../support/eventWriter.ts"
import { eventually } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

const makeCounts = () => new Int32Array(new SharedArrayBuffer(12))
/** Where the test says that it may go on, and where a thread counts what it is asked to wait for. */
const [goAt, awaitsAt, positionsAt] = [0, 1, 2]

/**
 * A thread that runs this text, with `say` for its messages; it has started once it has said `[0]`. What it counts the test reads, and
 * once the test says so it calls what `onGo` was given.
 */
const threadOf = (text: string, counts: Int32Array) =>
  new Worker(
    `const { parentPort: port, workerData: counts } = require("node:worker_threads")
     const say = (message) => port.postMessage(message)
     const status = JSON.stringify({ relay: {}, projections: [], completeTo: 7 })
     const beat = () => say([1, { _tag: "Beat", beat: { status, heapBytes: 0, nextMs: 250 } }])
     port.on("message", ([kind, message]) => { if (kind === 1) process.exit(0); onMessage(message) })
     const onGo = (then) => {
       const looking = setInterval(() => { if (counts[${goAt}] === 1) { clearInterval(looking); then() } }, 5)
     }
     ${text}`,
    { eval: true, workerData: counts }
  )

const over = (spawn: () => Worker) =>
  ReadSideThread.layer(spawn).pipe(
    Layer.provideMerge(Layer.mergeAll(CommitFeed.layer, ProjectionWaiters.layer)),
    Layer.provideMerge(quiet)
  )

describe("while the thread of the read side starts", () => {
  it.live("the deadlines of queries do not run, until it gives its first sign of life, or ends without", () =>
    Effect.gen(function* () {
      for (const text of [
        "const onMessage = () => {}; onGo(() => { say([0]); beat() })",
        "const onMessage = () => {}; onGo(() => process.exit(3))"
      ]) {
        const counts = makeCounts()
        yield* Effect.gen(function* () {
          const waiters = yield* ProjectionWaiters
          const inTime = yield* Effect.forkChild(waiters.inTime(Effect.never, 0))
          yield* Effect.sleep(50)
          assert.isUndefined(inTime.pollUnsafe())
          counts[goAt] = 1
          yield* eventually(Effect.sync(() => assert.isDefined(inTime.pollUnsafe())))
        }).pipe(Effect.provide(Layer.fresh(over(() => threadOf(text, counts)))))
      }
    })
  )

  it.live("questions that gave up do not pile up before it: it is told of those that still wait", () =>
    Effect.gen(function* () {
      const counts = makeCounts()
      const told = () => [counts[awaitsAt], counts[positionsAt]]
      const text = `
        const onMessage = ({ _tag, positions }) => {
          if (_tag !== "Await") return
          counts[${awaitsAt}]++
          counts[${positionsAt}] += positions.length
        }
        onGo(() => { say([0]); beat() })`
      yield* Effect.gen(function* () {
        const waiters = yield* ProjectionWaiters
        const ask = waiters.await({ account: accountId("a"), version: 1 })
        for (let nth = 0; nth < 100; nth++) yield* Effect.timeoutOption(ask, 0)
        const waiting = yield* Effect.forkChild(ask, { startImmediately: true })
        counts[goAt] = 1
        // Which is counted last.
        yield* eventually(Effect.sync(() => assert.isAtLeast(counts[positionsAt] ?? 0, 1)))
        assert.deepStrictEqual(told(), [1, 1])
        yield* Effect.forkChild(ask, { startImmediately: true })
        yield* eventually(Effect.sync(() => assert.deepStrictEqual(told(), [2, 2])))
        yield* Fiber.interrupt(waiting)
      }).pipe(Effect.provide(over(() => threadOf(text, counts))))
    })
  )

  it.live("large commits are handed over by a message for each two megabytes at most", () =>
    Effect.gen(function* () {
      const counts = makeCounts()
      const text = `
        const onMessage = ({ _tag, commits }) => {
          if (_tag !== "Commits" || commits === "[]") return
          counts[${awaitsAt}] = Math.max(counts[${awaitsAt}], commits.length)
          counts[${positionsAt}] += JSON.parse(commits).length
        }
        say([0]); beat()`
      yield* Effect.gen(function* () {
        const feed = yield* CommitFeed
        const writer = new EventWriter()
        for (const id of ["a", "b", "c", "d", "e", "f"]) {
          const commit = writer.commit(openAccount(id))
          const payload = JSON.stringify("x".repeat(600_000))
          feed.offerUnsafe({ ...commit, events: commit.events.map((row) => ({ ...row, payload })) })
        }
        yield* eventually(Effect.sync(() => assert.strictEqual(counts[positionsAt], 6)))
        assert.isBelow(counts[awaitsAt] ?? 0, 2_000_000)
      }).pipe(Effect.provide(over(() => threadOf(text, counts))))
    })
  )

  it.live(
    "the next thread is told of the last commit of a writer, also where a larger one before it found no room",
    () =>
      Effect.gen(function* () {
        const counts = makeCounts()
        const first = `
        const onMessage = ({ missed }) => { if (missed?.length > 0) process.exit(3) }
        say([0]); beat()`
        const second = `
        const onMessage = ({ missed }) => { if (missed?.length > 0) counts[${positionsAt}] ||= missed[0][1] }
        say([0]); beat()`
        const texts = [first]
        yield* Effect.gen(function* () {
          const feed = yield* CommitFeed
          const writer = new EventWriter()
          for (const [id, length] of [
            ["a", 1],
            ["b", 2_000_000],
            ["c", 1]
          ] as const) {
            const commit = writer.commit(openAccount(id))
            const payload = JSON.stringify("x".repeat(length))
            feed.offerUnsafe({ ...commit, events: commit.events.map((row) => ({ ...row, payload })) })
          }
          yield* eventually(Effect.sync(() => assert.notStrictEqual(counts[positionsAt], 0)))
          assert.strictEqual(counts[positionsAt], 3)
        }).pipe(
          Effect.provide(
            over(() => threadOf(texts.shift() ?? second, counts)).pipe(
              Layer.provide(
                Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, feedBytesMax: 1_000_000 })
              )
            )
          )
        )
      })
  )

  it.live("commits are handed over together, and once a query waits at once", () =>
    Effect.gen(function* () {
      const counts = makeCounts()
      const told = () => [counts[awaitsAt], counts[positionsAt]]
      // Messages with commits, and commits.
      const text = `
        const onMessage = ({ _tag, commits }) => {
          if (_tag !== "Commits" || commits === "[]") return
          counts[${awaitsAt}]++
          counts[${positionsAt}] += JSON.parse(commits).length
        }
        say([0]); beat()`
      yield* Effect.gen(function* () {
        const feed = yield* CommitFeed
        const waiters = yield* ProjectionWaiters
        const status = yield* ReadSideThreadStatus
        yield* eventually(Effect.sync(() => assert.strictEqual(status()?.state, "up")))
        const writer = new EventWriter()
        for (const id of ["a", "b", "c"]) {
          feed.offerUnsafe(writer.commit(openAccount(id)))
          for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
        }
        const asking = yield* Effect.forkChild(waiters.await({ account: accountId("a"), version: 1 }), {
          startImmediately: true
        })
        yield* eventually(Effect.sync(() => assert.deepStrictEqual(told(), [1, 3])))
        feed.offerUnsafe(writer.commit(openAccount("d")))
        yield* eventually(Effect.sync(() => assert.deepStrictEqual(told(), [2, 4])))
        yield* Fiber.interrupt(asking)
      }).pipe(
        Effect.provide(
          over(() => threadOf(text, counts)).pipe(
            Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, lagBudgetMs: 7_200_000 }))
          )
        )
      )
    })
  )

  it.live("a backlog is handed over in pieces, between which commands have their turn", () =>
    Effect.gen(function* () {
      const counts = makeCounts()
      // The most events of one message, and all of them.
      const text = `
        const onMessage = ({ _tag, commits }) => {
          if (_tag !== "Commits") return
          const events = JSON.parse(commits).reduce((sum, [, , rows]) => sum + rows.length, 0)
          counts[${awaitsAt}] = Math.max(counts[${awaitsAt}], events)
          counts[${positionsAt}] += events
        }
        say([0]); beat()`
      yield* Effect.gen(function* () {
        const feed = yield* CommitFeed
        const writer = new EventWriter()
        const backlog = 5_000
        for (let nth = 0; nth < backlog; nth++) feed.offerUnsafe(writer.commit(openAccount(`a-${nth}`)))
        yield* eventually(Effect.sync(() => assert.strictEqual(counts[positionsAt], backlog)))
        assert.strictEqual(counts[awaitsAt], 1_000)
      }).pipe(Effect.provide(over(() => threadOf(text, counts))))
    })
  )

  it.live(
    "the read model is not told to be complete, once the thread has ended, until it says so again",
    () =>
      Effect.gen(function* () {
        const counts = makeCounts()
        const first = "const onMessage = () => {}; say([0]); beat(); onGo(() => process.exit(3))"
        const second = "const onMessage = () => {}; say([0])"
        const texts = [first]
        yield* Effect.gen(function* () {
          const { completeToUnsafe } = yield* Completeness
          const status = yield* ReadSideThreadStatus
          yield* eventually(Effect.sync(() => assert.strictEqual(completeToUnsafe(), 7)))
          counts[goAt] = 1
          yield* eventually(
            Effect.sync(() => assert.deepInclude(status(), { restarts: 1, state: "starting" }))
          )
          assert.strictEqual(completeToUnsafe(), 0)
        }).pipe(Effect.provide(over(() => threadOf(texts.shift() ?? second, counts))))
      })
  )

  it.live("it is given twice as long after each time that it did not start", () =>
    Effect.gen(function* () {
      const status = yield* ReadSideThreadStatus
      yield* eventually(Effect.sync(() => assert.strictEqual(status()?.state, "up")))
      assert.isAtLeast(status()?.restarts ?? 0, 1)
      assert.match(status()?.lastEnd ?? "", /did not start within \d+ ms/)
    }).pipe(
      Effect.provide(
        over(() =>
          threadOf("const onMessage = () => {}; setTimeout(() => { say([0]); beat() }, 2_000)", makeCounts())
        ).pipe(
          Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, readSideStartMs: 300 }))
        )
      )
    )
  )

  it.live("why it ended is told, without addresses and paths", () =>
    Effect.gen(function* () {
      const source = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)
      const throwing = (path: string, name: string, fields: object) =>
        `Promise.all([import("effect"), import(${source("actors/thread/ThreadMessages.ts")}), import(${source(path)})])
          .then(([{ Cause }, { toThrow }, { ${name} }]) => {
            throw toThrow(Cause.fail(new ${name}(${JSON.stringify(fields)})))
          })`
      const thrown: ReadonlyArray<readonly [text: string, told: RegExp]> = [
        [
          throwing("infra/postgres/Migrations.ts", "MigrationFailed", {
            kind: "read-model",
            step: "connecting to postgres://10.0.0.5:5432/books",
            reason: "connect ECONNREFUSED 10.0.0.5:5432",
            toldReason: "cannot connect (ECONNREFUSED)"
          }),
          /^the read-model database: cannot connect \(ECONNREFUSED\)$/
        ],
        [
          throwing("infra/eventstore/EventStoreTypes.ts", "StoreUnavailable", {
            store: "event store",
            reason: "it refused the login (28P01)",
            detail: "no password for keeper"
          }),
          /^event store: it refused the login \(28P01\)$/
        ],
        ['import("/srv/ledger/totals.mjs")', /^it failed, at what its log says$/]
      ]
      for (const [text, told] of thrown)
        yield* Effect.gen(function* () {
          const status = yield* ReadSideThreadStatus
          yield* eventually(Effect.sync(() => assert.match(status()?.lastEnd ?? "", told)))
        }).pipe(
          Effect.provide(
            Layer.fresh(over(() => threadOf(`const onMessage = () => {}; ${text}`, makeCounts())))
          )
        )
    })
  )

  it.live("a part of the read side that leaves this node does not wait for it", () =>
    Effect.gen(function* () {
      const first = `
        const onMessage = ({ _tag }) => { if (_tag === "Own") process.exit(3) }
        say([0]); beat(); say([1, { _tag: "Run", name: "part" }])`
      const texts = [first, "const onMessage = () => {}"]
      const owned = yield* Scope.make()
      const away = new Set<string>()
      const singletons = Layer.succeed(Singletons, {
        setAwayUnsafe: (name, isAway) => {
          if (isAway) away.add(name)
          else away.delete(name)
        },
        run: (_name, life) => Effect.asVoid(Scope.provide(Effect.forkScoped(Effect.scoped(life)), owned)),
        publishUnsafe: () => {},
        statusUnsafe: () => undefined,
        statesUnsafe: () => [],
        troubleUnsafe: () => undefined
      })
      yield* Effect.gen(function* () {
        const status = yield* ReadSideThreadStatus
        yield* eventually(Effect.sync(() => assert.deepInclude(status(), { restarts: 1, state: "starting" })))
        assert.deepStrictEqual([...away], ["part"], "no node is to believe that it is done here")
        const left = yield* Effect.timeoutOption(
          Effect.forkDetach(Scope.close(owned, Exit.void)).pipe(Effect.flatMap(Fiber.join)),
          60_000
        )
        assert.isTrue(left._tag === "Some")
      }).pipe(
        Effect.provide(
          over(() => threadOf(texts.shift() ?? "", makeCounts())).pipe(Layer.provide(singletons))
        )
      )
    })
  )
})
