/** The database of the locks is slow, or ends their session: what a node knows of its locks then. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Redacted, Schedule, Scope } from "effect"
import { Runner, RunnerAddress, RunnerStorage, ShardId } from "effect/cluster"
import { inject } from "vitest"
import * as ClusterRunner from "../../src/infra/cluster/ClusterRunner.ts"
import { LockCertainty, never } from "../../src/infra/cluster/LockCertainty.ts"
import { ClusterMembers } from "../../src/infra/cluster/PeerPort.ts"
import {
  ClusterConfig,
  type ClusterLimits,
  defaultClusterLimits
} from "../../src/infra/config/ClusterConfig.ts"
import { execute, freshDatabase } from "../support/databases.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const host = "127.0.0.1"
/** Each test has a database of its own, and waits for what nodes do in their time. */
const together = { concurrent: true }
/** One way. Forty shards need two questions each, which is more than the time one release has. */
const delayMs = 60
/** An answer comes within the time of one question on a slow machine too, and nothing expires while the forty are let go. */
const ofForty = { ...defaultClusterLimits, lockRefreshMs: 6_000, lockExpirationMs: 600_000 }

it.live(
  "a node that lets go of forty shards over a slow connection keeps the others",
  () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshDatabase(inject("postgresUrl")))
      const proxy = yield* tcpProxy(url.hostname, Number(url.port))
      url.port = String(proxy.port)
      const locksUrl = Redacted.make(url.toString())
      const storage = ClusterRunner.common(ofForty, locksUrl, { host, port: 1, locksUrl }).pipe(
        Layer.provide(Layer.succeed(ClusterConfig, ofForty)),
        Layer.provide(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer))
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
  { ...together, timeout: 240_000 }
)

it.live(
  "a node is not certain of its locks any more once their session was ended",
  () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase(inject("postgresUrl"))
      const locksUrl = Redacted.make(url)
      const context = yield* Layer.build(
        ClusterRunner.common(defaultClusterLimits, locksUrl, { host, port: 1, locksUrl }).pipe(
          Layer.provide(Layer.succeed(ClusterConfig, defaultClusterLimits)),
          Layer.provideMerge(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer))
        )
      )
      const locks = Context.get(context, RunnerStorage.RunnerStorage)
      const certainty = Context.get(context, LockCertainty)
      const isLost = () => certainty.until.elapsedMs === never.elapsedMs
      const address = RunnerAddress.make(host, 1)
      const shards = [1, 2, 3].map((index) => ShardId.make("default", index))
      assert.lengthOf(yield* locks.acquire(address, shards), 3)
      yield* locks.getRunners
      assert.isTrue(certainty.isCertain())
      yield* execute(
        url,
        `SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l
         WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`
      )
      yield* Effect.ignore(locks.getRunners).pipe(
        Effect.repeat({ until: isLost, schedule: Schedule.spaced(20) })
      )
      // Another session has the locks that it takes now; what it had is not confirmed by them.
      const fourth = ShardId.make("default", 4)
      yield* Effect.ignore(locks.acquire(address, [fourth]))
      assert.isTrue(isLost())
      // It takes them anew, and is certain of them once the database has confirmed all that it has.
      const all = [...shards, fourth]
      const again = Effect.andThen(locks.acquire(address, all), locks.refresh(address, all))
      yield* again.pipe(
        Effect.catchCause(() => Effect.succeed([])),
        Effect.repeat({
          until: (held) => held.length === all.length && certainty.isCertain(),
          schedule: Schedule.spaced(20)
        })
      )
      assert.isTrue(certainty.isCertain())
    }).pipe(Effect.scoped),
  together
)

/** Nothing becomes old within a test: what is noticed in time is noticed by other means. */
const slowToExpire = { ...defaultClusterLimits, lockExpirationMs: 600_000 }

