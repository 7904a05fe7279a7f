/** The limits that the environment sets: each has its variable and its place in the docs, and none may be zero. */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect } from "effect"
import { limitsPage, limitsPath } from "../../scripts/limits.ts"
import { ClusterConfig, clusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { limitsFromEnvironment } from "../../src/infra/config/Environment.ts"
import { LedgerConfig, ledgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { type LimitGroup, limitsOf, variableOf } from "../../src/infra/config/Limits.ts"
import { ReadSideConfig, readSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { SumPrefixes } from "../../src/infra/config/SumPrefixes.ts"
import { RpcConfig, rpcLimits, rpcLimitsFromEnvironment } from "../../src/rpc/server/RpcLimits.ts"

const groups = { ledgerLimits, readSideLimits, clusterLimits, rpcLimits }

const environment = (variables: Readonly<Record<string, string>>) =>
  ConfigProvider.layer(ConfigProvider.fromEnv({ env: variables }))

describe("limits", () => {
  it("are all in docs/limits.md as they are in the code", () => {
    assert.strictEqual(readFileSync(limitsPath, "utf8"), limitsPage())
    const page = limitsPage()
    for (const { prefix, defaults } of Object.values(groups))
      for (const name of Object.keys(defaults)) {
        assert.include(page, `\`${variableOf(name, prefix)}\``)
        assert.notInclude(page, `\`${name}\``, "an operator sets a variable")
      }
    assert.notInclude(page, "undefined")
  })

  it("have the variables they always had", () => {
    assert.strictEqual(variableOf("batchRowsMax", ledgerLimits.prefix), "CHRONICLE_BATCH_ROWS_MAX")
    assert.strictEqual(variableOf("tokenPollMs", readSideLimits.prefix), "CHRONICLE_TOKEN_POLL_MS")
    assert.strictEqual(variableOf("shards", clusterLimits.prefix), "CHRONICLE_CLUSTER_SHARDS")
    assert.strictEqual(variableOf("connectionsMax", rpcLimits.prefix), "CHRONICLE_RPC_CONNECTIONS_MAX")
  })

  it.effect("are set by the environment, each group by its own prefix", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* LedgerConfig).batchRowsMax, 7)
      assert.strictEqual((yield* LedgerConfig).lanes, ledgerLimits.defaults.lanes)
      assert.strictEqual((yield* ReadSideConfig).pageMax, 8)
      assert.strictEqual((yield* ClusterConfig).drainMs, 9)
      assert.strictEqual((yield* RpcConfig).drainMs, 10)
    }).pipe(
      Effect.provide([limitsFromEnvironment, rpcLimitsFromEnvironment]),
      Effect.provide(
        environment({
          CHRONICLE_BATCH_ROWS_MAX: "7",
          CHRONICLE_PAGE_MAX: "8",
          CHRONICLE_CLUSTER_DRAIN_MS: "9",
          CHRONICLE_RPC_DRAIN_MS: "10"
        })
      )
    )
  )

  const prefixesOf = (text: string) =>
    SumPrefixes.pipe(
      Effect.provide(limitsFromEnvironment),
      Effect.provide(environment({ CHRONICLE_SUM_PREFIXES: text }))
    )

  it.effect("have the declared prefixes beside them, none twice and none that no account has", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* prefixesOf(""), [])
      assert.deepStrictEqual(yield* prefixesOf("merchant:, wallet:eu:,"), ["merchant:", "wallet:eu:"])
      const many = Array.from({ length: 33 }, (_, nth) => `p${nth}`).join()
      for (const wrong of ["a,a", "a b", "~", "é", many]) {
        const error = yield* Effect.flip(prefixesOf(wrong))
        assert.include(`${error.message}`, "CHRONICLE_SUM_PREFIXES", wrong)
      }
    })
  )

  it.effect("refuse a heap in which the read side cannot start, by naming the least", () =>
    Effect.gen(function* () {
      const heapOf = (mib: string) =>
        Effect.map(ReadSideConfig, ({ readSideHeapMib }) => readSideHeapMib).pipe(
          Effect.provide(limitsFromEnvironment),
          Effect.provide(environment({ CHRONICLE_READ_SIDE_HEAP_MIB: mib }))
        )
      assert.strictEqual(yield* heapOf("64"), 64)
      for (const tooSmall of ["1", "63"]) {
        assert.include(
          `${(yield* Effect.flip(heapOf(tooSmall))).message}`,
          "must be a whole number of 64 or more",
          tooSmall
        )
      }
    })
  )

  it.effect("refuse a niceness that the system does not have, by naming what it has", () =>
    Effect.gen(function* () {
      const nicenessOf = (steps: string) =>
        Effect.map(ReadSideConfig, ({ readSideNiceness }) => readSideNiceness).pipe(
          Effect.provide(limitsFromEnvironment),
          Effect.provide(environment({ CHRONICLE_READ_SIDE_NICENESS: steps }))
        )
      assert.strictEqual(yield* nicenessOf("19"), 19)
      for (const tooMuch of ["20", "1000"]) {
        assert.include(
          `${(yield* Effect.flip(nicenessOf(tooMuch))).message}`,
          "must be a whole number of 1 to 19",
          tooMuch
        )
      }
    })
  )

  it.effect("refuse zero, negative numbers, fractions and words, by naming the variable", () =>
    Effect.gen(function* () {
      for (const group of Object.values(groups)) {
        for (const name of Object.keys(group.defaults)) {
          const variable = variableOf(name, group.prefix)
          for (const value of ["0", "-1", "1.5", "many"]) {
            // Each group has its own names; what is read of them is the same.
            const read = limitsOf(group as LimitGroup<never>).pipe(
              Effect.provide(environment({ [variable]: value }))
            )
            const error = yield* Effect.flip(read)
            assert.include(error.message, variable, `${variable}=${value}`)
          }
        }
      }
    })
  )
})
