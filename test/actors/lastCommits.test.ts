/** A node that ends publishes what it committed, also what was under way when it was told to end. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Latch, Layer, Scope } from "effect"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { quiet } from "../support/callers.ts"
import { deposit, openAccount } from "../support/eventWriter.ts"

/** A store whose commits wait at a gate, and tell that they do. */
const makeOutside = (gate: Latch.Latch, waits: Latch.Latch) =>
  Layer.mergeAll(
    Bus.layerMemory,
    Layer.effect(
      EventStore,
      Effect.map(EventStore, (store) => ({
        ...store,
        commit: (...args: Parameters<typeof store.commit>) =>
          waits.open.pipe(Effect.andThen(gate.await), Effect.andThen(store.commit(...args)))
      }))
    ).pipe(Layer.provide(EventStore.layerMemory)),
    Snapshots.layerMemory,
    ReadModel.layerMemory
  ).pipe(Layer.provideMerge(ProjectionWaiters.layer), Layer.provideMerge(quiet))

/** Longer than the read side takes to end, in milliseconds. */
const endedMs = 100

describe("a node that ends", () => {
  it.live("publishes the commits of commands that were under way", () =>
    Effect.gen(function* () {
      const [gate, waits] = [Latch.makeUnsafe(true), Latch.makeUnsafe(false)]
      const stores = yield* Layer.build(makeOutside(gate, waits))
      const store = Context.get(stores, EventStore)
      const scope = yield* Scope.make()
      const node = yield* Layer.buildWithScope(LedgerNode.over("ending", Layer.succeedContext(stores)), scope)
      const ledger = Context.get(node, Ledger)
      yield* ledger.dispatch(openAccount("a"))
      gate.closeUnsafe()
      waits.closeUnsafe()
      const last = yield* Effect.forkChild(ledger.dispatch(deposit("a", 1n)))
      yield* waits.await
      const ending = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* Effect.sleep(endedMs)
      gate.openUnsafe()
      yield* Fiber.join(ending)
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
