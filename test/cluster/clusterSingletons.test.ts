/** Which of its singletons a member reports: those that it runs, while what does their work is there. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Sharding } from "effect/cluster"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import * as ClusterSingletons from "../../src/actors/cluster/ClusterSingletons.ts"
import { Singletons } from "../../src/actors/relay/Singletons.ts"
import { after, LockCertainty } from "../../src/infra/cluster/LockCertainty.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { quiet } from "../support/ledgerWorld.ts"

const refused = new SqlError({
  reason: new ConnectionError({
    cause: Object.assign(new Error("connect ECONNREFUSED 10.0.0.5:5432"), { code: "ECONNREFUSED" }),
    operation: "connect"
  })
})

it.effect(
  "a part of the read side whose thread is away is reported by no node, and again once that is back",
  () =>
    Effect.gen(function* () {
      const certainty = yield* LockCertainty
      certainty.until = after(certainty.now(), 3_600_000)
      const reports: Array<string> = []
      let hasBug = false
      let isAway = false
      // All of each service that singletons use.
      const sql = {
        unsafe: (text: string, params: ReadonlyArray<unknown>) => ({
          values: Effect.suspend(() => {
            if (isAway) return Effect.fail(refused)
            if (hasBug) {
              hasBug = false
              throw new Error("a bug of the test")
            }
            if (text.includes("INSERT")) reports.push(JSON.stringify(params[2]))
            return Effect.succeed([])
          })
        })
      } as never
      const sharding = {
        registerSingleton: (_: string, life: Effect.Effect<void>) =>
          Effect.asVoid(Effect.forkScoped(Effect.scoped(life)))
      } as never
      const context = yield* Layer.build(
        ClusterSingletons.layer("node").pipe(
          Layer.provide(
            Layer.mergeAll(Layer.succeed(ReadModelSql, sql), Layer.succeed(Sharding.Sharding, sharding))
          )
        )
      )
      yield* Effect.gen(function* () {
        const host = yield* Singletons
        yield* host.run("elsewhere", Effect.void)
        yield* TestClock.adjust("1234567 micros")
        const elsewhere = host.statesUnsafe().find(({ isOwn }) => !isOwn)
        assert.isTrue(Number.isInteger(elsewhere?.silentMs), "milliseconds are told without fractions")
        for (const name of ["one", "two"]) yield* host.run(name, Effect.never)
        const reported = Effect.gen(function* () {
          reports.length = 0
          yield* TestClock.adjust(2 * defaultClusterLimits.dutyReportMs)
          return ["one", "two"].filter((name) => reports.at(-1)?.includes(name))
        })
        assert.deepStrictEqual(yield* reported, ["one", "two"])
        hasBug = true
        yield* TestClock.adjust(2 * defaultClusterLimits.dutyReportMs)
        assert.isFalse(hasBug)
        assert.deepStrictEqual(yield* reported, ["one", "two"], "it goes on behind a round that met a bug")
        host.setAwayUnsafe("one", true)
        assert.deepStrictEqual(yield* reported, ["two"])
        host.setAwayUnsafe("two", true)
        assert.deepStrictEqual(yield* reported, [])
        host.setAwayUnsafe("one", false)
        assert.deepStrictEqual(yield* reported, ["one"])
        assert.isUndefined(host.troubleUnsafe())
        isAway = true
        yield* TestClock.adjust(2 * defaultClusterLimits.dutyReportMs)
        assert.strictEqual(host.troubleUnsafe(), "read model: cannot connect (ECONNREFUSED)")
      }).pipe(Effect.provide(context))
    }).pipe(
      Effect.scoped,
      Effect.provide([LockCertainty.layer, Layer.succeed(ClusterConfig, defaultClusterLimits), quiet])
    )
)
