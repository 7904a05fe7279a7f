/** Who runs which singleton, as the table has it: reported by owners, claimed by nodes that stand in for a silent one, and given back. */
import { assert, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Redacted } from "effect"
import { Sharding } from "effect/cluster"
import { inject } from "vitest"
import * as ClusterSingletons from "../../src/actors/cluster/ClusterSingletons.ts"
import { Singletons } from "../../src/actors/relay/Singletons.ts"
import { after, LockCertainty } from "../../src/infra/cluster/LockCertainty.ts"
import { SingletonTable } from "../../src/infra/cluster/SingletonTable.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { execute } from "../support/databases.ts"
import { quiet } from "../support/ledgerWorld.ts"
import { eventually, freshReadModel } from "../support/readSides.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const silentMs = 15_000

it.live("a silent singleton is claimed by one node, which has it until its owner reports it again", () =>
  Effect.gen(function* () {
    const url = yield* freshReadModel(inject("postgresUrl"))
    yield* Effect.gen(function* () {
      const table = yield* SingletonTable
      const only = (node: string) => ({ node, life: "one" })
      const claimed = (node: string, ...names: ReadonlyArray<string>) =>
        Effect.map(table.claim(only(node), names, silentMs), (got) => [...got].sort())
      const renewed = (node: string, ...names: ReadonlyArray<string>) =>
        Effect.map(table.renew(only(node), new Map(names.map((name) => [name, undefined]))), (got) =>
          [...got].sort()
        )
      const ownerOf = (name: string) =>
        Effect.map(table.all, (rows) => rows.find((row) => row.name === name)?.node)

      yield* table.report(
        only("owner"),
        new Map([
          ["b", "lag 1"],
          ["c", undefined]
        ])
      )
      assert.deepStrictEqual(yield* claimed("second", "b", "c"), [], "they were reported just now")
      yield* execute(url, "UPDATE duties SET seen_at = now() - interval '16 seconds' WHERE duty = 'b'")
      const both = yield* Effect.all([claimed("second", "b", "a"), claimed("third", "b", "a")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(both.flat().sort(), ["a", "b"], "each by one, also what was never reported")
      const taker = (yield* ownerOf("b")) ?? ""
      assert.deepStrictEqual(yield* renewed(taker, "b", "c"), ["b"], "not what another node has")
      assert.strictEqual((yield* table.all).find(({ name }) => name === "b")?.status, "lag 1")
      yield* table.report(only("owner"), new Map([["b", "lag 2"]]))
      assert.deepStrictEqual(yield* renewed(taker, "b"), [])
      assert.strictEqual(yield* ownerOf("b"), "owner")
    }).pipe(Effect.provide(SingletonTable.layer.pipe(Layer.provide(ReadModelSql.layer(Redacted.make(url))))))
  }).pipe(Effect.scoped)
)

it.live("a report that the database does not answer is given up, and the next one goes another way", () =>
  Effect.gen(function* () {
    const url = new URL(yield* freshReadModel(inject("postgresUrl")))
    const proxy = yield* tcpProxy(url.hostname, Number(url.port))
    url.port = String(proxy.port)
    const limits = { ...defaultReadSideLimits, connectMs: 5_000, readModelStatementMs: 3_000 }
    yield* Effect.gen(function* () {
      const table = yield* SingletonTable
      const report = table.report({ node: "owner", life: "one" }, new Map([["a", undefined]]))
      yield* report
      proxy.silenceStatements()
      const silent = yield* Effect.timeout(Effect.flip(report), "2 minutes")
      assert.include(silent.message, "no answer within 8000 ms")
      proxy.forward()
      yield* report
    }).pipe(
      Effect.provide(
        SingletonTable.layer.pipe(Layer.provide(ReadModelSql.layer(Redacted.make(url.toString()))))
      ),
      Effect.provide(Layer.succeed(ReadSideConfig, limits))
    )
  }).pipe(Effect.scoped)
)

it.live("a claim is of one life of a node, and of no other process of its name", () =>
  Effect.gen(function* () {
    const url = yield* freshReadModel(inject("postgresUrl"))
    yield* Effect.gen(function* () {
      const table = yield* SingletonTable
      const [frozen, next] = [
        { node: "same", life: "first" },
        { node: "same", life: "second" }
      ]
      const some = new Map([["a", undefined]])
      assert.deepStrictEqual([...(yield* table.claim(frozen, ["a"], silentMs))], ["a"])
      yield* execute(url, "UPDATE duties SET seen_at = now() - interval '16 seconds'")
      assert.deepStrictEqual([...(yield* table.claim(next, ["a"], silentMs))], ["a"])
      assert.deepStrictEqual([...(yield* table.renew(frozen, some))], [], "it slept, and another one has it")
      assert.deepStrictEqual([...(yield* table.renew(next, some))], ["a"])
      yield* table.report(frozen, some)
      assert.deepStrictEqual([...(yield* table.renew(next, some))], [], "the owner has it back")
    }).pipe(Effect.provide(SingletonTable.layer.pipe(Layer.provide(ReadModelSql.layer(Redacted.make(url))))))
  }).pipe(Effect.scoped)
)

/** A member that Effect Cluster gives all shards, or none, and the singletons that run on it. */
const startMember = Effect.fnUntraced(function* (node: string, url: string, hasShards: boolean) {
  const certainty = LockCertainty.make(yield* Clock.Clock)
  certainty.until = after(certainty.now(), 3_600_000)
  const sharding = {
    registerSingleton: (_: string, life: Effect.Effect<void>) =>
      hasShards ? Effect.asVoid(Effect.forkScoped(Effect.scoped(life))) : Effect.void
  } as never // all of it that singletons use
  const context = yield* Layer.build(
    ClusterSingletons.layer(node).pipe(
      Layer.provide(ReadModelSql.layer(Redacted.make(url))),
      Layer.provide([
        Layer.succeed(LockCertainty, certainty),
        Layer.succeed(Sharding.Sharding, sharding),
        Layer.succeed(ClusterConfig, { ...defaultClusterLimits, dutyReportMs: 20, dutySilentMs: 1_000 })
      ])
    )
  )
  const host = Context.get(context, Singletons)
  const running = new Set<string>()
  const run = (name: string) =>
    host.run(
      name,
      Effect.acquireRelease(
        Effect.sync(() => running.add(name)),
        () => Effect.sync(() => running.delete(name))
      ).pipe(Effect.andThen(Effect.never), Effect.scoped)
    )
  yield* run("one")
  yield* run("two")
  return {
    host,
    running: () => [...running].sort().join(),
    isOwn: (name: string) => host.statesUnsafe().some((one) => one.name === name && one.isOwn)
  }
})

it.live("what a member does not do another one does, until that one does it again", () =>
  Effect.gen(function* () {
    const url = yield* freshReadModel(inject("postgresUrl"))
    const owner = yield* startMember("owner", url, true)
    const other = yield* startMember("other", url, false)
    const isRunBy = (name: string) =>
      Effect.map(
        Effect.sync(() => other.host.statesUnsafe().find((one) => one.name === name)),
        (state) => (state?.isUnowned === true ? undefined : state?.node)
      )
    yield* eventually(
      Effect.gen(function* () {
        assert.strictEqual(yield* isRunBy("one"), "owner")
        assert.strictEqual(other.running(), "")
      })
    )
    owner.host.setAwayUnsafe("one", true)
    yield* eventually(
      Effect.gen(function* () {
        assert.strictEqual(other.running(), "one")
        assert.strictEqual(yield* isRunBy("one"), "other")
        assert.isTrue(other.isOwn("one"))
      })
    )
    owner.host.setAwayUnsafe("one", false)
    yield* eventually(
      Effect.sync(() => {
        assert.strictEqual(other.running(), "")
        assert.isFalse(other.isOwn("one"))
      })
    )
    // Once more, and now what does the work of the stand-in goes away too: it gives up what it claimed.
    owner.host.setAwayUnsafe("two", true)
    yield* eventually(Effect.sync(() => assert.strictEqual(other.running(), "two")))
    other.host.setAwayUnsafe("two", true)
    yield* eventually(Effect.sync(() => assert.strictEqual(other.running(), "")))
    yield* eventually(
      Effect.map(isRunBy("two"), (node) => assert.isUndefined(node, "no node does it, and all say so"))
    )
  }).pipe(Effect.scoped, Effect.provide(quiet))
)

it.live("a stand-in gives up what another process of its name does again", () =>
  Effect.gen(function* () {
    const url = yield* freshReadModel(inject("postgresUrl"))
    const owner = yield* startMember("same", url, true)
    const other = yield* startMember("same", url, false)
    owner.host.setAwayUnsafe("one", true)
    yield* eventually(Effect.sync(() => assert.strictEqual(other.running(), "one")))
    owner.host.setAwayUnsafe("one", false)
    yield* eventually(
      Effect.sync(() => {
        assert.strictEqual(other.running(), "")
        assert.isFalse(other.isOwn("one"))
      })
    )
  }).pipe(Effect.scoped, Effect.provide(quiet))
)
