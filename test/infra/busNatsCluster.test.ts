/** The contract of the bus over three servers of the shipped docker/nats.conf and three replicas, and what their loss does. */
import { randomBytes } from "node:crypto"
import { NodeServices } from "@effect/platform-node"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, ManagedRuntime, Result, Schedule } from "effect"
import type { Bus, Delivery } from "../../src/infra/bus/Bus.ts"
import { pack } from "../../src/infra/bus/BusMessage.ts"
import { makeBusNats } from "../../src/infra/bus/BusNats.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { connectTo, startNatsCluster } from "../support/natsCluster.ts"
import { busContract } from "./busContract.ts"

class Cluster extends Context.Service<Cluster, Effect.Success<typeof startNatsCluster>>()(
  "chronicle/test/NatsCluster"
) {}

const runtime = ManagedRuntime.make(
  Layer.effect(Cluster, startNatsCluster).pipe(Layer.provide(NodeServices.layer))
)
beforeAll(() => runtime.runPromise(Effect.asVoid(Cluster)))
afterAll(() => runtime.dispose())
const cluster = Effect.promise(() => runtime.runPromise(Cluster))

const patiently = { schedule: Schedule.spaced("50 millis"), times: 2_000 }

/** A stream of its own, deleted with the scope; connected. */
const streamWith = (limits: { readonly ackWaitMs: number }) =>
  Effect.provideService(makeStream, ReadSideConfig, { ...defaultReadSideLimits, ...limits })

const makeStream = Effect.gen(function* () {
  const { url } = yield* cluster
  const id = randomBytes(6).toString("hex")
  const connection = yield* Effect.acquireRelease(connectTo(url), (opened) =>
    Effect.promise(() => opened.close())
  )
  const jsm = yield* Effect.promise(() => connection.jetstreamManager())
  const stream = `TEST_${id}`
  const wipe = Effect.promise(() => jsm.streams.delete(stream)).pipe(Effect.asVoid)
  yield* Effect.addFinalizer(() => wipe.pipe(Effect.exit))
  const bus = yield* makeBusNats({ url, stream, subject: `test.${id}`, replicas: 3 })
  yield* bus.publish([]).pipe(Effect.retry(patiently))
  return { bus, wipe, jsm, stream }
})

busContract("JetStream in a cluster of three", streamWith)

/** Publishes commit after commit, each until it is stored, and reads them, while the test does something to the servers. */
const load = Effect.gen(function* () {
  const { bus, stream } = yield* streamWith({ ackWaitMs: 10_000 })
  const writer = new EventWriter()
  let published = 0
  let read = 0
  const publishOne = Effect.suspend(() => {
    const commit = writer.commit(published === 0 ? openAccount("a") : deposit("a", 1n))
    return bus.publish(pack([commit], { partitions: 1, bytesMax: 100_000 })).pipe(
      Effect.retry(patiently),
      Effect.andThen(
        Effect.sync(() => {
          published = commit.seq
        })
      )
    )
  })
  /** Where in the stream each commit stands. */
  const places = new Map<number, Set<number>>()
  const note = ({ ackUnsafe, message, position }: Delivery): void => {
    for (const { seq } of Result.getOrThrow(message).parts) {
      places.set(seq, (places.get(seq) ?? new Set()).add(position))
    }
    ackUnsafe()
  }
  const reading = Effect.scoped(
    Effect.gen(function* () {
      const subscription = yield* bus.subscribe({ projection: "test", partition: 0 })
      while (true) for (const delivery of yield* subscription.take(() => true)) note(delivery)
    })
  ).pipe(Effect.retry(patiently))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(publishOne, Effect.sleep("5 millis"))))
  yield* Effect.forkScoped(reading)
  return {
    stream,
    publishedUnsafe: () => published,
    /** Waits until commits from here on have been published and read. */
    goesOn: Effect.suspend(() => {
      const goal = published + 20
      return Effect.repeat(
        Effect.sync(() => places.has(goal)),
        { until: (has) => has, schedule: Schedule.spaced("20 millis") }
      ).pipe(
        Effect.andThen(
          Effect.sync(() => {
            read = goal
          })
        )
      )
    }),
    /** Of those before one that was read; others may be on their way. */
    missingUnsafe: () =>
      Array.from({ length: read }, (_, index) => index + 1).filter((seq) => !places.has(seq)),
    doubledUnsafe: () => [...places].filter(([, positions]) => positions.size > 1)
  }
})

