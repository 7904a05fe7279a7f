/** How far behind the log a balance may be, told with it: never more than is true, also of an account that is parked. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { Completeness } from "../../src/actors/projections/Completeness.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { type SingletonHost, Singletons } from "../../src/actors/relay/Singletons.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel, RowsRefused } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { batchOf } from "../infra/readModelContract.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { eventually, limitsOf } from "../support/readSides.ts"
import { accountId, storedEvent } from "../support/storedEvents.ts"

/** A node in memory whose read model takes no batch while it is away, and never one that says "poison". */
const world = (faults: { isAway: boolean }, { lostAfterMs = 50, writerSilentMs = 200 } = {}) => {
  const readModel = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      apply: (batch: Parameters<typeof real.apply>[0]) => {
        if (faults.isAway) return Effect.succeed(false)
        const isPoison = batch.lines.some(({ description }) => description === "poison")
        return isPoison ? Effect.fail(new RowsRefused({ reason: "poison" })) : real.apply(batch)
      }
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory))
  return LedgerNode.over(
    "node",
    Layer.mergeAll(Bus.layerMemory, EventStore.layerMemory, Snapshots.layerMemory, readModel).pipe(
      Layer.provideMerge(ProjectionWaiters.layer)
    )
  ).pipe(
    Layer.provide(
      limitsOf({
        ledger: { partitions: 2, sweepMs: 20, heartbeatMs: 50, queryDeadlineMs: 60_000 },
        readSide: { sweepGraceMs: 50, lostAfterMs, writerSilentMs }
      })
    ),
    Layer.fresh
  )
}

const poor = accountId("poor")
const rich = accountId("rich")

const completeTo = (account: string) =>
  Effect.flatMap(Ledger, (ledger) => ledger.balance(account)).pipe(Effect.map((view) => view.completeTo ?? 0))

