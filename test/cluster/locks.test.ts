/** The database of the locks is slow: many shards that a node lets go of at once must not cost it those it keeps. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { RunnerAddress, RunnerStorage, ShardId } from "effect/cluster"
import { inject } from "vitest"
import * as ClusterRunner from "../../src/infra/cluster/ClusterRunner.ts"
import { ClusterMembers } from "../../src/infra/cluster/PeerPort.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { freshDatabase } from "../support/databases.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const host = "127.0.0.1"
/** One way. Forty shards need two questions each, which is more than the time one release has. */
const delayMs = 40

it.live(
  "a node that lets go of forty shards over a slow connection keeps the others",
  () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshDatabase(inject("postgresUrl")))
      const proxy = yield* tcpProxy(url.hostname, Number(url.port))
      url.port = String(proxy.port)
      const locksUrl = Redacted.make(url.toString())
      const storage = ClusterRunner.common(defaultClusterLimits, locksUrl, { host, port: 1, locksUrl }).pipe(
        Layer.provide(Layer.succeed(ClusterConfig, defaultClusterLimits)),
        Layer.provide(Layer.mergeAll(ClusterRunner.LockCertainty.layer, ClusterMembers.layer))
      )
      const locks = Context.get(yield* Layer.build(storage), RunnerStorage.RunnerStorage)
      const address = RunnerAddress.make(host, 1)
      const shards = Array.from({ length: 80 }, (_, index) => ShardId.make("default", index + 1))
      const [leave, stay] = [shards.slice(0, 40), shards.slice(40)]
      assert.strictEqual((yield* locks.acquire(address, shards)).length, 80)
      proxy.delay(delayMs)
      yield* Effect.forEach(leave, (shard) => locks.release(address, shard), { concurrency: "unbounded" })
      proxy.delay(0)
      const held = yield* locks.refresh(address, shards)
      assert.deepStrictEqual(new Set(held.map(String)), new Set(stay.map(String)))
    }).pipe(Effect.scoped),
  240_000
)
