/** The read side on PostgreSQL and JetStream: it follows the log, whatever the bus does with the messages. */
import { randomBytes } from "node:crypto"
import { assert, describe, inject, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { connect, type NatsConnection } from "nats"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { Relay } from "../../src/actors/relay/Relay.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { pack } from "../../src/infra/bus/BusMessage.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { execute } from "../support/databases.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import {
  append,
  assertCaughtUp,
  assertPrefixes,
  assertVersions,
  eventually,
  freshReadModel,
  play,
  readModelOn,
  readSideOn,
  sweeping,
  type TestLimits,
  underAnotherId
} from "../support/readSides.ts"

const natsUrl = inject("natsUrl")
const ids = Array.from({ length: 20 }, (_, index) => `acc-${index}`)
const opening = ids.map((id) => openAccount(id))

/** A round of deposits, transfers between neighbours and withdrawals. */
const round = (number: number): ReadonlyArray<CommandInput> =>
  ids.flatMap((id, index) => [
    deposit(id, BigInt(100 + number)),
    transfer(id, ids[(index + 1) % ids.length] ?? id, BigInt(1 + index)),
    withdraw(id, 3n)
  ])

interface World {
  readonly eventWriter: EventWriter
  readonly databaseUrl: string
  readonly nats: NatsConnection
  readonly stream: string
  readonly subject: string
  /** One more process's read side on the same log, stream and read model; `own` are consumers of its own. */
  readonly process: (limits?: TestLimits, own?: string) => ReturnType<typeof readSideOn<never>>
}

/** A log in memory, a stream and a database of their own; the processes come on top. */
const makeWorld = Effect.gen(function* () {
  const id = randomBytes(6).toString("hex")
  const [stream, subject] = [`TEST_${id}`, `test.${id}`]
  const databaseUrl = yield* freshReadModel(inject("postgresUrl"))
  const nats = yield* Effect.acquireRelease(
    Effect.promise(() => connect({ servers: natsUrl })),
    (connection) => Effect.promise(() => connection.close())
  )
  yield* Effect.addFinalizer(() => Effect.exit(deleteStream({ nats, stream })))
  const log = yield* Layer.build(EventStore.layerMemory)
  const process = (limits: TestLimits = {}, own = "") =>
    readSideOn(
      Layer.mergeAll(
        Layer.succeedContext(log),
        Layer.fresh(
          Layer.effect(
            Bus,
            Effect.map(Bus, (real) => ({
              ...real,
              subscribe: ({ projection, partition }: Parameters<typeof real.subscribe>[0]) =>
                real.subscribe({ projection: `${projection}${own}`, partition })
            }))
          ).pipe(Layer.provide(Bus.layer({ url: natsUrl, stream, subject })))
        ),
        readModelOn(databaseUrl)
      ),
      limits
    )
  const world: World = {
    eventWriter: new EventWriter("writer-1", Date.now()),
    databaseUrl,
    nats,
    stream,
    subject,
    process
  }
  return { world, log }
})

const deleteStream = ({ nats, stream }: Pick<World, "nats" | "stream">) =>
  Effect.promise(() => nats.jetstreamManager().then((jsm) => jsm.streams.delete(stream)))

const purgeStream = ({ nats, stream }: World) =>
  Effect.promise(() => nats.jetstreamManager().then((jsm) => jsm.streams.purge(stream)))

/** Else the relay would find the first commits in the log, once it is. */
const connected = eventually(
  Effect.map(Bus, (bus) => assert.isTrue(bus.isConnectedUnsafe(), "the bus is connected"))
)

const total = (key: "events" | "gaps" | "repeats" | "faulty" | "foreign" | "rewinds") =>
  Effect.map(ProjectionHealth, (health) =>
    health.partitionsUnsafe().reduce((sum, partition) => sum + partition[key], 0)
  )