describe("a balance of the read model", () => {
  it.live("is never complete past an event that is missing", () => {
    const faults = { isAway: false }
    return Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatch(openAccount("a"))
      const first = yield* ledger.dispatch(deposit("a", 1n))
      yield* ledger.balance("a", { readToken: first.readToken })
      // Nothing else comes, and still it becomes younger.
      yield* eventually(Effect.map(completeTo("a"), (at) => assert.isAbove(at, first.recordedAt)))
      const idle = yield* completeTo("a")
      yield* eventually(Effect.map(completeTo("a"), (at) => assert.isAbove(at, idle)))

      faults.isAway = true
      const second = yield* ledger.dispatch(deposit("a", 1n))
      const sweep = yield* Reconciler
      const rounds = () => sweep.statusUnsafe().sweeps + sweep.statusUnsafe().restarts
      const enough = rounds() + 5
      const staysBehind = Effect.gen(function* () {
        const view = yield* ledger.balance("a")
        assert.strictEqual(view.version, 2)
        assert.isAtMost(view.completeTo ?? 0, second.recordedAt, "it is not in it")
      })
      yield* Effect.repeat(staysBehind, {
        schedule: Schedule.spaced("2 millis"),
        while: () => rounds() < enough
      })
      faults.isAway = false
      yield* ledger.balance("a", { readToken: second.readToken })
      yield* eventually(Effect.map(completeTo("a"), (at) => assert.isAbove(at, second.recordedAt)))
    }).pipe(Effect.provide(world(faults)))
  })

  it.live("is not complete past an event that was committed with later ones", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const store = yield* EventStore
      const sweep = yield* Reconciler
      const writer = new EventWriter("slow")
      const { writerId } = writer
      // The projector of each partition has just been at work, so that what is missing is left to the bus.
      const opened = yield* Effect.forEach(["a", "b", "c", "d"], (id) => ledger.dispatch(openAccount(id)))
      const recordedAt = opened.at(-1)?.recordedAt ?? 0
      for (const { readToken } of opened) yield* ledger.balance("a", { readToken })
      yield* store.registerWriter({ writerId, node: "elsewhere", closedAt: recordedAt })
      for (let nth = 0; nth < 20; nth++) {
        yield* store.heartbeat([{ writerId, closedAt: recordedAt }])
        yield* Effect.sleep(50)
      }
      // Decided long ago and a moment ago, committed together: the commit's own instant is that of the later one.
      const [earlyAt, lateAt] = [recordedAt + 1, recordedAt + 900]
      writer.now = earlyAt
      const early = writer.decide(openAccount("e"))
      writer.now = lateAt
      const commit = writer.commitOf([...early, ...writer.decide(openAccount("f"))])
      assert.strictEqual((yield* store.commit(commit))._tag, "Committed")
      const enough = sweep.statusUnsafe().sweeps + 5
      while (sweep.statusUnsafe().sweeps < enough) {
        yield* store.heartbeat([{ writerId, closedAt: yield* Clock.currentTimeMillis }])
        assert.isAtMost(sweep.statusUnsafe().completeTo, earlyAt)
        yield* Effect.sleep(2)
      }
      assert.isAbove(sweep.statusUnsafe().lag.events, 0, "it was missing")
      yield* sweep.sweep({ load: true })
      yield* eventually(
        Effect.gen(function* () {
          yield* store.heartbeat([{ writerId, closedAt: yield* Clock.currentTimeMillis }])
          assert.isAbove(sweep.statusUnsafe().completeTo, lateAt)
        })
      )
    }).pipe(Effect.provide(world({ isAway: false }, { lostAfterMs: 600_000, writerSilentMs: 600_000 })))
  )

  it.live("is complete beyond a writer that is silent only once that can write no more", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const store = yield* EventStore
      const writerId = "frozen"
      const { recordedAt } = yield* ledger.dispatch(openAccount("a"))
      const closedAt = recordedAt + 100
      yield* store.registerWriter({ writerId, node: "elsewhere", closedAt })
      yield* eventually(Effect.map(completeTo("a"), (at) => assert.isAbove(at, closedAt + 1)))
      const late = storedEvent({ account: "b", version: 1, recordedAt: closedAt + 1 })
      const { _tag } = yield* store.commit({ writerId, seq: 1, events: [late] })
      assert.strictEqual(_tag, "Fenced")
    }).pipe(Effect.provide(world({ isAway: false })))
  )

  it.live("of a parked account is as old as its last event", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatch(openAccount("poor"))
      const opened = yield* ledger.dispatch(openAccount("rich"))
      const poison = yield* ledger.dispatch(deposit("poor", 1n, "poison"))
      yield* ledger.balance("rich", { readToken: opened.readToken })
      yield* eventually(Effect.map(completeTo("rich"), (at) => assert.isAbove(at, poison.recordedAt)))
      const view = yield* ledger.balance("poor")
      assert.strictEqual(view.version, 1)
      assert.strictEqual(view.completeTo, view.recordedAt)
      // What cannot be behind says nothing of it.
      assert.isUndefined((yield* ledger.strongBalance("poor")).completeTo)
    }).pipe(Effect.provide(world({ isAway: false })))
  )

  it.live("is as old as its last event from the moment on at which another process parks its account", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const model = yield* ReadModel
      const store = yield* EventStore
      yield* ledger.dispatch(openAccount("rich"))
      const last = yield* ledger.dispatch(deposit("rich", 1n))
      yield* ledger.balance("rich", { readToken: last.readToken })
      yield* eventually(Effect.map(completeTo("rich"), (at) => assert.isAbove(at, last.recordedAt)))
      // As while its rows are read anew, up to its first event by now.
      const { account, hash } = (yield* model.heads([rich])).get(rich) ?? assert.fail()
      const { version } = account
      const [first] = yield* store.readStream({ account: rich, after: 0, limit: 1 })
      yield* model.park([{ account: rich, version: version + 1, reason: "it is read anew", since: 0 }])
      assert.isTrue(yield* model.reload({ account: rich, version, hash }, 0, batchOf(first ? [first] : [])))
      const view = yield* ledger.balance("rich")
      assert.strictEqual(view.version, 1)
      assert.strictEqual(view.completeTo, view.recordedAt)
    }).pipe(Effect.provide(world({ isAway: false })))
  )

  it.live("is complete as far as it says under load", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const ids = Array.from({ length: 10 }, (_, index) => `acc-${index}`)
      yield* Effect.forEach(ids, (id) => ledger.dispatch(openAccount(id)))
      const acknowledged = new Map<string, Array<{ readonly version: number; readonly recordedAt: number }>>()
      let looks = 0
      const client = (id: string) =>
        Effect.gen(function* () {
          const known = acknowledged.get(id) ?? []
          acknowledged.set(id, known)
          for (let nth = 0; nth < 200; nth++) {
            const { postings, recordedAt } = yield* ledger.dispatch(deposit(id, 1n))
            known.push({ version: postings[0]?.version ?? 0, recordedAt })
            const view = yield* Effect.option(ledger.balance(id))
            if (view._tag === "None") continue
            const { version, completeTo = 0 } = view.value
            for (const one of known) {
              if (one.recordedAt < completeTo) assert.isAtMost(one.version, version)
            }
            looks++
          }
        })
      yield* Effect.forEach(ids, client, { concurrency: "unbounded", discard: true })
      assert.isAbove(looks, 100)
    }).pipe(Effect.provide(world({ isAway: false })))
  )
})

/** What a process knows of two accounts, one of which another process has parked, or parks just now. */
const processOf = (
  onBehind: () => Effect.Effect<void>,
  onLook: () => Effect.Effect<void, StoreUnavailable>,
  singletons?: SingletonHost
) => {
  const model = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => ({
      ...real,
      behind: (positions: Parameters<typeof real.behind>[0]) =>
        Effect.andThen(Effect.suspend(onBehind), real.behind(positions)),
      look: (accounts: Parameters<typeof real.look>[0]) =>
        Effect.andThen(Effect.suspend(onLook), real.look(accounts)),
      apply: (batch: Parameters<typeof real.apply>[0]) =>
        batch.lines.some(({ description }) => description === "poison")
          ? Effect.fail(new RowsRefused({ reason: "poison" }))
          : real.apply(batch)
    }))
  ).pipe(Layer.provide(ReadModel.layerMemory), Layer.provideMerge(ProjectionWaiters.layer))
  return Completeness.layer.pipe(
    Layer.provideMerge(Reconciler.layer),
    Layer.provideMerge(Layer.mergeAll(ProjectionEngine.layer, ProjectionHealth.layer)),
    Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, model)),
    Layer.provide(singletons === undefined ? Layer.empty : Layer.succeed(Singletons, singletons)),
    Layer.provide(limitsOf({})),
    Layer.fresh
  )
}