it.live(
  "a node that is cut off from the database of the locks is not certain of them for much longer",
  () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshDatabase(inject("postgresUrl")))
      const proxy = yield* tcpProxy(url.hostname, Number(url.port))
      url.port = String(proxy.port)
      const locksUrl = Redacted.make(url.toString())
      const context = yield* Layer.build(
        ClusterRunner.common(slowToExpire, locksUrl, { host, port: 1, locksUrl }).pipe(
          Layer.provide(Layer.succeed(ClusterConfig, slowToExpire)),
          Layer.provideMerge(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer))
        )
      )
      const locks = Context.get(context, RunnerStorage.RunnerStorage)
      const certainty = Context.get(context, LockCertainty)
      assert.lengthOf(yield* locks.acquire(RunnerAddress.make(host, 1), [ShardId.make("default", 1)]), 1)
      const isCertain = Effect.sync(() => certainty.isCertain())
      // It sees its session again and again.
      const acquired = certainty.until.elapsedMs
      yield* Effect.repeat(isCertain, {
        until: () => certainty.until.elapsedMs > acquired + defaultClusterLimits.leaseMs,
        schedule: Schedule.spaced(20)
      })
      // The database may end the session now, and others may take the locks.
      proxy.hold()
      yield* Effect.repeat(isCertain, { until: (itIs) => !itIs, schedule: Schedule.spaced(20) })
      proxy.forward()
      yield* Effect.repeat(isCertain, { until: (itIs) => itIs, schedule: Schedule.spaced(20) })
    }).pipe(Effect.scoped),
  together
)

/** A member that has registered itself, and holds some shards. */
const member = Effect.fnUntraced(function* (
  url: string,
  port: number,
  shards: ReadonlyArray<number>,
  limits: Partial<ClusterLimits> = {}
) {
  const locksUrl = Redacted.make(url)
  const scope = yield* Scope.fork(yield* Effect.scope)
  const all = { ...slowToExpire, ...limits }
  const layer = ClusterRunner.common(all, locksUrl, { host, port, locksUrl }).pipe(
    Layer.provide(Layer.succeed(ClusterConfig, all)),
    Layer.provideMerge(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer))
  )
  const context = yield* Layer.buildWithScope(Layer.fresh(layer), scope)
  const locks = Context.get(context, RunnerStorage.RunnerStorage)
  const certainty = Context.get(context, LockCertainty)
  const address = RunnerAddress.make(host, port)
  yield* locks.register(Runner.make({ address, groups: ["default"], weight: 1 }), true)
  const take = (numbers: ReadonlyArray<number>) =>
    Effect.map(
      locks.acquire(
        address,
        numbers.map((number) => ShardId.make("default", number))
      ),
      (taken) => taken.map(({ id }) => id)
    )
  assert.deepStrictEqual(yield* take(shards), [...shards])
  /** Each look at the sessions that finds its own makes it certain of its locks for longer. */
  const aLook = Effect.suspend(() => {
    const before = certainty.until.elapsedMs
    const isLater = Effect.sync(() => certainty.until.elapsedMs > before)
    return Effect.repeat(isLater, { until: (itIs) => itIs, schedule: Schedule.spaced(20) })
  })
  return {
    take,
    elapsedMs: () => certainty.now().elapsedMs,
    /** It has looked at the sessions of all members; the first look may have begun before. */
    looks: Effect.andThen(aLook, aLook),
    others: Effect.map(locks.getRunners, (runners) =>
      runners.map(([{ address }]) => address.port).filter((other) => other !== port)
    ),
    isCertain: Effect.sync(() => certainty.isCertain()),
    /** A sign of life, and a word on the session of its locks: for what follows neither is old. */
    refresh: locks.refresh(
      address,
      shards.map((number) => ShardId.make("default", number))
    ),
    end: Scope.close(scope, Exit.void)
  }
})

it.live(
  "a node looks again for locks that are not free yet, and for no longer than it is told to",
  () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase(inject("postgresUrl"))
      const has = yield* member(url, 1, [1, 2])
      const brief = yield* member(url, 2, [3], { acquireMs: 400 })
      const patient = yield* member(url, 3, [4], { acquireMs: 600_000 })
      const before = brief.elapsedMs()
      assert.deepStrictEqual(yield* brief.take([1, 5]), [5], "what is free at the end of its time")
      // It does not look any more where the next look would come too late.
      assert.isAtLeast(brief.elapsedMs() - before, 400 - defaultClusterLimits.retryMs)
      const waiting = yield* Effect.forkChild(patient.take([1, 6]))
      yield* brief.take([2])
      assert.isUndefined(waiting.pollUnsafe())
      yield* has.end
      assert.deepStrictEqual((yield* Fiber.join(waiting)).toSorted(), [1, 6])
    }).pipe(Effect.scoped),
  together
)

