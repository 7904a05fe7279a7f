/** Events that cannot be projected: their account stays where it is, visibly, and the others go on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { link } from "../../src/domain/HashChain.ts"
import { instantMax } from "../../src/domain/Ids.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { pack } from "../../src/infra/bus/BusMessage.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel, RowsRefused } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { append, appendAndOffer, assertCaughtUp, eventually, play, readSideOn } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

const poor = accountId("poor")

/** The same row as a program of the future would write it, in the chain of its account. */
const fromTheFuture = (row: StoredEvent, previous: string): StoredEvent => {
  const { hash: _, ...unlinked } = { ...row, schemaVersion: 99 }
  return { ...unlinked, hash: link(previous, unlinked) }
}

/** A read model that does not hold what `refuses` says, and is away while `isAway` says so. */
const readModelWith = (faults: {
  readonly refuses?: (description: string) => boolean
  readonly isAway?: () => boolean
}) =>
  Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      apply: (batch: Parameters<typeof real.apply>[0]) => {
        if (faults.isAway?.() === true) {
          return Effect.fail(new StoreUnavailable({ store: "read model", reason: "away" }))
        }
        const bad = batch.lines.some((line) => faults.refuses?.(line.description ?? "") === true)
        return bad ? Effect.fail(new RowsRefused({ reason: "not a text" })) : real.apply(batch)
      }
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))

const inMemory = (faults: Parameters<typeof readModelWith>[0] = {}) =>
  readSideOn(
    Layer.mergeAll(
      Layer.fresh(EventStore.layerMemory),
      Layer.fresh(Bus.layerMemory),
      Layer.fresh(readModelWith(faults))
    ),
    { ledger: { sweepMs: 50, partitions: 2 }, readSide: { ackWaitMs: 50 } }
  )

const parkedNow = Effect.flatMap(ReadModel, (readModel) => readModel.parked)

