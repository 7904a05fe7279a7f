/** A log of which a part cannot be read, as where a page of its disk is bad: what can be read is projected, compared and published. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { ClosedTimestamps } from "../../src/actors/past/ClosedTimestamps.ts"
import { TrialBalance } from "../../src/actors/past/TrialBalance.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import { makeReconcileTails } from "../../src/actors/projections/ReconcileTails.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { quiet } from "../support/callers.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { append, assertCaughtUp, limitsOf, type TestLimits } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

/** Where the page is bad: an event, or the row of a commit. */
interface BadPage {
  /** Of all accounts whose names begin so. */
  accounts?: string
  event?: { readonly account: string; readonly version: number }
  commit?: { readonly writerId: string; readonly seq: number }
  /** What the database says there, where that is not that the page is bad. */
  state?: string
}

const refusalAt = ({ state = "XX001" }: BadPage) =>
  Effect.fail(
    new StoreUnavailable({ store: "event store", reason: `invalid page in block 7 (${state})`, state })
  )

/** A process that projects and reconciles when it is told to, over a log with a bad page. */
const processOver = (bad: BadPage, limits: TestLimits = {}, logs: Layer.Layer<never> = quiet) => {
  const isEvent = (account: string, from: number, to: number) =>
    bad.event !== undefined &&
    bad.event.account === account &&
    bad.event.version >= from &&
    bad.event.version <= to
  const store = Layer.effect(
    EventStore,
    Effect.map(EventStore, (real) => ({
      ...real,
      readEvents: (keys: Parameters<typeof real.readEvents>[0]) =>
        keys.some(
          ({ account, version }) =>
            isEvent(account, version, version) ||
            (bad.accounts !== undefined && account.startsWith(bad.accounts))
        )
          ? refusalAt(bad)
          : real.readEvents(keys),
      readStreams: (from: Parameters<typeof real.readStreams>[0], limit: number) =>
        Effect.flatMap(real.readStreams(from, limit), (rows) =>
          rows.some(({ accountId, version }) => isEvent(accountId, version, version))
            ? refusalAt(bad)
            : Effect.succeed(rows)
        ),
      readTail: (from: Parameters<typeof real.readTail>[0]) =>
        Effect.flatMap(real.readTail(from), (rows) =>
          rows.some(({ writerId, seq }) => bad.commit?.writerId === writerId && bad.commit.seq === seq)
            ? Effect.die(new SyntaxError("a commit whose keys are no JSON"))
            : Effect.succeed(rows)
        )
    }))
  ).pipe(Layer.provide(EventStore.layerMemory))
  const model = ReadModel.layerMemory.pipe(Layer.provideMerge(ProjectionWaiters.layer))
  return Reconciler.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(ProjectionEngine.layer, ProjectionHealth.layer)),
    Layer.provideMerge(Layer.mergeAll(store, model)),
    Layer.provide(logs),
    Layer.provide(limitsOf(limits)),
    Layer.fresh
  )
}

const bad = accountId("bad")
const ids = ["a", "b", "bad", "c", "d"].map(accountId)
const opening = ids.map((id) => openAccount(id))
const parked = Effect.flatMap(ReadModel, (model) => model.parked)
const sweepAll = Effect.flatMap(Reconciler, ({ sweep }) => sweep({ load: true }))

/** All but the account that cannot be read is as the log has it, and that one is parked there. */
const assertBadIsParked = Effect.fnUntraced(function* (version: number) {
  const rows = yield* parked
  assert.deepStrictEqual(
    rows.map((row) => ({ account: row.account, version: row.version })),
    [{ account: bad, version }]
  )
  assert.match(rows[0]?.reason ?? "", /^the log cannot be read: invalid page/)
})

/** From now on the rows of that account are not of the log. */
const forge = Effect.fnUntraced(function* (writer: EventWriter) {
  const forger = writer.fork("writer-1")
  yield* (yield* ProjectionEngine).project(forger.commit(deposit("bad", 1_000n)).events, [])
})

/** Once the log can be read, all is as it has it. */
const assertMended = Effect.fnUntraced(function* (page: BadPage, writer: EventWriter) {
  delete page.event
  assert.deepStrictEqual(yield* (yield* ProjectionEngine).retryParked(), [])
  yield* assertCaughtUp(writer.log)
})

