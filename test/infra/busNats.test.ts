/** The contract of the bus over JetStream, and what happens while the server is away or has lost everything. */
import { randomBytes } from "node:crypto"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, FileSystem, Result, Schedule } from "effect"
import { connect, DiscardPolicy, RetentionPolicy, StorageType } from "nats"
import { eventsOf, pack } from "../../src/infra/bus/BusMessage.ts"
import { makeBusNats } from "../../src/infra/bus/BusNats.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { startNats } from "../../src/infra/dev/NatsServer.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { ownPort } from "../support/ports.ts"
import { busContract } from "./busContract.ts"

const natsUrl = inject("natsUrl")
const patiently = { schedule: Schedule.spaced("50 millis"), times: 1_000 }

const manager = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => connect({ servers: natsUrl })),
    (connection) => Effect.promise(() => connection.close())
  ),
  (connection) => connection.jetstreamManager()
)

/** A stream of its own, deleted with the scope; connected. */
const streamWith = (limits: { readonly ackWaitMs: number }) =>
  Effect.provideService(makeStream, ReadSideConfig, { ...defaultReadSideLimits, ...limits })

const makeStream = Effect.gen(function* () {
  const id = randomBytes(6).toString("hex")
  const jsm = yield* Effect.flatMap(manager, (pending) => Effect.promise(() => pending))
  const wipe = Effect.promise(() => jsm.streams.delete(`TEST_${id}`)).pipe(Effect.asVoid)
  yield* Effect.addFinalizer(() => wipe.pipe(Effect.exit))
  const bus = yield* makeBusNats({ url: natsUrl, stream: `TEST_${id}`, subject: `test.${id}` })
  yield* bus.publish([]).pipe(Effect.retry(patiently))
  return { bus, wipe, jsm, stream: `TEST_${id}` }
})

const freshStream = streamWith({ ackWaitMs: 60_000 })

busContract("JetStream", streamWith)

describe("the bus over JetStream alone", () => {
  it.live("keeps its stream bounded in size and age, on disk", () =>
    Effect.gen(function* () {
      const { jsm, stream } = yield* freshStream
      const { config } = yield* Effect.promise(() => jsm.streams.info(stream))
      assert.deepInclude(config, {
        retention: RetentionPolicy.Limits,
        storage: StorageType.File,
        discard: DiscardPolicy.Old,
        max_bytes: 2 ** 30,
        max_age: 86_400_000_000_000
      })
    })
  )

  it.live("delivers a large commit in pieces that the server takes", () =>
    Effect.gen(function* () {
      const { bus } = yield* freshStream
      const writer = new EventWriter()
      const deposits = Array.from({ length: 5_000 }, () => deposit("a", 1n, "\u{1f4b6}".repeat(100)))
      const commit = writer.commit(openAccount("a"), ...deposits)
      const messages = pack([commit], { partitions: 1, bytesMax: defaultReadSideLimits.messageBytesMax })
      assert.isAbove(messages.length, 5)
      yield* bus.publish(messages)
      const subscription = yield* bus.subscribe({ projection: "test", partition: 0 })
      const events = []
      while (events.length < commit.events.length) {
        for (const delivery of yield* subscription.take(() => true)) {
          events.push(...eventsOf(Result.getOrThrow(delivery.message)))
          delivery.ackUnsafe()
        }
      }
      assert.deepStrictEqual(events, [...commit.events])
    })
  )

  it.live("goes on after a message that cannot be read", () =>
    Effect.gen(function* () {
      const { bus, stream } = yield* freshStream
      const id = stream.slice("TEST_".length)
      const connection = yield* Effect.acquireRelease(
        Effect.promise(() => connect({ servers: natsUrl })),
        (opened) => Effect.promise(() => opened.close())
      )
      yield* Effect.promise(() => connection.jetstream().publish(`test.${id}.0`, '{"partition":0}'))
      const commit = new EventWriter().commit(openAccount("a"))
      yield* bus.publish(pack([commit], { partitions: 1, bytesMax: 1_000 }))
      const subscription = yield* bus.subscribe({ projection: "test", partition: 0 })
      const taken = []
      while (taken.length < 2) taken.push(...(yield* subscription.take(() => true)))
      assert.deepStrictEqual(
        taken.map(({ message }) => Result.isSuccess(message)),
        [false, true]
      )
    })
  )

  it.live(
    "survives the late start, the restart and the loss of its server",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-test-nats-" })
        const port = yield* ownPort
        const url = `nats://127.0.0.1:${port}`
        const bus = yield* makeBusNats({ url })
        const writer = new EventWriter()
        const publishOne = Effect.suspend(() => {
          const commit = writer.commit(writer.log.length === 0 ? openAccount("a") : deposit("a", 1n))
          return bus
            .publish(pack([commit], { partitions: 1, bytesMax: 100_000 }))
            .pipe(Effect.retry(patiently), Effect.as(commit.seq))
        })
        /** Reads until a commit comes: one before it comes again where its acknowledgement was lost with the server. */
        const readUpTo = (wanted: number) =>
          Effect.scoped(
            Effect.gen(function* () {
              const subscription = yield* bus.subscribe({ projection: "test", partition: 0 })
              while (true) {
                for (const delivery of yield* subscription.take(() => false)) {
                  const seq = Result.getOrThrow(delivery.message).parts[0]?.seq ?? 0
                  assert.isAtMost(seq, wanted)
                  delivery.ackUnsafe()
                  if (seq === wanted) return seq
                }
              }
            })
          ).pipe(Effect.retry(patiently))

        const before = yield* Effect.flip(bus.publish([]))
        assert.strictEqual(before.reason, "not connected")

        const nats = yield* startNats({
          directory: `${directory}/data`,
          pidFile: `${directory}/nats.pid`,
          logFile: `${directory}/nats.log`,
          port
        })
        assert.strictEqual(yield* publishOne, 1)
        assert.strictEqual(yield* readUpTo(1), 1)

        yield* nats.kill
        yield* nats.start
        assert.strictEqual(yield* publishOne, 2)
        assert.strictEqual(yield* readUpTo(2), 2)

        yield* nats.deleteJetStream
        yield* nats.start
        assert.strictEqual(yield* publishOne, 3)
        assert.strictEqual(yield* readUpTo(3), 3)
      }).pipe(Effect.provide(NodeServices.layer)),
    420_000
  )
})
