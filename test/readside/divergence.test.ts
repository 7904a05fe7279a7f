/**
 * Rows of the read model that stand for events which the log does not have: forged messages on the bus, and an event
 * store that lost its tail. Each is noticed, reloaded from the log, and reported (I8).
 */
import { randomBytes } from "node:crypto"
import { assert, describe, inject, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { fold } from "../../src/domain/Books.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { pack } from "../../src/infra/bus/BusMessage.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { type ProjectedSignal, ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel, ReloadUnsupported } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import {
  append,
  appendAndOffer,
  assertCaughtUp,
  eventually,
  freshReadModel,
  play,
  readModelOn,
  readSideOn,
  type TestLimits
} from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

const [a, b] = [accountId("a"), accountId("b")]

const limits: TestLimits = { ledger: { sweepMs: 100, partitions: 4 }, readSide: { ackWaitMs: 200 } }

/** A host's projection that cannot take back what one account's events wrote. */
const withoutReload = Layer.effect(
  ReadModel,
  Effect.map(ReadModel, (real) => ({
    ...real,
    reload: () => Effect.fail(new ReloadUnsupported({ projection: "books_v1" }))
  }))
).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))

const memoryModel = ReadModel.layerMemory.pipe(Layer.provideMerge(ProjectionWaiters.layer))

/** Nothing but the events that the bus brings is a reason to compare rows with the log. */
const withoutComparing: TestLimits = { ...limits, ledger: { ...limits.ledger, sweepMs: 3_600_000 } }

const inMemory = (
  model: Layer.Layer<ReadModel | ProjectionWaiters | ProjectedSignal> = memoryModel,
  store: Layer.Layer<EventStore> = EventStore.layerMemory,
  own: TestLimits = limits
) => readSideOn(Layer.mergeAll(Layer.fresh(store), Layer.fresh(Bus.layerMemory), Layer.fresh(model)), own)