describe("an account whose log cannot be read", () => {
  it.effect("is parked where the bus lost its events, and those beside it are loaded", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const writer = new EventWriter()
      yield* append(writer.commit(...opening))
      page.event = { account: "bad", version: 1 }
      assert.deepInclude(yield* sweepAll, { commits: 1, loaded: 4, behind: 0 })
      yield* assertBadIsParked(1)
      const later = writer.commit(...ids.map((id) => deposit(id, 1n)))
      yield* append(later)
      assert.deepInclude(yield* sweepAll, { commits: 1, loaded: 4, behind: 0 })
      delete page.event
      assert.deepStrictEqual(yield* (yield* ProjectionEngine).retryParked(), [])
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(processOver(page)))
  })

  it.effect(
    "is parked where the bus brought a later event of it, and the others that it brought are there",
    () => {
      const page: BadPage = {}
      return Effect.gen(function* () {
        const engine = yield* ProjectionEngine
        const writer = new EventWriter()
        yield* append(writer.commit(...opening))
        yield* engine.catchUp(ids)
        for (let round = 0; round < 2; round++)
          yield* append(writer.commit(...ids.map((id) => deposit(id, 1n))))
        page.event = { account: "bad", version: 2 }
        const { gaps } = yield* engine.project(
          writer.log.filter(({ version }) => version === 3),
          []
        )
        assert.strictEqual(gaps, ids.length)
        yield* assertBadIsParked(2)
        const versions = yield* (yield* ReadModel).versions(ids)
        assert.deepStrictEqual(
          ids.map((id) => versions.get(id)),
          [3, 3, 1, 3, 3]
        )
      }).pipe(Effect.provide(processOver(page)))
    }
  )

  it.effect("is tried again by itself, and goes on once its log is mended", () => {
    const page: BadPage = { event: { account: "bad", version: 1 } }
    return Effect.gen(function* () {
      const writer = new EventWriter()
      yield* append(writer.commit(...opening))
      yield* sweepAll
      yield* TestClock.adjust("3 minutes")
      yield* assertBadIsParked(1)
      delete page.event
      yield* TestClock.adjust("3 minutes")
      assert.deepStrictEqual(yield* parked, [])
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(processOver(page, { ledger: { sweepMs: 4_000 } })))
  })

  it.effect("keeps no other from being compared with the log", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const engine = yield* ProjectionEngine
      const writer = new EventWriter()
      yield* append(writer.commit(...opening, deposit("a", 1n)))
      yield* engine.catchUp(ids)
      const forger = writer.fork("writer-1")
      yield* engine.project(forger.commit(deposit("b", 1_000n), deposit("d", 1_000n)).events, [])
      page.event = { account: "bad", version: 1 }
      yield* sweepAll
      yield* assertCaughtUp(writer.log)
      assert.deepStrictEqual(yield* parked, [])
    }).pipe(Effect.provide(processOver(page)))
  })

  it.effect("is told of in one line with those of the same step of the comparison", () => {
    const page: BadPage = {}
    const told: Array<string> = []
    const logs = Layer.merge(
      Logger.layer([Logger.make(({ message }) => told.push(String(message)))]),
      Layer.succeed(References.MinimumLogLevel, "Error")
    )
    return Effect.gen(function* () {
      const writer = new EventWriter()
      const many = Array.from({ length: 8 }, (_, nth) => `bad-${nth}`)
      yield* append(writer.commit(openAccount("a"), ...many.map((id) => openAccount(id))))
      yield* sweepAll
      page.accounts = "bad-"
      yield* sweepAll
      yield* sweepAll
      assert.lengthOf(told, 1)
      assert.include(told[0], "version 1 of account bad-2 and 5 more cannot be compared with the log")
    }).pipe(Effect.provide(logs), Effect.provide(processOver(page, {}, logs)))
  })

  it.effect("stays parked where its rows are not of the log, until they can be read anew", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const engine = yield* ProjectionEngine
      const writer = new EventWriter()
      yield* append(writer.commit(...opening, deposit("a", 1n)))
      yield* engine.catchUp(ids)
      yield* forge(writer)
      page.event = { account: "bad", version: 1 }
      yield* sweepAll
      yield* assertBadIsParked(3)
      yield* engine.retryParked()
      yield* assertBadIsParked(3)
      yield* assertMended(page, writer)
    }).pipe(Effect.provide(processOver(page)))
  })
})

describe("an account whose log cannot be read below the event at which it is parked", () => {
  it.effect("is not skipped, for that event is good", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const engine = yield* ProjectionEngine
      const writer = new EventWriter()
      yield* append(writer.commit(...opening))
      yield* engine.catchUp(ids)
      yield* forge(writer)
      for (const amount of [1n, 2n]) yield* append(writer.commit(deposit("bad", amount)))
      page.event = { account: "bad", version: 1 }
      yield* sweepAll
      yield* assertBadIsParked(3)
      const refused = yield* Effect.flip(engine.skipParked(bad, 3))
      assert.strictEqual(refused._tag, "SkipRefused")
      assert.include(refused.message, "the log cannot be read")
      yield* assertBadIsParked(3)
      yield* assertMended(page, writer)
    }).pipe(Effect.provide(processOver(page)))
  })
})

