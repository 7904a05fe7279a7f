/** Leaving a poison event out: on the record, refused where it would be a lie, and kept by a rebuild. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { link } from "../../src/domain/HashChain.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import type { Commit } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { appendAndOffer, eventually, play } from "../support/readSides.ts"
import { rebuildWorld } from "../support/rebuilds.ts"
import { accountId } from "../support/storedEvents.ts"

const poor = accountId("poor")

/** The next commit as a program of the future would write it; what follows is chained to it. */
const poisoned = (writer: EventWriter, ...commands: ReadonlyArray<CommandInput>): Commit => {
  const head = writer.headOf(poor)
  const { events, ...commit } = writer.commit(...commands)
  let previous = head.hash
  const rows = events.map((row) => {
    const { hash: _, ...unlinked } = { ...row, schemaVersion: 99 }
    previous = link(previous, unlinked)
    return { ...unlinked, hash: previous }
  })
  const after = writer.headOf(poor)
  writer.heads.set(poor, { ...after, hash: previous })
  return { ...commit, events: rows }
}

describe("skipping a parked event", () => {
  it.live("lets the account go on without it, also after a rebuild", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const writer = new EventWriter()
      yield* Effect.gen(function* () {
        const readModel = yield* ReadModel
        const engine = yield* ProjectionEngine
        yield* play(writer, [openAccount("poor"), deposit("poor", 10n)])
        yield* appendAndOffer(poisoned(writer, deposit("poor", 5n)))
        yield* play(writer, [deposit("poor", 1n)])
        yield* eventually(Effect.map(readModel.parked, (rows) => assert.lengthOf(rows, 1)))
        const refused = yield* Effect.flip(engine.skipParked(poor, 4))
        assert.include(refused.message, "it is parked at version 3")
        yield* engine.skipParked(poor, 3)

        const assertSkipped = Effect.gen(function* () {
          assert.deepStrictEqual(yield* readModel.parked, [])
          const [skipped] = yield* readModel.skipped
          assert.deepInclude(skipped, { account: poor, version: 3 })
          assert.include(skipped?.reason, "schema version 99")
          const { lines } = (yield* readModel.statement({ account: poor, limit: 10 })) ?? assert.fail()
          // Its line is left out, and the next one goes on from the balance that it binds.
          assert.deepStrictEqual(
            lines.map(({ version, balance }) => [version, balance]),
            [
              [1, 0n],
              [2, 10n],
              [4, 16n]
            ]
          )
        })
        yield* assertSkipped
        const again = yield* Effect.flip(engine.skipParked(poor, 3))
        assert.include(again.message, "it is not parked")
        yield* play(writer, [deposit("poor", 1n)])
        yield* eventually(
          Effect.map(readModel.versions([poor]), (versions) => assert.strictEqual(versions.get(poor), 5))
        )
        yield* rebuild(books)
        assert.deepInclude((yield* readModel.skipped)[0], { account: poor, version: 3 })
        assert.deepStrictEqual(yield* readModel.parked, [])
        assert.strictEqual((yield* readModel.heads([poor])).get(poor)?.account.balance, 17n)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("is kept by a rebuild that is about to exchange the tables", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const writer = new EventWriter()
      yield* Effect.gen(function* () {
        const readModel = yield* ReadModel
        const engine = yield* ProjectionEngine
        const store = yield* EventStore
        yield* play(writer, [openAccount("poor"), deposit("poor", 10n)])
        yield* appendAndOffer(poisoned(writer, deposit("poor", 5n)))
        yield* play(writer, [deposit("poor", 1n)])
        yield* eventually(Effect.map(readModel.parked, (rows) => assert.lengthOf(rows, 1)))
        let listings = 0
        // The first one is at the beginning of the rebuild, the second when it follows the writers.
        const listWriters = Effect.suspend(() =>
          ++listings === 2
            ? Effect.andThen(Effect.orDie(engine.skipParked(poor, 3)), store.listWriters)
            : store.listWriters
        )
        yield* rebuild(books).pipe(Effect.provideService(EventStore, { ...store, listWriters }))
        assert.deepInclude((yield* readModel.skipped)[0], { account: poor, version: 3 })
        assert.deepStrictEqual(yield* readModel.parked, [])
        assert.strictEqual((yield* readModel.heads([poor])).get(poor)?.account.balance, 16n)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("is refused for the first event of an account", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      yield* Effect.gen(function* () {
        const readModel = yield* ReadModel
        const engine = yield* ProjectionEngine
        yield* appendAndOffer(poisoned(new EventWriter(), openAccount("poor")))
        yield* eventually(Effect.map(readModel.parked, (rows) => assert.lengthOf(rows, 1)))
        const refused = yield* Effect.flip(engine.skipParked(poor, 1))
        assert.include(refused.message, "no balance to go on from")
        assert.lengthOf(yield* readModel.parked, 1)
        assert.deepStrictEqual(yield* readModel.skipped, [])
      }).pipe(Effect.provide(world.process))
    })
  )
})