describe("a poison event", () => {
  it.live("parks its account and not its partition", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter()
      const neighbour = ["n1", "n2", "n3", "n4", "n5", "n6"].find(
        (id) => partitionOf(accountId(id), 2) === partitionOf(poor, 2)
      )
      assert.isDefined(neighbour)
      const id = neighbour ?? ""
      yield* play(eventWriter, [openAccount("poor"), openAccount(id), deposit("poor", 5n), deposit(id, 100n)])
      const sane = [...eventWriter.log]
      const previous = eventWriter.headOf(poor).hash
      const { events, ...commit } = eventWriter.commit(deposit("poor", 1n))
      yield* appendAndOffer({ ...commit, events: events.map((row) => fromTheFuture(row, previous)) })
      const rest = new EventWriter("writer-2", eventWriter.now)
      for (const [account, head] of eventWriter.heads) if (account !== "poor") rest.heads.set(account, head)
      for (let index = 0; index < 5; index++) yield* play(rest, [deposit(id, 3n)])

      yield* eventually(assertCaughtUp([...sane, ...rest.log]))
      yield* eventually(Effect.map(parkedNow, (parked) => assert.lengthOf(parked, 1)))
      const [parked] = yield* parkedNow
      assert.deepInclude(parked, { account: poor, version: 3 })
      assert.include(parked?.reason, "schema version 99 is newer than 2")

      const engine = yield* ProjectionEngine
      const stillParked = yield* engine.retryParked()
      assert.deepStrictEqual(
        stillParked.map(({ account, version }) => ({ account, version })),
        [{ account: poor, version: 3 }]
      )
    }).pipe(Effect.provide(inMemory()))
  )

  it.live("that the database refuses is found among many", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter()
      const ids = Array.from({ length: 30 }, (_, index) => `id-${index}`)
      yield* appendAndOffer(
        eventWriter.commit(
          openAccount("poor"),
          ...ids.map((id) => openAccount(id)),
          ...ids.map((id) => deposit(id, 10n)),
          deposit("poor", 10n),
          ...ids.map((id) => transfer(id, "id-0", 1n))
        )
      )
      yield* eventually(assertCaughtUp(eventWriter.log))
      const sane = [...eventWriter.log]
      const commit = eventWriter.commit(
        ...ids.map((id) => deposit(id, 1n)),
        deposit("poor", 1n, "bad"),
        deposit("poor", 1n),
        ...ids.map((id) => deposit(id, 1n))
      )
      yield* appendAndOffer(commit)
      yield* eventually(assertCaughtUp([...sane, ...commit.events.filter((row) => row.accountId !== "poor")]))
      const parked = yield* parkedNow
      assert.deepStrictEqual(
        parked.map(({ account, version, reason }) => ({ account, version, reason })),
        [{ account: poor, version: 3, reason: "not a text" }]
      )
    }).pipe(Effect.provide(inMemory({ refuses: (text) => text === "bad" })))
  )

  it.live("is projected once it can be", () => {
    let isCured = false
    return Effect.gen(function* () {
      const eventWriter = new EventWriter()
      yield* play(eventWriter, [openAccount("poor")], [deposit("poor", 1n, "bad")])
      yield* eventually(Effect.map(parkedNow, (parked) => assert.lengthOf(parked, 1)))
      // Those are dropped, swept over, and read from the log later.
      for (let index = 0; index < 10; index++) yield* play(eventWriter, [deposit("poor", 1n)])
      yield* append(eventWriter.commit(deposit("poor", 1n)))
      const engine = yield* ProjectionEngine
      assert.lengthOf(yield* engine.retryParked(), 1)
      isCured = true
      assert.deepStrictEqual(yield* engine.retryParked(), [])
      yield* assertCaughtUp(eventWriter.log)
      yield* play(eventWriter, [deposit("poor", 1n)])
      yield* eventually(assertCaughtUp(eventWriter.log))
    }).pipe(Effect.provide(inMemory({ refuses: (text) => text === "bad" && !isCured })))
  })

  it.live("is released by a retry during a reconciliation", () => {
    let isCured = false
    let meanwhile: Effect.Effect<unknown> = Effect.void
    const looking = Layer.effect(
      ReadModel,
      Effect.map(ReadModel, (real) => ({
        ...real,
        apply: (batch: Parameters<typeof real.apply>[0]) =>
          Effect.suspend(() => Effect.andThen(isCured ? meanwhile : Effect.void, real.apply(batch)))
      }))
    ).pipe(
      Layer.provide(readModelWith({ refuses: (text) => text === "bad" && !isCured })),
      Layer.provideMerge(ProjectionWaiters.layer)
    )
    const world = readSideOn(
      Layer.mergeAll(Layer.fresh(EventStore.layerMemory), Layer.fresh(Bus.layerMemory), Layer.fresh(looking))
    )
    return Effect.gen(function* () {
      const eventWriter = new EventWriter()
      yield* play(eventWriter, [openAccount("poor")], [deposit("poor", 1n, "bad")])
      yield* eventually(Effect.map(parkedNow, (parked) => assert.lengthOf(parked, 1)))
      const engine = yield* ProjectionEngine
      meanwhile = Effect.ignore(engine.refreshParked)
      isCured = true
      assert.deepStrictEqual(yield* engine.retryParked(), [])
      assert.strictEqual(engine.parkedUnsafe(), 0)
      yield* assertCaughtUp(eventWriter.log)
    }).pipe(Effect.provide(world))
  })
})

