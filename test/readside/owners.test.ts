/** Two nodes over one log, bus and read model: each partition is brought by one of them, and moves without loss. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { projectionName, projectorSingleton } from "../../src/actors/projections/Projector.ts"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { orphansSingleton, Relay } from "../../src/actors/relay/Relay.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectedSignal, ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { Rng } from "../support/Rng.ts"
import { assertCaughtUp, eventually, play, readSideOn, type TestLimits } from "../support/readSides.ts"
import { SingletonsFake } from "../support/singletonsFake.ts"
import { accountId } from "../support/storedEvents.ts"

const partitions = 4
const ids = Array.from({ length: 12 }, (_, index) => `acc-${index}`)
const projector = (partition: number) => projectorSingleton(projectionName, partition)

/** What only time would bring back, never comes back. */
const patient: TestLimits = {
  ledger: { partitions, queryDeadlineMs: 60_000 },
  readSide: { ackWaitMs: 3_600_000, lostAfterMs: 3_600_000, handoverMs: 100 }
}

/** A log, a bus and a read model; `apply` stands in for the write of the read model while it is there. */
const makeWorld = (board: SingletonsFake, limits: TestLimits = patient) =>
  Effect.gen(function* () {
    const faults: { apply: Effect.Effect<boolean> | undefined } = { apply: undefined }
    const common = yield* Layer.build(
      Layer.mergeAll(
        Layer.fresh(EventStore.layerMemory),
        Layer.fresh(Bus.layerMemory),
        Layer.fresh(ReadModel.layerMemory).pipe(Layer.provideMerge(Layer.fresh(ProjectionWaiters.layer)))
      )
    )
    const real = Context.get(common, ReadModel)
    /** Its projectors wake who waits on this node and nowhere else, as in a process of its own. */
    const modelOf = Layer.effect(
      ReadModel,
      Effect.map(ProjectedSignal, (signal) => ({
        ...real,
        apply: (batch: Parameters<typeof real.apply>[0]) =>
          Effect.suspend(() => faults.apply ?? real.apply(batch)).pipe(
            Effect.tap((isWritten) =>
              Effect.sync(() => {
                if (!isWritten) return
                for (const { head } of batch.moves) {
                  signal.reachedUnsafe(head.account.id, head.account.version)
                }
              })
            )
          )
      }))
    ).pipe(Layer.provideMerge(Layer.fresh(ProjectionWaiters.layer)))
    const node = (name: string) =>
      Layer.build(
        readSideOn(
          Layer.mergeAll(
            Layer.succeedContext(Context.pick(EventStore, Bus)(common)),
            Layer.fresh(modelOf),
            board.layer(name)
          ),
          limits
        )
      )
    return { node, faults }
  })

type Node = Effect.Success<ReturnType<Effect.Success<ReturnType<typeof makeWorld>>["node"]>>

const eventsOf = (node: Node): ReadonlyArray<number> =>
  Context.get(node, ProjectionHealth)
    .partitionsUnsafe()
    .map(({ events }) => events)

const opening = ids.map((id) => openAccount(id))
const round = ids.flatMap((id, index) => [
  deposit(id, 100n),
  transfer(id, ids[(index + 1) % ids.length] ?? id, 1n)
])

const evenAndOdd = () =>
  new SingletonsFake((duty) => (["0", "2", "sweep"].includes(duty.split("/")[1] ?? "") ? "one" : "two"))

describe("two nodes", () => {
  it.live("project each partition on one of them", () =>
    Effect.gen(function* () {
      const { node } = yield* makeWorld(evenAndOdd())
      const [one, two] = [yield* node("one"), yield* node("two")]
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* play(eventWriter, opening, round).pipe(Effect.provide(one))
      yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(one))
      const expected = (rest: number) =>
        Array.from({ length: partitions }, (_, partition) =>
          partition % 2 === rest
            ? eventWriter.log.filter((row) => partitionOf(row.accountId, partitions) === partition).length
            : 0
        )
      yield* eventually(
        Effect.sync(() => {
          assert.deepStrictEqual(eventsOf(one), expected(0))
          assert.deepStrictEqual(eventsOf(two), expected(1))
        })
      )
      const owned = (node: Node) =>
        Context.get(node, ProjectionHealth)
          .partitionsUnsafe()
          .filter(({ isOwned }) => isOwned)
          .map(({ partition }) => partition)
      assert.deepStrictEqual(
        [owned(one), owned(two)],
        [
          [0, 2],
          [1, 3]
        ]
      )
      assert.deepStrictEqual(
        [one, two].map((node) => Context.get(node, Reconciler).statusUnsafe().isOwned),
        [true, false]
      )
      assert.deepStrictEqual(
        [one, two].map((node) => Context.get(node, Relay).statusUnsafe().isOwned),
        [false, true]
      )
    })
  )

  it.live("both report what the reconciler of one finds", () =>
    Effect.gen(function* () {
      const limits: TestLimits = {
        ledger: { partitions, sweepMs: 20 },
        readSide: { ...patient.readSide, readyLagMsMax: 2_000 }
      }
      const { node, faults } = yield* makeWorld(evenAndOdd(), limits)
      const [one, two] = [yield* node("one"), yield* node("two")]
      const eventWriter = new EventWriter("writer-1", Date.now())
      const reportOf = (node: Node) => Context.get(node, ReadSideHealth).report
      yield* play(eventWriter, opening).pipe(Effect.provide(one))
      yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(one))
      yield* eventually(
        Effect.gen(function* () {
          for (const report of [yield* reportOf(one), yield* reportOf(two)]) {
            assert.deepStrictEqual(report.reasons, [])
            assert.isAbove(report.projections[0]?.sweep.sweptAt ?? 0, 0)
          }
        })
      )
      assert.strictEqual(Context.get(two, Reconciler).statusUnsafe().sweeps, 0)
      // A partition of which the bus brought nothing yet is loaded by the sweep, which would hang then, and tell nothing.
      const positions = (node: Node) =>
        Context.get(node, ProjectionHealth)
          .partitionsUnsafe()
          .map(({ position }) => position)
      yield* eventually(
        Effect.sync(() => {
          const [first, second] = [positions(one), positions(two)]
          for (const [partition, position] of first.entries()) {
            assert.isAbove(position + (second[partition] ?? 0), 0)
          }
        })
      )
      // Longer than a sweep may be silent: who does not sweep must not take that for its own.
      faults.apply = Effect.never
      yield* play(eventWriter, round).pipe(Effect.provide(one))
      yield* eventually(
        Effect.gen(function* () {
          for (const { ready, projections } of [yield* reportOf(one), yield* reportOf(two)]) {
            assert.isAbove(projections[0]?.sweep.lag.events ?? 0, 0)
            assert.isFalse(ready)
          }
        })
      )
    })
  )

  it.live("answer a read token at once where the other projects the partition", () =>
    Effect.gen(function* () {
      const board = new SingletonsFake(() => "one")
      const { node } = yield* makeWorld(board)
      const [one, two] = [yield* node("one"), yield* node("two")]
      const eventWriter = new EventWriter("writer-1", Date.now())
      const queries = Context.get(two, Queries)
      yield* play(eventWriter, opening).pipe(Effect.provide(one))
      for (let nth = 0; nth < 50; nth++) {
        const id = ids[nth % ids.length] ?? ""
        const version = 2 + Math.floor(nth / ids.length)
        const asked = yield* Effect.forkChild(
          queries.balance(accountId(id), { readToken: `${id}@${version}` })
        )
        yield* play(eventWriter, [deposit(id, 1n)]).pipe(Effect.provide(one))
        assert.isAtLeast((yield* Fiber.join(asked)).account.version, version)
      }
      assert.deepStrictEqual(eventsOf(two), [0, 0, 0, 0])
    })
  )
})

