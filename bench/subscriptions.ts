/**
 * `npm run bench:subscriptions`: what a subscription costs that follows a log from its beginning, by the number of lives
 * of nodes that wrote it. Time to the first event, events a second, the longest stall of the event loop, memory, and the
 * length of a cursor should not depend on how many lives there were. The store is made up in memory, as fast as it is
 * asked, so that what is measured is the merge alone.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Effect, Layer, Logger, Stream } from "effect"
import { CommitFeed } from "../src/actors/commit/CommitFeed.ts"
import { Subscriptions } from "../src/actors/subscriptions/Subscriptions.ts"
import type { AccountId, CommandId } from "../src/domain/Ids.ts"
import type { StoredEvent } from "../src/domain/StoredEvent.ts"
import { type CommitRow, EventStore } from "../src/infra/eventstore/EventStore.ts"

interface Shape {
  readonly name: string
  /** Writers that wrote one after another, each for `lifeMs`, and are finished. */
  readonly lives: number
  /** Writers that all write from the beginning to now. */
  readonly open: number
  readonly commitsEach: number
  readonly keysACommit: number
}

const shapes: ReadonlyArray<Shape> = [
  { name: "6 open writers", lives: 0, open: 6, commitsEach: 200, keysACommit: 200 },
  { name: "300 open writers", lives: 0, open: 300, commitsEach: 100, keysACommit: 200 },
  { name: "100 finished lives", lives: 100, open: 6, commitsEach: 100, keysACommit: 200 },
  { name: "10,000 finished lives", lives: 10_000, open: 6, commitsEach: 100, keysACommit: 200 }
]

const lifeMs = 600_000
const eventsMax = 100_000

/** Commit `seq` of a writer that began at `began`: accounts of its own, so that each commit is ready. */
const rowOf = (shape: Shape, writerId: string, began: number, seq: number): CommitRow => {
  const accounts = Math.min(shape.commitsEach, 20)
  return {
    writerId,
    seq,
    recordedAt: began + Math.floor((seq * lifeMs) / shape.commitsEach),
    rows: shape.keysACommit,
    keys: Array.from({ length: shape.keysACommit }, (_, key) => {
      const account = `${writerId}:${(seq % accounts) * shape.keysACommit + key}` as AccountId // made up here
      const version = Math.floor(seq / accounts) + 1
      return [account, version, version] as const
    })
  }
}

const eventOf = (account: AccountId, version: number): StoredEvent => ({
  accountId: account,
  version,
  type: "Deposited",
  schemaVersion: 1,
  payload: '{"amount":"1","contra":"external:bank"}',
  commandId: `${account}@${version}` as CommandId, // made up here
  ordinal: 0,
  commandHash: null,
  recordedAt: 1,
  effectiveAt: null,
  context: null,
  hash: "h"
})

const idOf = (kind: string, index: number) => `node-host-name-12345678.${kind}${index}.abcdef.0`

/** A log of this shape, which is made up as it is read. */
const storeOf = (shape: Shape) =>
  Layer.effect(
    EventStore,
    Effect.map(EventStore, (real): EventStore["Service"] => {
      const began = new Map<string, number>()
      for (let index = 0; index < shape.lives; index++) began.set(idOf("life", index), index * lifeMs)
      const fence = shape.commitsEach + 1
      return {
        ...real,
        listWriters: Effect.sync(() =>
          Array.from({ length: shape.open }, (_, index) => ({
            writerId: idOf("open", index),
            node: "n",
            lastSeq: shape.commitsEach,
            fenced: false,
            closedAt: 0,
            heartbeatAt: 0
          }))
        ),
        lastFinished: Effect.succeed(shape.lives),
        finishedWriters: ({ above, upTo, limit }) =>
          Effect.sync(() =>
            Array.from({ length: Math.min(limit, upTo - above) }, (_, index) => ({
              ordinal: above + index + 1,
              writerId: idOf("life", above + index),
              lastSeq: fence,
              startedAt: (above + index) * lifeMs
            }))
          ),
        readTail: ({ writerId, after, limit }) =>
          Effect.sync(() => {
            const start = began.get(writerId)
            const last = start === undefined ? shape.commitsEach : fence
            return Array.from({ length: Math.min(limit, last - after) }, (_, index): CommitRow => {
              const seq = after + index + 1
              return seq === fence
                ? { writerId, seq, recordedAt: (start ?? 0) + lifeMs, rows: 0, keys: [] }
                : rowOf(shape, writerId, start ?? 0, seq)
            })
          }),
        readEvents: (keys) => Effect.sync(() => keys.map(({ account, version }) => eventOf(account, version)))
      }
    })
  ).pipe(Layer.provide(EventStore.layerMemory))

/** The longest time in which no timer could run, while `self` runs. */
const withStalls = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const watch = { longestMs: 0, last: performance.now() }
      const timer = setInterval(() => {
        const now = performance.now()
        watch.longestMs = Math.max(watch.longestMs, now - watch.last - 5)
        watch.last = now
      }, 5)
      return { watch, timer }
    }),
    ({ watch }) => Effect.map(self, (value) => ({ value, longestMs: watch.longestMs })),
    ({ timer }) => Effect.sync(() => clearInterval(timer))
  )

const measure = Effect.fnUntraced(function* (shape: Shape) {
  const { subscribe } = yield* Subscriptions
  const began = yield* Clock.currentTimeMillis
  let firstMs = 0
  let count = 0
  let cursor = 0
  const read = subscribe().pipe(
    Stream.take(eventsMax),
    Stream.runForEach((event) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        if (count++ === 0) firstMs = now - began
        cursor = Math.max(cursor, event.cursor.length)
      })
    )
  )
  const { longestMs } = yield* withStalls(read)
  const seconds = ((yield* Clock.currentTimeMillis) - began) / 1_000
  return {
    log: shape.name,
    "first event, ms": firstMs,
    "events a second": Math.round(count / seconds),
    "longest stall, ms": Math.round(longestMs),
    "longest cursor, characters": cursor,
    "resident memory, MB": Math.round(process.memoryUsage().rss / 2 ** 20)
  }
})

const program = Effect.gen(function* () {
  const rows = yield* Effect.forEach(shapes, (shape) =>
    measure(shape).pipe(
      Effect.provide(
        Layer.fresh(Subscriptions.layer.pipe(Layer.provide(Layer.mergeAll(storeOf(shape), CommitFeed.layer))))
      )
    )
  )
  yield* Console.table(rows)
})

NodeRuntime.runMain(program.pipe(Effect.provide(Layer.succeed(Logger.LogToStderr, true))))