/** A read side without a sweep, over a log that fails to look up one writer, by the database's own words or as one that is away. */
const failingFor = (writer: string, state: string | undefined, isFailing: () => boolean) => {
  const store = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({
      ...real,
      registeredWriters: (writers: Parameters<typeof real.registeredWriters>[0]) =>
        writers.includes(writer) && isFailing()
          ? Effect.fail(new StoreUnavailable({ store: "event store", reason: "a test's", state }))
          : real.registeredWriters(writers)
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  return readSideOn(
    Layer.mergeAll(Layer.fresh(store), Layer.fresh(Bus.layerMemory), Layer.fresh(readModelWith({}))),
    { ledger: { partitions: 1 }, readSide: { ackWaitMs: 50, backoffMaxMs: 50 } }
  )
}

describe("a message that cannot be projected", () => {
  it.live("is left to the sweep after some tries, and those beside it are projected", () =>
    Effect.gen(function* () {
      const bus = yield* Bus
      const health = yield* ProjectionHealth
      const eventWriter = new EventWriter()
      const commits = ["a", "b", "c"].map((id) => eventWriter.commit(openAccount(id)))
      for (const commit of commits) yield* append(commit)
      const bad = new EventWriter("bad").commit(openAccount("d"))
      const [first, ...others] = commits
      const all = [first, bad, ...others].flatMap((commit) =>
        pack(commit === undefined ? [] : [commit], { partitions: 1, bytesMax: 1 })
      )
      yield* bus.publish(all)
      yield* eventually(assertCaughtUp(eventWriter.log))
      yield* eventually(
        Effect.sync(() => {
          const [partition] = health.partitionsUnsafe()
          assert.strictEqual(partition?.faulty, 1)
          assert.isUndefined(partition?.lastError)
        })
      )
    }).pipe(Effect.provide(failingFor("bad", "22021", () => true)))
  )

  it.live.each([
    ["away", undefined],
    ["without the ranges that are asked for", "58C00"],
    ["at fault without a code", "XXUUU"],
    ["closed to its role", "42501"]
  ] as const)("is kept for as long as a store is %s", ([, state]) => {
    let failures = 0
    return Effect.gen(function* () {
      const bus = yield* Bus
      const health = yield* ProjectionHealth
      const eventWriter = new EventWriter()
      const commit = eventWriter.commit(openAccount("a"))
      yield* append(commit)
      yield* bus.publish(pack([commit], { partitions: 1, bytesMax: 1 }))
      yield* eventually(assertCaughtUp(eventWriter.log))
      assert.isAtLeast(failures, 12)
      assert.strictEqual(health.partitionsUnsafe()[0]?.faulty, 0)
    }).pipe(Effect.provide(failingFor("writer-1", state, () => failures++ < 12)))
  })
})

describe("a row that is not believed", () => {
  it.live("says nothing of how far the bus has come", () =>
    Effect.gen(function* () {
      const bus = yield* Bus
      const model = yield* ReadModel
      const eventWriter = new EventWriter()
      yield* play(eventWriter, [openAccount("a")])
      yield* eventually(assertCaughtUp(eventWriter.log))
      const forger = eventWriter.fork("writer-1")
      const { events, ...commit } = forger.commit(deposit("a", 1n))
      const ahead = events.map((row) => ({ ...row, recordedAt: instantMax }))
      yield* bus.publish(pack([{ ...commit, seq: 9, events: ahead }], { partitions: 2, bytesMax: 1 }))
      const reached = Effect.map(model.checkpoints, (all) => all.get(partitionOf(accountId("a"), 2)))
      yield* eventually(Effect.map(reached, (checkpoint) => assert.strictEqual(checkpoint?.position, 2)))
      assert.strictEqual((yield* reached)?.recordedAt, eventWriter.headOf(accountId("a")).recordedAt)
    }).pipe(Effect.provide(inMemory()))
  )
})

describe("a projector", () => {
  it.live("restarts after each failure", () => {
    let isAway = true
    return Effect.gen(function* () {
      const eventWriter = new EventWriter()
      const health = yield* ProjectionHealth
      yield* play(eventWriter, [openAccount("a")], [deposit("a", 2n)])
      const partition = partitionOf(accountId("a"), 2)
      const state = () => health.partitionsUnsafe()[partition]
      yield* eventually(
        Effect.sync(() => {
          assert.strictEqual(state()?.lastError, "read model: away")
          assert.isAtLeast(state()?.restarts ?? 0, 2)
        })
      )
      assert.strictEqual(health.partitionsUnsafe()[1 - partition]?.restarts, 0)
      isAway = false
      yield* eventually(assertCaughtUp(eventWriter.log))
      yield* play(eventWriter, [deposit("a", 2n)])
      yield* eventually(Effect.sync(() => assert.isUndefined(state()?.lastError)))
      yield* eventually(assertCaughtUp(eventWriter.log))
    }).pipe(Effect.provide(inMemory({ isAway: () => isAway })))
  })

  it.live("restarts after an interruption from within", () => {
    let left = 3
    const bus = Layer.effect(
      Bus,
      Effect.map(Bus, (real) => ({
        ...real,
        subscribe: (consumer: Parameters<typeof real.subscribe>[0]) =>
          Effect.suspend(() => (left-- > 0 ? Effect.interrupt : real.subscribe(consumer)))
      }))
    ).pipe(Layer.provide(Bus.layerMemory))
    const world = readSideOn(
      Layer.mergeAll(
        Layer.fresh(EventStore.layerMemory),
        Layer.fresh(bus),
        Layer.fresh(ReadModel.layerMemory.pipe(Layer.provideMerge(ProjectionWaiters.layer)))
      ),
      { ledger: { partitions: 1 } }
    )
    return Effect.gen(function* () {
      const eventWriter = new EventWriter()
      yield* play(eventWriter, [openAccount("a")], [deposit("a", 2n)])
      yield* eventually(assertCaughtUp(eventWriter.log))
      const health = yield* ProjectionHealth
      assert.strictEqual(health.partitionsUnsafe()[0]?.restarts, 3)
    }).pipe(Effect.provide(world))
  })
})
