/** The history of an account by pages, and what is no page. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { History } from "../../src/actors/past/History.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { deposit, memoryStores, open, startNode } from "../support/ledgerWorld.ts"

it.effect("a history answers page after page, and refuses what is no page by its name", () =>
  Effect.gen(function* () {
    const history = yield* History
    const node = yield* startNode("node")
    yield* node.send(open("paged"))
    for (let version = 2; version <= 5; version++) yield* node.send(deposit("paged", 1n))
    const account = "paged" as AccountId // a valid id
    const versions = (page: { readonly after?: number; readonly limit?: number }) =>
      Effect.map(history.events(account, page), (entries) => entries.map(({ version }) => version))
    assert.deepStrictEqual(yield* versions({}), [1, 2, 3, 4, 5])
    assert.deepStrictEqual(yield* versions({ limit: 2 }), [1, 2])
    assert.deepStrictEqual(yield* versions({ after: 2, limit: 2 }), [3, 4])
    assert.deepStrictEqual(yield* versions({ after: 5 }), [])
    assert.deepStrictEqual(yield* versions({ after: 99 }), [])
    for (const after of [0, 1, 99])
      assert.deepInclude(yield* Effect.flip(history.events("nobody" as AccountId, { after })), {
        _tag: "AccountNotFound",
        account: "nobody"
      })
    const none = [
      ...[0, -1, 1.5, Number.NaN].map((limit) => ["limit", { limit }] as const),
      ...[-1, 0.5, Number.NaN, 1e300].map((after) => ["after", { after }] as const)
    ]
    for (const [path, page] of none) {
      const error = yield* Effect.flip(versions(page))
      assert.deepStrictEqual(error._tag === "InvalidCommand" && error.faults[0]?.path, [path])
    }
  }).pipe(Effect.provide(Layer.provideMerge(History.layer, memoryStores)))
)