describe("the events of an account before one that cannot be read", () => {
  const page: BadPage = { event: { account: "bad", version: 5 } }
  const written = Effect.gen(function* () {
    const writer = new EventWriter()
    yield* append(writer.commit(...opening))
    for (let times = 0; times < 6; times++) yield* append(writer.commit(deposit("bad", 1n), deposit("a", 1n)))
    return writer
  })
  const assertThereUpToBad = Effect.gen(function* () {
    yield* assertBadIsParked(5)
    const versions = yield* (yield* ReadModel).versions(ids)
    assert.deepStrictEqual(
      ids.map((id) => versions.get(id)),
      [7, 1, 4, 1, 1]
    )
  })

  it.effect("are loaded", () =>
    Effect.gen(function* () {
      yield* written
      yield* sweepAll
      yield* assertThereUpToBad
    }).pipe(Effect.provide(processOver(page)))
  )

  it.effect("are reloaded where its rows are not of the log", () =>
    Effect.gen(function* () {
      const engine = yield* ProjectionEngine
      const forger = new EventWriter()
      yield* engine.project(forger.commit(...opening, deposit("bad", 1_000n)).events, [])
      yield* written
      yield* sweepAll
      yield* assertThereUpToBad
    }).pipe(Effect.provide(processOver(page)))
  )
})

describe("a log that is away for a moment, as a range of it without a quorum", () => {
  it.effect("parks no account", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const writer = new EventWriter()
      yield* append(writer.commit(...opening))
      Object.assign(page, { event: { account: "bad", version: 1 }, state: "58C00" })
      assert.deepInclude(yield* Effect.flip(sweepAll), { _tag: "StoreUnavailable", state: "58C00" })
      assert.deepStrictEqual(yield* parked, [])
      delete page.event
      yield* sweepAll
      yield* assertCaughtUp(writer.log)
    }).pipe(Effect.provide(processOver(page)))
  })
})

describe("a commit whose row cannot be read", () => {
  it.effect("stops the tail of its writer, up to it, and no other", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const [first, second] = [new EventWriter("w1"), new EventWriter("w2")]
      for (const id of ["a", "b", "c"]) yield* append(first.commit(openAccount(id)))
      for (const id of ["d", "e"]) yield* append(second.commit(openAccount(id)))
      page.commit = { writerId: "w1", seq: 3 }
      yield* sweepAll
      yield* assertCaughtUp([...first.log.slice(0, 2), ...second.log])
      const { swept } = yield* ReadModel
      assert.deepStrictEqual(
        [...(yield* swept)],
        [
          ["w1", 2],
          ["w2", 2]
        ]
      )
      delete page.commit
      yield* sweepAll
      yield* assertCaughtUp([...first.log, ...second.log])
    }).pipe(Effect.provide(processOver(page)))
  })

  it.live("leaves what was recorded up to an instant unknown, until it can be read", () => {
    const page: BadPage = {}
    return Effect.gen(function* () {
      const writer = new EventWriter()
      yield* append(writer.commit(...opening))
      yield* sweepAll
      yield* append(writer.commit(deposit("a", 1n)))
      page.commit = { writerId: writer.writerId, seq: 2 }
      yield* (yield* EventStore).fenceWriter(writer.writerId)
      const { at } = yield* TrialBalance
      const error = yield* Effect.flip(at(writer.headOf(accountId("a")).recordedAt))
      assert.strictEqual(error._tag, "NotYetVisible")
      delete page.commit
      yield* sweepAll
      const { lines } = yield* at(writer.headOf(accountId("a")).recordedAt)
      assert.strictEqual(lines[0]?.accounts, 1n)
    }).pipe(
      Effect.provide(
        TrialBalance.layer.pipe(
          Layer.provide(ClosedTimestamps.layer),
          Layer.provide(limitsOf({})),
          Layer.provideMerge(processOver(page))
        )
      )
    )
  })

  for (const isFinished of [false, true])
    it.effect(`ends a rebuild before its exchange, of a ${isFinished ? "finished" : "live"} writer`, () => {
      const page: BadPage = { commit: { writerId: "writer-1", seq: 2 } }
      return Effect.gen(function* () {
        const writer = new EventWriter()
        const store = yield* EventStore
        for (const id of ["a", "b", "c"]) yield* append(writer.commit(openAccount(id)))
        if (isFinished) {
          yield* store.fenceWriter("writer-1")
          yield* store.moveRelayCursors(new Map([["writer-1", 4]]))
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* store.finishWriters({ silentMs: 0, limit: 1 }), 1)
        }
        const [model, engine] = [yield* ReadModel, yield* ProjectionEngine]
        const { follow } = yield* makeReconcileTails("next", model, engine, yield* ProjectionHealth).pipe(
          Effect.provide(limitsOf({}))
        )
        assert.deepInclude(yield* Effect.flip(follow), { _tag: "StoreUnavailable", store: "event store" })
        delete page.commit
        assert.deepInclude(yield* follow, { loaded: 2, behind: 0 })
        yield* assertCaughtUp(writer.log)
      }).pipe(Effect.provide(processOver(page)))
    })
})
