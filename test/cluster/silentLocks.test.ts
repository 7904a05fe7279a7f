/**
 * The host of the locks' database dies without a word: what was sent to it is not answered, and the connection stays open. Nothing waits
 * for that longer than a statement may take, and what is tried again goes over another connection.
 */
import { assert, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { Runner, RunnerAddress, RunnerStorage } from "effect/cluster"
import { inject } from "vitest"
import * as ClusterRunner from "../../src/infra/cluster/ClusterRunner.ts"
import { LockCertainty } from "../../src/infra/cluster/LockCertainty.ts"
import { ClusterMembers } from "../../src/infra/cluster/PeerPort.ts"
import { agreeOnPlacement } from "../../src/infra/cluster/PlacementAgreement.ts"
import { ShardTenures } from "../../src/infra/cluster/ShardTenures.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { freshDatabase } from "../support/databases.ts"
import { quiet } from "../support/ledgerWorld.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { eventually } from "../support/waiting.ts"

const host = "127.0.0.1"
const together = { concurrent: true }
/** A statement is given up soon, so that the tests are short; one that is answered is so in time on a slow machine too. */
const limits = { ...defaultClusterLimits, lockRefreshMs: 4_000 }
/** The start of a node waits ten times as long. */
const startLimits = { ...defaultClusterLimits, lockRefreshMs: 1_000 }
const config = Layer.succeed(ClusterConfig, limits)

const behindProxy = Effect.gen(function* () {
  const url = new URL(yield* freshDatabase(inject("postgresUrl")))
  const proxy = yield* tcpProxy(url.hostname, Number(url.port))
  url.port = String(proxy.port)
  return { proxy, locksUrl: Redacted.make(url.toString()) }
})

/** Fails where it takes much longer than any bound of these tests. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.timeout(effect, "2 minutes")

it.live(
  "a shard is taken over by a new connection where the statement that was to do so is never answered",
  () =>
    Effect.gen(function* () {
      const { proxy, locksUrl } = yield* behindProxy
      const layer = ShardTenures.layer("node", locksUrl).pipe(Layer.provide([config, quiet]))
      const tenures = Context.get(yield* Layer.build(layer), ShardTenures)
      const strange = { isClean: false, strangers: new Set(["node"]) }
      assert.deepStrictEqual(yield* tenures.takeOver(1), strange)
      proxy.silenceStatements()
      const second = yield* Effect.forkChild(tenures.takeOver(2))
      yield* eventually(
        "it is asked",
        Effect.sync(() => proxy.swallowed() > 0)
      )
      // Shards that come later wait for the same connection.
      const third = yield* Effect.forkChild(tenures.takeOver(3))
      proxy.forward()
      assert.deepStrictEqual(yield* inTime(Fiber.join(second)), strange)
      assert.deepStrictEqual(yield* inTime(Fiber.join(third)), strange)
      // One that a node leaves waits no longer than a shard may take to leave, and holds up none that comes.
      proxy.silenceStatements()
      const before = proxy.swallowed()
      yield* inTime(tenures.leaveClean(1))
      assert.isAbove(proxy.swallowed(), before)
      proxy.forward()
      assert.isFalse((yield* inTime(tenures.takeOver(1))).isClean)
    }).pipe(Effect.scoped),
  together
)

it.live("a shard is taken over behind a round that met a bug, and so are those that come later", () =>
  Effect.gen(function* () {
    const locksUrl = Redacted.make(yield* freshDatabase(inject("postgresUrl")))
    const layer = ShardTenures.layer("node", locksUrl).pipe(Layer.provide([config, quiet]))
    const tenures = Context.get(yield* Layer.build(layer), ShardTenures)
    let bugs = 0
    const second = {
      toString: () => {
        if (bugs++ === 0) throw new Error("a bug of the test")
        return "2"
      }
    } as never // no number, so that a round fails once
    yield* Effect.forkChild(tenures.takeOver(second), { startImmediately: true })
    yield* eventually(
      "a round met the bug",
      Effect.sync(() => bugs > 0)
    )
    yield* inTime(tenures.takeOver(3))
    yield* eventually(
      "the shard of that round was taken over",
      Effect.sync(() => bugs > 1)
    )
    yield* Effect.forkChild(tenures.leaveClean(second), { startImmediately: true })
    bugs = 0
    yield* inTime(tenures.leaveClean(3))
    assert.isTrue((yield* inTime(tenures.takeOver(3))).isClean)
  }).pipe(Effect.scoped)
)

const storageOf = (locksUrl: Redacted.Redacted, its = limits) =>
  ClusterRunner.common(its, locksUrl, { host, port: 1, locksUrl }).pipe(
    Layer.provide([Layer.succeed(ClusterConfig, its), quiet]),
    Layer.provide(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer))
  )

it.live(
  "no question about members waits for ever",
  () =>
    Effect.gen(function* () {
      const { proxy, locksUrl } = yield* behindProxy
      const storage = Context.get(yield* Layer.build(storageOf(locksUrl)), RunnerStorage.RunnerStorage)
      const address = RunnerAddress.make(host, 1)
      const runner = Runner.make({ address, groups: ["default"], weight: 1 })
      const questions = [
        storage.register(runner, true),
        storage.setRunnerHealth(address, true),
        storage.getRunners,
        storage.unregister(address)
      ]
      for (const question of questions) yield* question
      proxy.silenceStatements()
      const inVain = questions.map((question) => inTime(Effect.flip(question)))
      for (const error of yield* Effect.all(inVain, { concurrency: "unbounded" }))
        assert.strictEqual(error._tag, "PersistenceError")
      proxy.forward()
      yield* inTime(storage.register(runner, true))
      assert.lengthOf(yield* inTime(storage.getRunners), 1)
    }).pipe(Effect.scoped),
  together
)

it.live(
  "a node that starts ends with the reason",
  () =>
    Effect.gen(function* () {
      const { proxy, locksUrl } = yield* behindProxy
      proxy.silenceStatements()
      const starts = yield* Effect.all(
        [
          agreeOnPlacement(startLimits, locksUrl),
          Effect.scoped(Layer.build(storageOf(locksUrl, startLimits)))
        ].map((start) => inTime(Effect.exit(start))),
        { concurrency: "unbounded" }
      )
      for (const exit of starts)
        assert.match(
          Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it began",
          /the database of the locks did not answer within \d+ ms/
        )
    }).pipe(Effect.scoped),
  together
)