it.live(
  "a member that died is gone before its last sign of life is old",
  () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase(inject("postgresUrl"))
      const [stays, dies] = [yield* member(url, 1, [1]), yield* member(url, 2, [2])]
      assert.deepStrictEqual(yield* stays.others, [2])
      yield* dies.refresh
      yield* stays.looks
      // Without a word to the others, as where the process is killed: the database ends its sessions.
      yield* dies.end
      yield* Effect.repeat(stays.others, {
        until: (others) => others.length === 0,
        schedule: Schedule.spaced(20)
      })
      assert.deepStrictEqual(yield* stays.take([2]), [2])
    }).pipe(Effect.scoped),
  together
)

it.live(
  "the locks of a member that is cut off, or frozen, are free before they expire, and it is not certain of them by then",
  () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshDatabase(inject("postgresUrl")))
      const stays = yield* member(url.toString(), 1, [1])
      const proxy = yield* tcpProxy(url.hostname, Number(url.port))
      url.port = String(proxy.port)
      const cut = yield* member(url.toString(), 2, [2])
      assert.deepStrictEqual(yield* stays.take([2]), [])
      yield* cut.refresh
      proxy.hold()
      yield* Effect.repeat(stays.take([2]), {
        until: (taken) => taken.length > 0,
        schedule: Schedule.spaced(20)
      })
      assert.isFalse(yield* cut.isCertain)
      yield* Effect.repeat(stays.others, {
        until: (others) => others.length === 0,
        schedule: Schedule.spaced(20)
      })
      // As it is again and again.
      yield* Effect.repeat(stays.isCertain, { until: (itIs) => itIs, schedule: Schedule.spaced(20) })
      // So that what it has can be closed.
      proxy.forward()
    }).pipe(Effect.scoped),
  together
)

it.live("a lock that effect did not learn of is let go of, and the node is certain of its others again", () =>
  Effect.gen(function* () {
    const locksUrl = Redacted.make(yield* freshDatabase(inject("postgresUrl")))
    const limits = { ...defaultClusterLimits, lockExpirationMs: 15_000, lockRefreshMs: 4_000 }
    const member = Effect.fnUntraced(function* (port: number) {
      const context = yield* Layer.build(
        ClusterRunner.common(limits, locksUrl, { host, port, locksUrl }).pipe(
          Layer.provide(Layer.succeed(ClusterConfig, limits)),
          Layer.provideMerge(Layer.fresh(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer)))
        )
      )
      return {
        address: RunnerAddress.make(host, port),
        locks: Context.get(context, RunnerStorage.RunnerStorage),
        certainty: Context.get(context, LockCertainty)
      }
    })
    const one = yield* member(1)
    const other = yield* member(2)
    const known = [1, 2].map((index) => ShardId.make("default", index))
    const stray = [ShardId.make("default", 3)]
    yield* one.locks.acquire(one.address, known)
    yield* one.locks.refresh(one.address, known)
    // Its asker is interrupted as it succeeds: no question names it from now on.
    assert.lengthOf(yield* one.locks.acquire(one.address, stray), 1)
    const isOver = Effect.gen(function* () {
      yield* one.locks.refresh(one.address, known)
      return one.certainty.isCertain() && (yield* other.locks.acquire(other.address, stray)).length === 1
    })
    assert.isTrue(
      yield* isOver.pipe(
        Effect.repeat({ schedule: Schedule.spaced(100), until: (holds) => holds }),
        Effect.timeout("150 seconds")
      )
    )
    assert.lengthOf(yield* one.locks.refresh(one.address, known), 2)
  }).pipe(Effect.scoped)
)
