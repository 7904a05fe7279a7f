/** The heads that a projection remembers: they spare it reading, and never mislead it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { makeProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { append } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

const worlds = Layer.mergeAll(ReadModel.layerMemory, EventStore.layerMemory).pipe(
  Layer.provideMerge(ProjectionWaiters.layer)
)

/** A projection, and the accounts it looked at in the read model so far. */
const watched = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const looked: Array<string> = []
  const engine = yield* makeProjectionEngine({
    ...readModel,
    look: (accounts) => {
      looked.push(...accounts)
      return readModel.look(accounts)
    }
  })
  return { readModel, engine, looked }
})

const [a, b] = [accountId("a"), accountId("b")]

describe("a projection that keeps the heads it wrote", () => {
  it.effect("reads an account from the read model only once", () =>
    Effect.gen(function* () {
      const { readModel, engine, looked } = yield* watched
      const writer = new EventWriter()
      yield* engine.project(writer.commit(openAccount("a"), deposit("a", 5n)).events, [])
      yield* engine.project(writer.commit(deposit("a", 7n), openAccount("b")).events, [])
      yield* engine.project(writer.commit(deposit("a", 1n), deposit("b", 2n)).events, [])
      assert.deepStrictEqual(looked, ["a", "b"])
      const heads = yield* readModel.heads([a, b])
      assert.strictEqual(heads.get(a)?.account.balance, 13n)
      assert.strictEqual(heads.get(b)?.account.balance, 2n)
    }).pipe(Effect.provide(worlds))
  )

  it.effect("skips repeated rows without reading the read model", () =>
    Effect.gen(function* () {
      const { readModel, engine, looked } = yield* watched
      const commit = new EventWriter().commit(openAccount("a"), deposit("a", 5n))
      yield* append(commit)
      const { events } = commit
      yield* engine.project(events, [])
      const again = yield* engine.project(events, [])
      assert.deepInclude(again, { events: 0, repeats: 2, gaps: 0 })
      assert.deepStrictEqual(looked, ["a"])
      assert.strictEqual((yield* readModel.heads([a])).get(a)?.account.balance, 5n)
    }).pipe(Effect.provide(worlds))
  )

  it.effect("reads again when another process moved one of its accounts", () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const { readModel, engine } = yield* watched
      const other = yield* watched
      const writer = new EventWriter()
      yield* store.registerWriter({ writerId: writer.writerId, node: "n", closedAt: 0 })
      const commits = [
        writer.commit(openAccount("a"), openAccount("b")),
        writer.commit(deposit("a", 5n)),
        writer.commit(deposit("a", 7n), deposit("b", 1n))
      ]
      for (const commit of commits) yield* store.commit(commit)
      const [opened, first, second] = commits
      yield* engine.project(opened?.events ?? [], [])
      yield* other.engine.project(first?.events ?? [], [])
      // This one has `a` at 1 in mind, and meets a gap; then the very rows that the other wrote, once more.
      yield* engine.project(second?.events ?? [], [])
      yield* other.engine.project(second?.events ?? [], [])
      yield* other.engine.project(first?.events ?? [], [])
      const heads = yield* readModel.heads([a, b])
      assert.deepStrictEqual(
        [heads.get(a)?.account.version, heads.get(a)?.account.balance, heads.get(b)?.account.balance],
        [3, 12n, 1n]
      )
      assert.lengthOf((yield* readModel.statement({ account: a, limit: 10 }))?.lines ?? [], 3)
    }).pipe(Effect.provide(worlds))
  )

  it.effect("keeps no more heads than it may", () =>
    Effect.gen(function* () {
      const { readModel, engine, looked } = yield* watched
      const writer = new EventWriter()
      yield* engine.project(writer.commit(openAccount("a")).events, [])
      yield* engine.project(writer.commit(openAccount("b")).events, [])
      yield* engine.project(writer.commit(deposit("a", 3n)).events, [])
      assert.deepStrictEqual(looked, ["a", "b", "a"])
      assert.strictEqual((yield* readModel.heads([a])).get(a)?.account.balance, 3n)
    }).pipe(
      Effect.provide(worlds),
      Effect.provideService(ReadSideConfig, { ...defaultReadSideLimits, headsKeptMax: 1 })
    )
  )
})

describe("a projection that catches up many accounts", () => {
  it.effect("looks at each of them about once, however many they are", () =>
    Effect.gen(function* () {
      const { readModel, engine, looked } = yield* watched
      const ids = Array.from({ length: 200 }, (_, index) => accountId(`acc-${index}`))
      const writer = new EventWriter()
      yield* append(writer.commit(...ids.map((id) => openAccount(id))))
      assert.strictEqual(yield* engine.catchUp(ids), ids.length)
      assert.strictEqual((yield* readModel.versions(ids)).size, ids.length)
      assert.isBelow(looked.length, 2 * ids.length)
    }).pipe(
      Effect.provide(worlds),
      Effect.provideService(ReadSideConfig, { ...defaultReadSideLimits, projectEventsMax: 10 })
    )
  )
})