describe("the read side", () => {
  it.live("follows the log by the bus alone", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      yield* Effect.gen(function* () {
        yield* connected
        yield* play(eventWriter, opening, round(1), round(2), ...ids.map((id) => [deposit(id, 1n)]))
        yield* eventually(assertCaughtUp(eventWriter.log))
        yield* eventually(
          Effect.map(total("events"), (events) => assert.strictEqual(events, eventWriter.log.length))
        )
        assert.strictEqual(yield* total("gaps"), 0)
        const relay = yield* Relay
        // The bus may bring an event before it says that it has it.
        yield* eventually(
          Effect.sync(() => assert.strictEqual(relay.statusUnsafe().events, eventWriter.log.length))
        )
        assert.strictEqual(relay.statusUnsafe().eventsFromStore, 0)
        const health = yield* ProjectionHealth
        assert.isBelow(health.lagMsUnsafe().max, 3_600_000)
        assert.isAtLeast(health.lagMsUnsafe().p50, 0)
      }).pipe(Effect.provide(world.process()))
    })
  )

  it.live("is right whatever the bus loses, repeats or reorders", () =>
    Effect.gen(function* () {
      const { world, log } = yield* makeWorld
      const { eventWriter } = world
      const commits = [opening, ...Array.from({ length: 10 }, (_, index) => round(index))].map((step) =>
        eventWriter.commit(...step)
      )
      const last = eventWriter.commit(...ids.map((id) => deposit(id, 9n)))
      for (const commit of [...commits, last]) yield* Effect.provide(append(commit), log)
      // The relay is made to think that all of it was published, or it would do so.
      const store = Context.get(log, EventStore)
      yield* store.moveRelayCursors(new Map([[eventWriter.writerId, last.seq]]))
      yield* Effect.gen(function* () {
        const bus = yield* Bus
        const messages = commits.flatMap((commit) => pack([commit], { partitions: 4, bytesMax: 100_000 }))
        // Every third is lost, every second of the rest comes twice (under another id), the latest come first.
        const kept = messages.filter((_, index) => index % 3 !== 1).toReversed()
        const twice = kept.flatMap((message, index) =>
          index % 2 === 0 ? [message] : [message, underAnotherId(message)]
        )
        yield* eventually(bus.publish(twice))
        yield* eventually(bus.publish(pack([last], { partitions: 4, bytesMax: 100_000 })))
        yield* eventually(assertCaughtUp(eventWriter.log))
        yield* eventually(Effect.map(total("repeats"), (repeats) => assert.isAbove(repeats, 0)))
        assert.isAbove(yield* total("gaps"), 0)
      }).pipe(
        Effect.tap(assertPrefixes(eventWriter.log)),
        Effect.provide(world.process()),
        Effect.provide(log)
      )
    })
  )

  it.live("reads from the log what was lost at the end of a stream", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      yield* Effect.gen(function* () {
        yield* play(eventWriter, opening)
        yield* eventually(assertCaughtUp(eventWriter.log))
        const sweep = yield* Reconciler
        yield* sweep.sweep({ load: true })
        const { loaded } = sweep.statusUnsafe()
        // In the log, and neither offered to the relay nor ever published.
        yield* append(eventWriter.commit(deposit("acc-3", 7n)))
        yield* eventually(assertCaughtUp(eventWriter.log))
        yield* eventually(Effect.sync(() => assert.strictEqual(sweep.statusUnsafe().loaded, loaded + 1)))
        assert.deepStrictEqual(yield* sweep.sweep({ load: false }), { commits: 0, loaded: 0, behind: 0 })
      }).pipe(Effect.provide(world.process(sweeping)))
    })
  )

  it.live("changes nothing when a reconciliation is told not to load", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      yield* Effect.gen(function* () {
        yield* play(eventWriter, [openAccount("c")])
        yield* eventually(assertCaughtUp(eventWriter.log))
        const sweep = yield* Reconciler
        yield* sweep.sweep({ load: true })
        yield* append(eventWriter.commit(openAccount("a"), openAccount("b")))
        const { behind } = yield* sweep.sweep({ load: false })
        assert.strictEqual(behind, 2)
        assert.deepStrictEqual(yield* sweep.sweep({ load: true }), { commits: 1, loaded: 2, behind: 0 })
        yield* assertCaughtUp(eventWriter.log)
      }).pipe(Effect.provide(world.process()))
    })
  )

  for (const [deed, destroy] of [
    ["deleted", deleteStream],
    ["purged", purgeStream]
  ] as const) {
    it.live(`goes on when the stream is ${deed}`, () =>
      Effect.gen(function* () {
        const { world } = yield* makeWorld
        const { eventWriter } = world
        yield* Effect.gen(function* () {
          yield* play(eventWriter, opening, round(1))
          yield* eventually(assertCaughtUp(eventWriter.log))
          yield* destroy(world)
          const before = yield* total("events")
          yield* play(eventWriter, round(2), round(3))
          yield* eventually(assertCaughtUp(eventWriter.log))
          // The sweep may have been faster than the bus, which makes the stream again.
          yield* eventually(destroy(world))
          yield* play(eventWriter, round(4))
          yield* eventually(assertCaughtUp(eventWriter.log))
          // And the bus carries again: these come without a sweep of theirs.
          yield* eventually(
            Effect.gen(function* () {
              yield* play(eventWriter, [deposit("acc-1", 1n)])
              assert.isAbove(yield* total("events"), before)
            })
          )
          yield* eventually(assertCaughtUp(eventWriter.log))
        }).pipe(Effect.provide(world.process({ ledger: { sweepMs: 300 }, readSide: { sweepGraceMs: 300 } })))
      })
    )
  }

  it.live("stays right with three processes on the same partitions", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      const limits = { ledger: { sweepMs: 20 } }
      // How the bus deals out among readers of one consumer is its own affair: these two get every message.
      const second = yield* Layer.build(world.process(limits, "-second"))
      const third = yield* Layer.build(world.process(limits, "-third"))
      yield* Effect.gen(function* () {
        yield* play(eventWriter, opening)
        for (let number = 0; number < 15; number++) {
          yield* play(eventWriter, ...round(number).map((command) => [command]))
          yield* assertPrefixes(eventWriter.log)
        }
        yield* eventually(
          Effect.sync(() => {
            for (const context of [second, third]) {
              const partitions = Context.get(context, ProjectionHealth).partitionsUnsafe()
              const handled = partitions.reduce((sum, one) => sum + one.events + one.repeats, 0)
              assert.isAtLeast(handled, eventWriter.log.length, "each met every event")
            }
          })
        )
        yield* eventually(assertCaughtUp(eventWriter.log))
      }).pipe(Effect.provide(world.process(limits)))
    })
  )

  it.live("heals when the whole read model is lost", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      yield* Effect.gen(function* () {
        yield* play(eventWriter, opening, round(1), round(2))
        yield* eventually(assertCaughtUp(eventWriter.log))
        const sweep = yield* Reconciler
        yield* sweep.sweep({ load: true })
        yield* execute(
          world.databaseUrl,
          `TRUNCATE books_v1_balances, books_v1_statement_lines, books_v1_transfers, books_v1_contra,
             books_v1_checkpoints, books_v1_swept, books_v1_parked_accounts`
        )
        yield* play(eventWriter, [deposit("acc-5", 1n)])
        yield* eventually(assertCaughtUp(eventWriter.log))
      }).pipe(Effect.provide(world.process({ ledger: { sweepMs: 100 } })))
    })
  )

  it.live("follows the log while there is no bus", () =>
    Effect.gen(function* () {
      const { world, log } = yield* makeWorld
      const { eventWriter } = world
      const withoutBus = readSideOn(
        Layer.mergeAll(
          Layer.succeedContext(log),
          Layer.fresh(Bus.layer({ url: "nats://127.0.0.1:1" })),
          readModelOn(world.databaseUrl)
        ),
        sweeping
      )
      yield* Effect.gen(function* () {
        yield* play(eventWriter, opening, round(1), round(2))
        yield* eventually(assertCaughtUp(eventWriter.log))
        const relay = yield* Relay
        const health = yield* ProjectionHealth
        yield* eventually(
          Effect.sync(() => {
            for (const { lastError } of [relay.statusUnsafe(), ...health.partitionsUnsafe()])
              assert.strictEqual(lastError, "bus: not connected")
          })
        )
      }).pipe(Effect.provide(withoutBus))
    })
  )

  it.live("ignores messages of a writer that the log does not know", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      yield* Effect.gen(function* () {
        const bus = yield* Bus
        const stranger = new EventWriter("of-another-ledger")
        const foreign = stranger.commit(openAccount("stranger"), deposit("stranger", 1n))
        yield* eventually(bus.publish(pack([foreign], { partitions: 4, bytesMax: 100_000 })))
        yield* play(eventWriter, opening)
        yield* eventually(Effect.map(total("foreign"), (count) => assert.isAtLeast(count, 1)))
        yield* eventually(assertCaughtUp(eventWriter.log))
      }).pipe(Effect.provide(world.process()))
    })
  )

  it.live("reads from the log what the bus brings changed", () =>
    Effect.gen(function* () {
      const { world } = yield* makeWorld
      const { eventWriter } = world
      yield* Effect.gen(function* () {
        const bus = yield* Bus
        const store = yield* EventStore
        // Its first look over all tails would publish the commit as it is, before the changed one.
        const orphan = new EventWriter("orphan")
        yield* append(orphan.commit(openAccount("o")))
        yield* store.fenceWriter(orphan.writerId)
        yield* eventually(assertVersions(orphan.log))
        const commit = eventWriter.commit(openAccount("a"), deposit("a", 100n))
        yield* append(commit)
        const forged = pack([commit], { partitions: 4, bytesMax: 100_000 }).map((message) => ({
          ...message,
          parts: message.parts.map((part) => ({
            ...part,
            events: part.events.map((row) => ({ ...row, payload: row.payload.replace('"100"', '"900"') }))
          }))
        }))
        yield* eventually(bus.publish(forged))
        yield* eventually(assertCaughtUp([...orphan.log, ...eventWriter.log]))
        yield* eventually(Effect.map(total("faulty"), (count) => assert.isAtLeast(count, 1)))
      }).pipe(Effect.provide(world.process({ readSide: { orphansMs: 50 } })))
    })
  )
})
