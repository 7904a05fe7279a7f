/** What was answered of the past is answered for ever (I9), whatever it is found from. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { deposit, openAccount } from "../support/eventWriter.ts"
import { eventually, limitsOf } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

it.live("a past balance is the same with a snapshot before it as without", () => {
  let isHidden = true
  const snapshots = Layer.effect(
    Snapshots,
    Effect.map(Snapshots, (real) => ({
      ...real,
      before: (...asked: Parameters<typeof real.before>) =>
        Effect.suspend(() => (isHidden ? Effect.undefined : real.before(...asked)))
    }))
  ).pipe(Layer.provide(Snapshots.layerMemory))
  const outside = Layer.mergeAll(Bus.layerMemory, EventStore.layerMemory, snapshots, ReadModel.layerMemory)
  return Effect.gen(function* () {
    const ledger = yield* Ledger
    yield* ledger.dispatch(openAccount("a"))
    for (let nth = 0; nth < 9; nth++) yield* ledger.dispatch(deposit("a", 1n))
    const ask = Effect.gen(function* () {
      const past = yield* ledger.balanceAt("a", { version: 7 })
      return [past, yield* ledger.balanceAt("a", { recordedAt: past.recordedAt })]
    })
    const before = yield* ask
    isHidden = false
    const { before: snapshotBefore } = yield* Snapshots
    yield* eventually(
      Effect.map(snapshotBefore(accountId("a"), { version: 7 }), (found) => assert.isDefined(found))
    )
    assert.deepStrictEqual(yield* ask, before)
  }).pipe(
    Effect.provide(
      LedgerNode.over("node", Layer.provideMerge(outside, ProjectionWaiters.layer)).pipe(
        Layer.provide(limitsOf({ ledger: { snapshotEvery: 4, heartbeatMs: 50 } })),
        Layer.fresh
      )
    )
  )
})
