/** The database of the locks is slow, or ends their session: what a node knows of its locks then. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schedule } from "effect"
import { RunnerAddress, RunnerStorage, ShardId } from "effect/cluster"
import { inject } from "vitest"
import * as ClusterRunner from "../../src/infra/cluster/ClusterRunner.ts"
import { ClusterMembers } from "../../src/infra/cluster/PeerPort.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { execute, freshDatabase } from "../support/databases.ts"
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

it.live("a node is not certain of its locks any more once their session was ended", () =>
  Effect.gen(function* () {
    const url = yield* freshDatabase(inject("postgresUrl"))
    const locksUrl = Redacted.make(url)
    const context = yield* Layer.build(
      ClusterRunner.common(defaultClusterLimits, locksUrl, { host, port: 1, locksUrl }).pipe(
        Layer.provide(Layer.succeed(ClusterConfig, defaultClusterLimits)),
        Layer.provideMerge(Layer.mergeAll(ClusterRunner.LockCertainty.layer, ClusterMembers.layer))
      )
    )
    const locks = Context.get(context, RunnerStorage.RunnerStorage)
    const certainty = Context.get(context, ClusterRunner.LockCertainty)
    const address = RunnerAddress.make(host, 1)
    const shards = [1, 2, 3].map((index) => ShardId.make("default", index))
    assert.lengthOf(yield* locks.acquire(address, shards), 3)
    yield* locks.getRunners
    assert.isAbove(certainty.untilMs, 0)
    yield* execute(
      url,
      `SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l
       WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`
    )
    yield* Effect.ignore(locks.getRunners).pipe(
      Effect.repeat({ until: () => certainty.untilMs === 0, schedule: Schedule.spaced(20) })
    )
    // Another session has the locks that it takes now; what it had is not confirmed by them.
    yield* Effect.ignore(locks.acquire(address, [ShardId.make("default", 4)]))
    assert.strictEqual(certainty.untilMs, 0)
    // It takes them anew, and is certain of them once the database has confirmed all that it has.
    const again = Effect.andThen(locks.acquire(address, shards), locks.refresh(address, shards))
    yield* again.pipe(
      Effect.catchCause(() => Effect.succeed([])),
      Effect.repeat({
        until: (held) => held.length === shards.length && certainty.untilMs > 0,
        schedule: Schedule.spaced(20)
      })
    )
    assert.isAbove(certainty.untilMs, 0)
  }).pipe(Effect.scoped)
)
