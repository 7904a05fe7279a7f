/**
 * How soon a node answers a read token whose partition another node projects: `node bench/cluster/tokens.ts [seconds]`.
 * Of three nodes of one cluster in this process, one is written to, one polls as by default, one every 100 ms.
 */
import { Context, Effect, Layer } from "effect"
import { ProjectionRegistry } from "../../src/actors/projections/ProjectionRegistry.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import {
  defaultReadSideLimits,
  ReadSideConfig,
  type ReadSideLimits
} from "../../src/infra/config/ReadSideConfig.ts"
import { loopbackPort } from "../../src/infra/dev/LoopbackPort.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { accountId } from "../../test/support/storedEvents.ts"
import { run, startStores } from "./Script.ts"

const seconds = Number(process.argv[2] ?? 20)
const accounts = Array.from({ length: 200 }, (_, index) => `t${index}`)
const now = (): number => Number(process.hrtime.bigint()) / 1e6

const percentiles = (samples: ReadonlyArray<number>) => {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 10) / 10
  return { asked: sorted.length, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99) }
}

const program = Effect.gen(function* () {
  const stack = yield* startStores()
  const node = Effect.fnUntraced(function* (nodeName: string, limits: Partial<ReadSideLimits> = {}) {
    const port = yield* loopbackPort("the cluster")
    const context = yield* Layer.build(
      Layer.fresh(LedgerNode.layerCluster({ ...stack, nodeName }, { host: "127.0.0.1", port })).pipe(
        Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, ...limits }))
      )
    )
    const registry = Context.get(context, ProjectionRegistry)
    const projects = (account: string) => {
      const partition = partitionOf(accountId(account), defaultLimits.partitions)
      return registry.statesUnsafe().some(({ partitions }) => partitions[partition]?.isOwned === true)
    }
    return { ledger: Context.get(context, Ledger), projects }
  })
  const writer = yield* node("writer")
  const asking = {
    soon: yield* node("soon"),
    "each 100 ms": yield* node("seldom", { tokenSoonMs: 100 })
  }
  for (const account of accounts)
    yield* writer.ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada" })
  yield* Effect.sleep("3 seconds")
  const waited = new Map<string, Array<number>>()
  const end = now() + seconds * 1_000
  const client = (index: number) =>
    Effect.gen(function* () {
      for (let nth = index; now() < end; nth += 16) {
        const account = accounts[nth % accounts.length] ?? ""
        const { readToken } = yield* writer.ledger.dispatch({ _tag: "Deposit", account, amount: 1n })
        const ask = (name: string, { ledger, projects }: typeof asking.soon) =>
          Effect.gen(function* () {
            const series = `${name}, projected ${projects(account) ? "here" : "elsewhere"}`
            const start = now()
            yield* ledger.balance(account, { readToken })
            const samples = waited.get(series) ?? []
            waited.set(series, samples)
            samples.push(now() - start)
          })
        yield* Effect.forEach(Object.entries(asking), ([name, one]) => ask(name, one), {
          concurrency: "unbounded"
        })
      }
    })
  yield* Effect.forEach(Array.from({ length: 16 }), (_, index) => client(index), { concurrency: "unbounded" })
  console.log(
    JSON.stringify(
      Object.fromEntries([...waited].map(([series, samples]) => [series, percentiles(samples)])),
      null,
      2
    )
  )
})

run(program)