/** What a balance of the account promises: up to when everything of it is in the answer. */
const toldOf = Effect.fnUntraced(function* (account: AccountId) {
  const reached = (yield* Completeness).completeToUnsafe()
  const head = (yield* (yield* ReadModel).heads([account])).get(account)
  return head === undefined || head.isParked ? 0 : reached
})

describe("what a process says of an account that another one parks", () => {
  it.live(
    "is no more than is true, from the round on in which it is parked, and while it is tried again",
    () => {
      let onBehind: Effect.Effect<void> = Effect.void
      let onLook: Effect.Effect<void, StoreUnavailable> = Effect.void
      return Effect.gen(function* () {
        const store = yield* EventStore
        const model = yield* ReadModel
        const engine = yield* ProjectionEngine
        const { sweep } = yield* Reconciler
        const context = yield* Effect.context<Completeness | ReadModel>()
        const writer = new EventWriter()
        const { writerId } = writer
        yield* store.registerWriter({ writerId, node: "elsewhere", closedAt: yield* Clock.currentTimeMillis })
        yield* store.commit(writer.commit(openAccount("poor"), openAccount("rich")))
        yield* engine.catchUp([poor, rich])
        yield* store.commit(writer.commit(deposit("poor", 1n, "poison")))
        const poison = writer.headOf(poor).recordedAt
        onBehind = Effect.orDie(model.park([{ account: poor, version: 2, reason: "poison", since: poison }]))
        yield* sweep({ load: false })
        assert.isAbove(yield* toldOf(rich), poison)
        assert.isAtMost(yield* toldOf(poor), poison)
        onBehind = Effect.void
        const told: Array<number> = []
        onLook = toldOf(poor).pipe(
          Effect.map((at) => told.push(at)),
          Effect.asVoid,
          Effect.provideContext(context)
        )
        assert.lengthOf(yield* engine.retryParked(), 1)
        assert.isNotEmpty(told)
        onLook = Effect.fail(new StoreUnavailable({ store: "read model", reason: "it is away" }))
        yield* Effect.flip(engine.retryParked())
        assert.isAtMost(Math.max(...told, yield* toldOf(poor)), poison)
      }).pipe(
        Effect.provide(
          processOf(
            () => onBehind,
            () => onLook
          )
        )
      )
    }
  )

  it.live(
    "is nothing where a rebuild exchanged the tables in which it was parked, until the next round",
    () => {
      let onBehind: Effect.Effect<void> = Effect.void
      return Effect.gen(function* () {
        const store = yield* EventStore
        const model = yield* ReadModel
        const { sweep } = yield* Reconciler
        const writer = new EventWriter()
        const { writerId } = writer
        yield* store.registerWriter({ writerId, node: "elsewhere", closedAt: yield* Clock.currentTimeMillis })
        yield* store.commit(writer.commit(openAccount("rich")))
        yield* (yield* ProjectionEngine).catchUp([rich])
        onBehind = Effect.orDie(model.declareSums([]))
        yield* sweep({ load: false })
        assert.strictEqual(yield* toldOf(rich), 0)
        onBehind = Effect.void
        yield* sweep({ load: false })
        assert.isAbove(yield* toldOf(rich), writer.headOf(rich).recordedAt)
      }).pipe(
        Effect.provide(
          processOf(
            () => onBehind,
            () => Effect.void
          )
        )
      )
    }
  )

  it.effect("is nothing until it has looked itself since the owner of the rounds said it", () => {
    const said = JSON.stringify({
      sweptAt: 9_000,
      lag: { events: 0, ms: 0, isExact: true },
      completeTo: 8_000,
      parked: 1
    })
    const elsewhere: SingletonHost = {
      run: () => Effect.void,
      setAwayUnsafe: () => {},
      publishUnsafe: () => {},
      statusUnsafe: ({ decode }) => decode(said),
      statesUnsafe: () => [],
      troubleUnsafe: () => undefined
    }
    return Effect.gen(function* () {
      const model = yield* ReadModel
      const writer = new EventWriter()
      yield* model.apply(batchOf(writer.commit(openAccount("poor"), openAccount("rich")).events))
      yield* model.park([{ account: poor, version: 2, reason: "poison", since: 1 }])
      assert.strictEqual(yield* toldOf(rich), 0)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* toldOf(poor), 0)
      assert.strictEqual(yield* toldOf(rich), 8_000)
    }).pipe(
      Effect.provide(
        processOf(
          () => Effect.void,
          () => Effect.void,
          elsewhere
        )
      )
    )
  })
})
