/** A node that ends publishes what it committed, also what was under way when it was told to end. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { quiet } from "../support/callers.ts"
import { deposit, openAccount } from "../support/eventWriter.ts"

/** How long each commit takes, in milliseconds. */
const commitMs = 100

const slowStore = Layer.effect(
  EventStore,
  Effect.map(EventStore, (store) => ({
    ...store,
    commit: (...args: Parameters<typeof store.commit>) => Effect.delay(store.commit(...args), commitMs)
  }))
).pipe(Layer.provide(EventStore.layerMemory))

const outside = Layer.mergeAll(Bus.layerMemory, slowStore, Snapshots.layerMemory, ReadModel.layerMemory).pipe(
  Layer.provideMerge(ProjectionWaiters.layer),
  Layer.provideMerge(quiet)
)

describe("a node that ends", () => {
  it.live("publishes the commits of commands that were under way", () =>
    Effect.gen(function* () {
      const stores = yield* Layer.build(outside)
      const store = Context.get(stores, EventStore)
      const scope = yield* Scope.make()
      const node = yield* Layer.buildWithScope(LedgerNode.over("ending", Layer.succeedContext(stores)), scope)
      const ledger = Context.get(node, Ledger)
      yield* ledger.dispatch(openAccount("a"))
      const last = yield* Effect.forkChild(ledger.dispatch(deposit("a", 1n)), { startImmediately: true })
      yield* Effect.sleep(commitMs / 5)
      assert.isUndefined(last.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      const { postings } = yield* Fiber.join(last)
      assert.strictEqual(postings[0]?.version, 2)
      const published = yield* store.relayCursors
      const commits: Array<{ readonly isPublished: boolean }> = []
      for (const { writerId } of yield* store.listWriters)
        for (const { seq, keys } of yield* store.readTail({ writerId, after: 0, limit: 9 }))
          if (keys.length > 0) commits.push({ isPublished: seq <= (published.get(writerId) ?? 0) })
      assert.deepStrictEqual(commits, [{ isPublished: true }, { isPublished: true }])
    }).pipe(Effect.scoped)
  )
})