describe("the bus over a cluster of three", () => {
  it.live("keeps each message on three servers", () =>
    Effect.gen(function* () {
      const { jsm, stream } = yield* streamWith({ ackWaitMs: 10_000 })
      const { cluster: peers, config } = yield* Effect.promise(() => jsm.streams.info(stream))
      assert.strictEqual(config.num_replicas, 3)
      assert.strictEqual(peers?.replicas?.length, 2)
    })
  )

  it.live("goes on without the server that led its stream, and nothing is lost or stored twice", () =>
    Effect.gen(function* () {
      const { leaderOf, settled } = yield* cluster
      const { doubledUnsafe, goesOn, missingUnsafe, stream } = yield* load
      yield* goesOn
      const leader = yield* leaderOf(stream)
      yield* leader.kill
      yield* goesOn
      assert.notStrictEqual((yield* leaderOf(stream)).name, leader.name)
      yield* leader.start
      yield* settled
      yield* goesOn
      assert.deepStrictEqual(missingUnsafe(), [])
      assert.deepStrictEqual(doubledUnsafe(), [])
    })
  )

  it.live("waits for a second server where two of three are gone, and nothing is lost or stored twice", () =>
    Effect.gen(function* () {
      const { servers, settled } = yield* cluster
      const { doubledUnsafe, goesOn, missingUnsafe, publishedUnsafe } = yield* load
      yield* goesOn
      const [first = assert.fail(), second = assert.fail()] = servers
      yield* Effect.all([first.kill, second.kill], { concurrency: "unbounded" })
      yield* Effect.sleep("1 second")
      const before = publishedUnsafe()
      yield* Effect.sleep("4 seconds")
      assert.strictEqual(publishedUnsafe(), before, "one of three acknowledges nothing")
      yield* first.start
      yield* goesOn
      yield* second.start
      yield* settled
      yield* goesOn
      assert.deepStrictEqual(missingUnsafe(), [])
      assert.deepStrictEqual(doubledUnsafe(), [])
    })
  )

  it.live("warns once where a stream is on fewer servers than it could be, or than it should be", () =>
    Effect.gen(function* () {
      const { url } = yield* cluster
      const { jsm } = yield* streamWith({ ackWaitMs: 10_000 })
      const stream = `TEST_${randomBytes(6).toString("hex")}`
      const wipe = Effect.promise(() => jsm.streams.delete(stream))
      yield* Effect.addFinalizer(() => Effect.exit(wipe))
      /** What a bus warns of that looks for its stream, and then for `again`. */
      const warningsOf = (replicas: number, again: (bus: Bus["Service"]) => Effect.Effect<unknown>) => {
        const warnings: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (logLevel === "Warn") warnings.push(String(message))
        })
        return makeBusNats({ url, stream, subject: `test.${stream}`, replicas }).pipe(
          Effect.tap((bus) => bus.publish([]).pipe(Effect.retry(patiently))),
          Effect.tap(again),
          Effect.scoped,
          Effect.provide(Logger.layer([logger])),
          Effect.map(() => warnings)
        )
      }
      const messages = pack([new EventWriter().commit(openAccount("a"))], { partitions: 1, bytesMax: 1_000 })
      const makesItAnew = (bus: Bus["Service"]) =>
        wipe.pipe(
          Effect.andThen(Effect.flip(bus.publish(messages))),
          // A stream that was just made is not known to every server at once.
          Effect.andThen(bus.publish(messages).pipe(Effect.retry(patiently))),
          Effect.orDie
        )
      const [alone = "", ...others] = yield* warningsOf(1, makesItAnew)
      assert.include(alone, `the stream ${stream} is on one server of the cluster chronicle`)
      assert.deepStrictEqual(others, [])

      const [fewer = "", ...more] = yield* warningsOf(3, () => Effect.void)
      assert.include(fewer, `the stream ${stream} keeps each message on 1 of the servers, but`)
      assert.deepStrictEqual(more, [])

      yield* Effect.promise(() => jsm.streams.update(stream, { num_replicas: 3 }))
      assert.deepStrictEqual(yield* warningsOf(3, () => Effect.void), [])
    })
  )
})
