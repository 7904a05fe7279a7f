/** Snapshots of accounts with very many holds are saved, and read by an audit, few at a time. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Snapshotter } from "../../src/actors/accounts/Snapshotter.ts"
import { Audit } from "../../src/actors/audit/Audit.ts"
import type { Head } from "../../src/domain/Head.ts"
import { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { Asset } from "../../src/domain/Money.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { memoryStores, quiet, until } from "../support/ledgerWorld.ts"

const holds = Array.from({ length: 1_000 }, (_, nth) => ({
  id: CommandId.make(`hold-${nth}`),
  amount: 1n,
  captured: 0n,
  remaining: 1n,
  captures: 0
}))

const headAt = (version: number): Head => ({
  account: {
    _tag: "Opened",
    id: AccountId.make("settlement"),
    version,
    status: "open",
    asset: Asset.make("USD/2"),
    owner: "Ann",
    overdraftLimit: 0n,
    balance: 1_000n,
    held: 1_000n,
    holds,
    metadata: {}
  },
  hash: "",
  recordedAt: 0
})
const readModel = Layer.provide(ReadModel.layerMemory, ProjectionWaiters.layer)

const heads = Array.from({ length: 100 }, (_, nth) => headAt(500 * (nth + 1)))

it.effect("a thousand holds each are saved ten heads at a time", () =>
  Effect.gen(function* () {
    const saved: Array<number> = []
    const snapshots = yield* Snapshots
    const save: (typeof snapshots)["save"] = (some) => Effect.sync(() => void saved.push(some.length))
    const counting = Layer.succeed(Snapshots, { ...snapshots, save })
    yield* Effect.gen(function* () {
      const { offerUnsafe } = yield* Snapshotter
      for (const head of heads) offerUnsafe(head)
      yield* until("all are saved", () => saved.reduce((sum, count) => sum + count, 0) === heads.length)
      assert.deepStrictEqual(saved, Array(10).fill(10))
    }).pipe(Effect.provide(Layer.provide(Snapshotter.layer, counting)))
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("and are read by an audit in small pages", () =>
  Effect.gen(function* () {
    const snapshots = yield* Snapshots
    yield* snapshots.save(heads)
    const read: Array<number> = []
    const list: (typeof snapshots)["list"] = (page) =>
      Effect.tap(snapshots.list(page), (rows) => Effect.sync(() => void read.push(rows.length)))
    const counting = Layer.succeed(Snapshots, { ...snapshots, list })
    const report = yield* Effect.flatMap(Audit, (audit) => audit.verify()).pipe(
      Effect.provide(Layer.provide(Audit.layer, counting))
    )
    // None of them is of an event of the log.
    assert.strictEqual(report.findingsTotal, heads.length)
    assert.strictEqual(Math.max(...read), 20)
  }).pipe(Effect.provide([memoryStores, readModel, quiet]))
)