describe("a partition that moves", () => {
  it.live("takes along what its old node took and did not write", () =>
    Effect.gen(function* () {
      const board = new SingletonsFake(() => "one")
      const { node, faults } = yield* makeWorld(board)
      const [one, two] = [yield* node("one"), yield* node("two")]
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* play(eventWriter, opening).pipe(Effect.provide(one))
      yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(one))
      let hanging = 0
      faults.apply = Effect.suspend(() => {
        hanging++
        return Effect.never
      })
      yield* play(eventWriter, round).pipe(Effect.provide(one))
      yield* eventually(Effect.sync(() => assert.isAbove(hanging, 0)))
      for (let partition = 0; partition < partitions; partition++) {
        yield* board.take("one", projector(partition))
      }
      faults.apply = undefined
      for (let partition = 0; partition < partitions; partition++) {
        yield* board.give("two", projector(partition))
      }
      // Neither the patience of the bus nor a sweep brings it.
      yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(two))
      assert.deepStrictEqual(
        Context.get(one, ProjectionHealth)
          .partitionsUnsafe()
          .map(({ isOwned, lastError }) => [isOwned, lastError]),
        Array.from({ length: partitions }, () => [false, undefined])
      )
    })
  )

  it.live("loses nothing however often it moves", () =>
    Effect.gen(function* () {
      const board = evenAndOdd()
      const { node } = yield* makeWorld(board, {
        ...patient,
        readSide: { ...patient.readSide, ackWaitMs: 1_000 }
      })
      const [one, two] = [yield* node("one"), yield* node("two")]
      const eventWriter = new EventWriter("writer-1", Date.now())
      const rng = new Rng(7)
      const shuffle = Effect.gen(function* () {
        const duty = projector(rng.below(partitions))
        const [from, to] = rng.chance(0.5) ? ["one", "two"] : ["two", "one"]
        // Now and then the new one begins before the old one ends.
        if (rng.chance(0.3)) yield* board.give(to, duty)
        yield* board.move(duty, from, to)
      })
      yield* play(eventWriter, opening).pipe(Effect.provide(one))
      for (let nth = 0; nth < 40; nth++) {
        yield* play(eventWriter, round.slice(0, 6)).pipe(Effect.provide(nth % 2 === 0 ? one : two))
        yield* shuffle
      }
      for (let partition = 0; partition < partitions; partition++)
        yield* board.give("one", projector(partition))
      yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(one))
    })
  )
})

describe("the look for orphans", () => {
  it.live("publishes the tail of a dead node after it moved", () =>
    Effect.gen(function* () {
      const board = new SingletonsFake((duty) => (duty === orphansSingleton.name ? "one" : "two"))
      const { node } = yield* makeWorld(board)
      const two = yield* node("two")
      const eventWriter = new EventWriter("writer-1", Date.now())
      const dead = Effect.scoped(
        Effect.gen(function* () {
          const one = yield* node("one")
          yield* play(eventWriter, opening).pipe(Effect.provide(one))
          yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(two))
        })
      )
      yield* dead
      // Committed, and never offered to anybody.
      const lost = eventWriter.commit(...round)
      const store = Context.get(two, EventStore)
      assert.strictEqual((yield* store.commit(lost))._tag, "Committed")
      yield* board.give("two", orphansSingleton.name)
      yield* eventually(assertCaughtUp(eventWriter.log)).pipe(Effect.provide(two))
    })
  )
})
