/** The parts of a node that a load test starts one by one, which must work together as if they were started at once. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, References } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { startNode } from "../../src/loadtest/LoadTest.ts"
import { open, toCommand } from "../support/ledgerWorld.ts"

const memory = Layer.mergeAll(EventStore.layerMemory, Snapshots.layerMemory, CommitFeed.layer)

it.live("a write side that is started later offers its commits to the feed that was provided before", () =>
  Effect.gen(function* () {
    const provided = yield* CommitFeed
    const first = yield* Layer.build(LedgerNode.writeSide("first"))
    const second = yield* Layer.build(LedgerNode.writeSide("second"))
    assert.strictEqual(Context.get(first, CommitFeed), provided)
    assert.strictEqual(Context.get(second, CommitFeed), provided)
  }).pipe(Effect.scoped, Effect.provide(memory))
)

it.live("a node that is started again does not know the accounts of its earlier life", () =>
  Effect.gen(function* () {
    const residents = Effect.map(startNode("node"), ({ stats }) => stats().residents)
    const opened = yield* Effect.scoped(
      Effect.gen(function* () {
        const driver = yield* startNode("node")
        yield* driver.dispatch(toCommand(open("services-1")))
        return driver.stats().residents
      })
    )
    assert.strictEqual(opened, 1)
    assert.strictEqual(yield* Effect.scoped(residents), 0)
  }).pipe(Effect.provide(memory), Effect.provideService(References.MinimumLogLevel, "None"))
)