/** Holds up what is read of accounts behind their first batch: they are being reloaded then. */
const makeGatedStore = Effect.gen(function* () {
  const [blocked, open] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  const wait = Effect.andThen(Deferred.succeed(blocked, undefined), Deferred.await(open))
  const store = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({
      ...real,
      readStreams: (from: Parameters<typeof real.readStreams>[0], limit: number) =>
        from.some(({ after }) => after > 0)
          ? Effect.andThen(wait, real.readStreams(from, limit))
          : real.readStreams(from, limit)
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  return { blocked, open, store }
})

/** Publishes commands as a writer that the log knows, though the log never gets them. */
const forge = Effect.fnUntraced(function* (forger: EventWriter, ...commands: ReadonlyArray<CommandInput>) {
  const bus = yield* Bus
  const commit = { ...forger.commit(...commands), writerId: "writer-1", seq: 1_000 + forger.log.length }
  yield* bus.publish(pack([commit], { partitions: 4, bytesMax: 100_000 }))
})

const balanceOf = Effect.fnUntraced(function* (account: typeof a) {
  const head = (yield* (yield* ReadModel).heads([account])).get(account)
  return head?.account.balance
})

const report = Effect.flatMap(ReadSideHealth, (health) => health.report)

describe("folding", () => {
  it("tells a row of the head's version with another hash from a repetition", () => {
    const writer = new EventWriter()
    writer.commit(openAccount("a"), deposit("a", 5n))
    const forger = writer.fork("forger")
    writer.commit(deposit("a", 1n))
    forger.commit(deposit("a", 1_000n))
    const { posted } = fold(new Map(), writer.log)
    const heads = new Map(posted.map(({ head }) => [head.account.id, head]))
    assert.deepInclude(fold(heads, writer.log.slice(2)), { repeats: 1, diverged: [], older: [] })
    assert.deepInclude(fold(heads, forger.log), { repeats: 1, diverged: [a], older: [] })
    assert.deepInclude(fold(heads, writer.log.slice(0, 1)), { repeats: 1, diverged: [], older: [a] })
    assert.deepInclude(fold(new Map(), [...writer.log, ...forger.log]), { diverged: [a] })
  })
})

describe("a forged message that continues the hash chain", () => {
  it.live("is undone when the true event of its version comes", () =>
    Effect.gen(function* () {
      const writer = new EventWriter()
      yield* play(writer, [openAccount("a"), deposit("a", 5n)])
      yield* eventually(assertCaughtUp(writer.log))
      yield* forge(writer.fork("forger"), deposit("a", 1_000_000n))
      yield* eventually(Effect.map(balanceOf(a), (balance) => assert.strictEqual(balance, 1_000_005n)))
      yield* play(writer, [deposit("a", 1n)])
      yield* eventually(
        Effect.gen(function* () {
          yield* assertCaughtUp(writer.log)
          assert.strictEqual(yield* balanceOf(a), 6n)
          const { ready, alarms, projections } = yield* report
          assert.isTrue(ready)
          // More than once where the bus delivers the forged message again before the true event.
          assert.isAtLeast(projections[0]?.divergence.accounts ?? 0, 1)
          assert.match(
            alarms[0] ?? "",
            /books_v1: rows of (an account|accounts, \d+ times,) stood .* last a at version 3, .* NATS/
          )
        })
      )
      assert.deepStrictEqual(yield* (yield* ReadModel).parked, [])
    }).pipe(Effect.provide(inMemory(memoryModel, EventStore.layerMemory, withoutComparing)))
  )

  it.live("is reported when the true event of its version is there", () =>
    Effect.gen(function* () {
      const writer = new EventWriter()
      yield* play(writer, [openAccount("a"), deposit("a", 5n)])
      const forger = writer.fork("forger")
      yield* play(writer, [deposit("a", 1n)])
      yield* eventually(assertCaughtUp(writer.log))
      yield* forge(forger, deposit("a", 1_000_000n))
      yield* eventually(
        Effect.gen(function* () {
          const { alarms, projections } = yield* report
          assert.isAtLeast(projections[0]?.divergence.disbelieved ?? 0, 1)
          assert.match(
            alarms[0] ?? "",
            /books_v1: the bus contradicted the log .* for a at version 3, .* NATS/
          )
          assert.isAtLeast(projections[0]?.partitions.reduce((sum, { faulty }) => sum + faulty, 0) ?? 0, 1)
        })
      )
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(inMemory()))
  )

  it.live("is undone though nothing happens to its account any more", () =>
    Effect.gen(function* () {
      const writer = new EventWriter()
      yield* play(writer, [openAccount("a"), openAccount("b"), deposit("a", 5n)])
      yield* eventually(assertCaughtUp(writer.log))
      const forger = writer.fork("forger")
      yield* forge(forger, deposit("a", 1_000_000n), transfer("a", "b", 7n), withdraw("b", 7n))
      yield* forge(forger, openAccount("mallory"), deposit("mallory", 3n))
      yield* eventually(
        Effect.gen(function* () {
          yield* assertCaughtUp(writer.log)
          assert.isAtLeast((yield* report).projections[0]?.divergence.accounts ?? 0, 3)
        })
      )
    }).pipe(Effect.provide(inMemory()))
  )

  it.live("is undone when the true events of its versions come after several forged ones", () =>
    Effect.gen(function* () {
      const engine = yield* ProjectionEngine
      const writer = new EventWriter()
      yield* append(writer.commit(openAccount("a"), deposit("a", 5n)))
      yield* engine.project(writer.log, [])
      const forger = writer.fork("forger")
      forger.commit(deposit("a", 10n), deposit("a", 100n), deposit("a", 1_000n))
      yield* engine.project(forger.log, [])
      assert.strictEqual(yield* balanceOf(a), 1_115n)
      yield* append(writer.commit(deposit("a", 1n)))
      yield* engine.project(writer.log.slice(-1), [])
      assert.strictEqual(yield* balanceOf(a), 6n)
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(inMemory()))
  )

  it.live("leaves its account parked until all of the log is there again", () =>
    Effect.gen(function* () {
      const { blocked, open, store } = yield* makeGatedStore
      yield* Effect.gen(function* () {
        const engine = yield* ProjectionEngine
        const readModel = yield* ReadModel
        const writer = new EventWriter()
        yield* append(writer.commit(openAccount("a"), ...Array.from({ length: 9 }, () => deposit("a", 1n))))
        yield* engine.project(writer.log, [])
        const forger = writer.fork("forger")
        forger.commit(deposit("a", 1_000n))
        yield* engine.project(forger.log, [])
        const [head] = yield* readModel.heldHeads({ after: "", limit: 1 })
        const mending = yield* Effect.forkChild(engine.verifyHeads(head === undefined ? [] : [head]))
        yield* Deferred.await(blocked)
        // As far as one batch of the reloading went: its balance is none that the account has.
        assert.strictEqual(yield* balanceOf(a), 2n)
        assert.deepStrictEqual(
          (yield* readModel.parked).map(({ account }) => account),
          [a]
        )
        assert.strictEqual(engine.parkedUnsafe(), 1)
        yield* Deferred.succeed(open, undefined)
        yield* Fiber.join(mending)
        assert.strictEqual(yield* balanceOf(a), 9n)
        assert.deepStrictEqual(yield* readModel.parked, [])
        assert.strictEqual(engine.parkedUnsafe(), 0)
      }).pipe(
        Effect.provide(
          inMemory(memoryModel, store, {
            ledger: withoutComparing.ledger ?? {},
            readSide: { projectEventsMax: 3 }
          })
        )
      )
    })
  )

  it.live("parks the account where its projection cannot reload it", () =>
    Effect.gen(function* () {
      const writer = new EventWriter()
      yield* play(writer, [openAccount("a"), openAccount("b"), deposit("a", 5n)])
      yield* eventually(assertCaughtUp(writer.log))
      yield* forge(writer.fork("forger"), deposit("a", 1_000_000n))
      yield* eventually(
        Effect.gen(function* () {
          const { ready, reasons } = yield* report
          assert.isFalse(ready)
          assert.include(
            reasons.join(),
            "books_v1: the rows of account a are not in the log, and cannot be reloaded: rebuild books_v1"
          )
        })
      )
      const [parked] = yield* (yield* ReadModel).parked
      assert.deepInclude(parked, { account: a, version: 4 })
      assert.match(parked?.reason ?? "", /forged message on the bus, or an event store that lost commits/)
      const refused = yield* Effect.flip((yield* ProjectionEngine).skipParked(a, 4))
      assert.match(
        refused.message,
        /cannot be skipped: .* cannot reload one account, "chronicle rebuild" mends it/
      )
      yield* play(writer, [deposit("a", 1n), deposit("b", 2n)])
      yield* eventually(Effect.map(balanceOf(b), (balance) => assert.strictEqual(balance, 2n)))
    }).pipe(Effect.provide(inMemory(withoutReload)))
  )

  it.live("is undone on JetStream and PostgreSQL", () => {
    const id = randomBytes(6).toString("hex")
    const url = freshReadModel(inject("postgresUrl"))
    const bus = Bus.layer({ url: inject("natsUrl"), stream: `TEST_${id}`, subject: `test.${id}` })
    return Effect.gen(function* () {
      const services = Layer.mergeAll(
        Layer.fresh(EventStore.layerMemory),
        Layer.fresh(bus),
        readModelOn(yield* url)
      )
      yield* Effect.gen(function* () {
        const writer = new EventWriter()
        yield* play(writer, [openAccount("a"), openAccount("b"), deposit("a", 5n)], [transfer("a", "b", 1n)])
        yield* eventually(assertCaughtUp(writer.log))
        const forger = writer.fork("forger")
        yield* forge(forger, deposit("a", 1_000_000n), transfer("a", "b", 77n))
        yield* play(writer, [deposit("a", 1n)])
        yield* eventually(
          Effect.gen(function* () {
            yield* assertCaughtUp(writer.log)
            assert.isAtLeast((yield* report).projections[0]?.divergence.accounts ?? 0, 1)
          })
        )
        assert.deepStrictEqual(yield* (yield* ReadModel).parked, [])
      }).pipe(Effect.provide(readSideOn(services, limits)))
    })
  })
})

describe("an event store that lost its tail in a failover", () => {
  /** One store until the failover, and its replica, which lacks the last commits, after it. */
  const failingOver = () => {
    let isOver = false
    const layer = Layer.effect(
      EventStore,
      Effect.gen(function* () {
        const primary = yield* EventStore
        const { replica } = yield* Effect.map(EventStore, (replica) => ({ replica })).pipe(
          Effect.provide(Layer.fresh(EventStore.layerMemory))
        )
        const now = () => (isOver ? replica : primary)
        return {
          product: primary.product,
          commit: (commit, mayCommit) =>
            Effect.andThen(
              isOver ? Effect.void : replicate(replica, commit),
              now().commit(commit, mayCommit)
            ),
          readStream: (from) => Effect.suspend(() => now().readStream(from)),
          readStreams: (from, limit) => Effect.suspend(() => now().readStreams(from, limit)),
          readEvents: (keys) => Effect.suspend(() => now().readEvents(keys)),
          findCommands: (ids) => Effect.suspend(() => now().findCommands(ids)),
          readHold: (from) => Effect.suspend(() => now().readHold(from)),
          scan: (page) => Effect.suspend(() => now().scan(page)),
          registerWriter: (one) => Effect.andThen(replica.registerWriter(one), primary.registerWriter(one)),
          heartbeat: (writers) => Effect.suspend(() => now().heartbeat(writers)),
          listWriters: Effect.suspend(() => now().listWriters),
          fenceWriter: (one) => Effect.suspend(() => now().fenceWriter(one)),
          finishWriters: (options) => Effect.suspend(() => now().finishWriters(options)),
          lastFinished: Effect.suspend(() => now().lastFinished),
          finishedWriters: (page) => Effect.suspend(() => now().finishedWriters(page)),
          registeredWriters: (ids) => Effect.suspend(() => now().registeredWriters(ids)),
          readTail: (from) => Effect.suspend(() => now().readTail(from)),
          relayCursors: Effect.suspend(() => now().relayCursors),
          moveRelayCursors: (cursors) => Effect.suspend(() => now().moveRelayCursors(cursors))
        } satisfies EventStore["Service"]
      })
    ).pipe(Layer.provide(Layer.fresh(EventStore.layerMemory)))
    let isReplicating = true
    const replicate = (replica: EventStore["Service"], commit: Parameters<typeof replica.commit>[0]) =>
      isReplicating ? replica.commit(commit) : Effect.void
    return {
      layer,
      stopReplicating: () => {
        isReplicating = false
      },
      failOver: () => {
        isOver = true
      }
    }
  }

  it.live("has the rows of its lost commits taken back", () => {
    const { layer, stopReplicating, failOver } = failingOver()
    return Effect.gen(function* () {
      const writer = new EventWriter()
      yield* play(writer, [openAccount("a"), openAccount("b"), deposit("a", 5n), deposit("b", 5n)])
      const kept = writer.fork("writer-2")
      kept.log.push(...writer.log)
      stopReplicating()
      yield* play(writer, [deposit("a", 10n)], [transfer("a", "b", 2n)], [openAccount("c"), deposit("c", 1n)])
      yield* eventually(assertCaughtUp(writer.log))
      failOver()
      yield* eventually(assertCaughtUp(kept.log))
      yield* appendAndOffer(kept.commit(deposit("a", 1n), withdraw("b", 3n)))
      yield* eventually(assertCaughtUp(kept.log))
      yield* eventually(Effect.map(report, ({ ready }) => assert.isTrue(ready)))
      const { alarms } = yield* report
      assert.lengthOf(alarms, 1, alarms.join("; "))
    }).pipe(Effect.provide(inMemory(memoryModel, layer)))
  })
})
