/** The law of the projection (I8): whatever the bus does with the messages, rows equal the fold of the log. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Layer, Schema } from "effect"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { Reconciler } from "../../src/actors/projections/Reconciler.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { commands } from "../domain/arbitraries.ts"
import { EventWriter } from "../support/eventWriter.ts"
import { append, assertCaughtUp, assertPrefixes, limitsOf } from "../support/readSides.ts"

const inMemory = () =>
  Layer.fresh(
    Reconciler.layer.pipe(
      Layer.provideMerge(ProjectionEngine.layer),
      Layer.provideMerge(
        Layer.mergeAll(ReadModel.layerMemory, EventStore.layerMemory, ProjectionHealth.layer)
      ),
      Layer.provideMerge(ProjectionWaiters.layer),
      // Small batches, so that gaps are longer than one.
      Layer.provide(limitsOf({ readSide: { projectEventsMax: 3, sweepCommitsMax: 2 } }))
    )
  )

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

/** What the bus does: each step delivers some rows, by where they stand in the log, in any order, any number of times. */
const deliveries = Arbitrary.schema(
  Schema.Array(Schema.Array(small(199)).check(Schema.isMaxLength(20))).check(Schema.isMaxLength(15))
)

/** Accepted commands as commits of one or two; ids of their own. */
const commitAll = (writer: EventWriter, all: ReadonlyArray<CommandInput>) =>
  Effect.gen(function* () {
    for (const [index, command] of all.entries()) {
      const withId = { ...command, commandId: `c-${index}` }
      const rows = writer.log.length
      const commit = commitOrNothing(writer, withId)
      if (commit !== undefined) yield* append(commit)
      else assert.strictEqual(writer.log.length, rows)
    }
  })

const commitOrNothing = (writer: EventWriter, command: CommandInput) => {
  const events = writer.decide(command)
  return events.length === 0 ? undefined : writer.commitOf(events)
}

const options = { arbitrary: { runs: 300, size: 100, seed: 11 } }

describe("the projection", () => {
  let gaps = 0
  let repeats = 0

  it.effect.prop(
    "holds the fold of a prefix of each stream after every delivery",
    [commands, deliveries],
    ([all, steps]) =>
      Effect.gen(function* () {
        const engine = yield* ProjectionEngine
        const writer = new EventWriter()
        yield* commitAll(writer, all)
        const { log } = writer
        for (const step of steps) {
          const rows = step.flatMap((index) => log.slice(index % log.length, (index % log.length) + 1))
          const done = yield* engine.project(rows, [])
          gaps += done.gaps
          repeats += done.repeats
          yield* assertPrefixes(log)
        }
        const sweep = yield* Reconciler
        yield* sweep.sweep({ load: true })
        yield* assertCaughtUp(log)
        const readModel = yield* ReadModel
        assert.deepStrictEqual(yield* readModel.parked, [])
      }).pipe(Effect.provide(inMemory())),
    options
  )

  it("met gaps and repetitions often enough to prove something", () => {
    assert.isAbove(gaps, 100)
    assert.isAbove(repeats, 100)
  })

  it.effect.prop(
    "needs no reconciliation when every row came at least once",
    [commands, Arbitrary.schema(Schema.Array(small(1_000)).check(Schema.isMinLength(1)))],
    ([all, keys]) =>
      Effect.gen(function* () {
        const engine = yield* ProjectionEngine
        const writer = new EventWriter()
        yield* commitAll(writer, all)
        // A permutation that the numbers pick.
        const shuffled = writer.log
          .map((row, index) => ({ row, key: ((keys[index % keys.length] ?? 0) * (index + 7)) % 101 }))
          .toSorted((a, b) => a.key - b.key)
          .map(({ row }) => row)
        for (let start = 0; start < shuffled.length; start += 4) {
          yield* engine.project(shuffled.slice(start, start + 4), [])
        }
        yield* assertCaughtUp(writer.log)
      }).pipe(Effect.provide(inMemory())),
    options
  )
})
