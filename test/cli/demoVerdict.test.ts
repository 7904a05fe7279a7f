/** The verdict of a demo on its read model: one that is behind the log, or has parked an account, is not the fold of the log (I8). */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import { printPlay } from "../../src/cli/DemoOutput.ts"
import { runDemo } from "../../src/cli/DemoRun.ts"
import type { Output } from "../../src/cli/Output.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { type Parked, ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { quiet } from "../support/callers.ts"
import { accountId } from "../support/storedEvents.ts"

const day = [
  "time,command_id,kind,account,counterparty,asset,amount,legs,owner,overdraft,note",
  "2026-03-02T09:00:00Z,v-1,open,verdict:alice,,USD,,,Alice,,",
  "2026-03-02T09:01:00Z,v-2,deposit,verdict:alice,,USD,5.00,,,,"
]

/** A node in memory over a read model that is changed. */
const nodeOver = (change: (real: ReadModel["Service"]) => Effect.Effect<ReadModel["Service"], unknown>) =>
  LedgerNode.over(
    "demo",
    Layer.mergeAll(
      Bus.layerMemory,
      EventStore.layerMemory,
      Snapshots.layerMemory,
      Layer.effect(ReadModel, Effect.orDie(Effect.flatMap(ReadModel, change))).pipe(
        Layer.provide(ReadModel.layerMemory)
      )
    ).pipe(Layer.provideMerge(ProjectionWaiters.layer))
  ).pipe(Layer.provideMerge(quiet))

const played = Effect.fnUntraced(function* (
  change: (real: ReadModel["Service"]) => Effect.Effect<ReadModel["Service"], unknown>,
  catchUpMs: number
) {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-verdict-" })
  const file = `${directory}/day.csv`
  yield* fs.writeFileString(file, `${day.join("\n")}\n`)
  const result = yield* runDemo({ file, journals: `${directory}/refusals`, catchUpMs }).pipe(
    Effect.provide(nodeOver(change))
  )
  const lines: Array<string> = []
  const output: Output = {
    line: (text = "") => Effect.sync(() => void lines.push(text)),
    heading: () => Effect.void,
    table: () => Effect.void
  }
  yield* printPlay(output, result)
  assert.strictEqual(result.played.accepted, 2)
  const broken = Object.entries(result.verdicts.invariants).filter(([, isKept]) => !isKept)
  return {
    result,
    broken: broken.map(([name]) => name),
    faults: result.verdicts.faults,
    told: lines.join("\n")
  }
})

const parked: Parked = { account: accountId("erin"), version: 1, reason: "unreadable", since: 0 }

layer(NodeServices.layer, { excludeTestServices: true })("the verdict of a demo on its read model", (it) => {
  it.effect("is good over one that holds all of the day", () =>
    Effect.gen(function* () {
      const { result, broken, faults, told } = yield* played(Effect.succeed, 60_000)
      assert.deepEqual({ broken, faults }, { broken: [], faults: [] })
      assert.isNumber(result.caughtUpMs)
      assert.include(told, "The read model held all of it")
    })
  )

  it.effect("is bad over one that takes nothing, which is said in place of how fast it was", () =>
    Effect.gen(function* () {
      const takesNothing = (real: ReadModel["Service"]) =>
        Effect.succeed({ ...real, apply: () => Effect.never })
      const { result, broken, faults, told } = yield* played(takesNothing, 300)
      assert.deepEqual(broken, ["I8"])
      assert.deepEqual(faults, [
        "I8: the read model did not catch up in time",
        "I8: accounts of which the read model lacks events: 1"
      ])
      assert.isUndefined(result.caughtUpMs)
      assert.include(told, "DID NOT CATCH UP")
      assert.notInclude(told, "held all of it")
    })
  )

  it.effect("is bad over one with a parked account, though it holds all of the day", () =>
    Effect.gen(function* () {
      const { result, broken, faults } = yield* played((real) => Effect.as(real.park([parked]), real), 60_000)
      assert.deepEqual(broken, ["I8"])
      assert.deepEqual(faults, ["I8: erin is parked: unreadable"])
      assert.isNumber(result.caughtUpMs)
    })
  )
})
