/**
 * The read side's end of the two threads: gives the list of layers that is the read side its commits, its singletons and
 * its waiting queries from messages, and says with regular signs of life how it is.
 */
import { getHeapStatistics } from "node:v8"
import { Clock, Effect, Fiber, Layer, Logger, Option, type Scope } from "effect"
import * as WorkerRunner from "effect/workers/WorkerRunner"
import type { AccountId, Version } from "../../domain/Ids.ts"
import type { Position } from "../../domain/Receipt.ts"
import type { Bus } from "../../infra/bus/Bus.ts"
import { decodeCommits } from "../../infra/bus/BusMessage.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import { makeJoins, ProjectedSignal } from "../../infra/readmodel/ProjectionWaiters.ts"
import type { ReadModel } from "../../infra/readmodel/ReadModel.ts"
import type { ProjectionSql, ReadModelSql } from "../../infra/readmodel/ReadModelSql.ts"
import { added, CommitFeed, nothing, sizeOf } from "../commit/CommitFeed.ts"
import { ProjectionRegistry } from "../projections/ProjectionRegistry.ts"
import type * as ReadSide from "../projections/ReadSide.ts"
import { Reconciler } from "../projections/Reconciler.ts"
import { Relay } from "../relay/Relay.ts"
import { type SingletonHost, Singletons } from "../relay/Singletons.ts"
import { watchHeap } from "./HeapWatch.ts"
import { loggerTo } from "./ThreadLogger.ts"
import {
  beatMs,
  type FromReadSide,
  idleBeatMs,
  type ReadSideStatus,
  type ToReadSide
} from "./ThreadMessages.ts"

type Post = (message: FromReadSide) => void

/**
 * Accounts whose last projected version is kept, so that a query that begins to wait just then is woken too. A query that did not find what
 * was written longer ago, in milliseconds, knows better: the read model may have been lost meanwhile, or have lost its last moment.
 */
const recentMax = 20_000
const recentMs = 200

/** What queries wait for: which versions of which accounts, and since when that is known here. */
const makeAwaited = Effect.gen(function* () {
  const { tokenWaitersMax: waitersMax } = yield* ReadSideConfig
  const { queryDeadlineMs: waitMs } = yield* LedgerConfig
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  /** Of each account, since when which versions are waited for; the longest unused first. */
  const awaited = new Map<AccountId, Map<Version, number>>()
  let count = 0
  const drop = (account: AccountId): void => {
    count -= awaited.get(account)?.size ?? 0
    awaited.delete(account)
  }
  /** Those of the account that pass; answers whether any did not. */
  const keep = (account: AccountId, passes: (version: Version, at: number) => boolean): boolean => {
    const versions = awaited.get(account)
    if (versions === undefined) return false
    const before = versions.size
    for (const [version, at] of versions) if (!passes(version, at)) versions.delete(version)
    count -= before - versions.size
    if (versions.size === 0) awaited.delete(account)
    return versions.size < before
  }
  return {
    hasSome: () => count > 0,
    /** However many wait for one version, it is kept once. */
    add: ({ account, version }: Position): void => {
      const versions = awaited.get(account) ?? new Map<Version, number>()
      if (!versions.has(version)) count++
      versions.set(version, nowMs())
      awaited.delete(account)
      awaited.set(account, versions)
      for (const oldest of awaited.keys()) {
        if (count <= waitersMax) break
        drop(oldest)
      }
    },
    /** True where one of them waited for no more than that. */
    isReached: (account: AccountId, version: Version): boolean => keep(account, (one) => one > version),
    /** Queries that gave up are not told of: they must have by then. */
    forgetUnsafe: (): void => {
      const since = nowMs() - waitMs
      for (const account of [...awaited.keys()]) keep(account, (_, at) => at > since)
    }
  }
})

/** The queries of the other thread that wait, as far as they were told here. */
const makeSignalHere = Effect.fnUntraced(function* (post: Post) {
  const awaited = yield* makeAwaited
  const clock = yield* Clock.Clock
  const joins = makeJoins()
  /** With when they were written; the longest unused first. */
  const recent = new Map<AccountId, { readonly version: Version; readonly atMs: number }>()
  let reached: Array<Position> = []

  const tell = (position: Position): void => {
    // All of one turn of the event loop at once.
    if (reached.length === 0) {
      queueMicrotask(() => {
        post({ _tag: "Reached", positions: reached })
        reached = []
      })
    }
    reached.push(position)
  }
  const signal: ProjectedSignal["Service"] = {
    reachedUnsafe: (account, version) => {
      recent.delete(account)
      recent.set(account, { version, atMs: elapsedMsUnsafe(clock) })
      forgetOldest(recent, recentMax)
      if (awaited.isReached(account, version)) tell({ account, version })
    },
    setProjectedHereUnsafe: (partition, isHere) => post({ _tag: "ProjectedHere", partition, isHere }),
    isAwaitedUnsafe: awaited.hasSome,
    onJoinUnsafe: joins.onJoinUnsafe
  }
  return {
    signal,
    awaitUnsafe: (positions: ReadonlyArray<Position>): void => {
      const sinceMs = elapsedMsUnsafe(clock) - recentMs
      for (const position of positions) {
        const last = recent.get(position.account)
        if (last !== undefined && last.version >= position.version && last.atMs >= sinceMs)
          tell({ ...position, version: last.version })
        else {
          awaited.add(position)
          joins.tell(position)
        }
      }
    },
    forgetUnsafe: awaited.forgetUnsafe
  }
})

/** Singletons as the other thread gives them. */
const makeSingletonsHere = (post: Post) => {
  const lives = new Map<string, Effect.Effect<Fiber.Fiber<void>>>()
  const running = new Map<string, Fiber.Fiber<void>>()
  let heard: ReadonlyMap<string, string> = new Map()
  const host: SingletonHost = {
    run: <R>(name: string, life: Effect.Effect<void, never, R>) =>
      Effect.gen(function* () {
        const context = yield* Effect.context<R | Scope.Scope>()
        lives.set(name, Effect.provideContext(Effect.forkScoped(Effect.scoped(life)), context))
        post({ _tag: "Run", name })
      }),
    setAwayUnsafe: () => {},
    publishUnsafe: ({ name, encode }, status) => {
      if (running.has(name)) post({ _tag: "Publish", name, status: encode(status) })
    },
    statusUnsafe: ({ name, decode }) => {
      const text = heard.get(name)
      return text === undefined ? undefined : decode(text)
    },
    // The other thread, which has them, reports on them.
    statesUnsafe: () => [],
    troubleUnsafe: () => undefined
  }
  return {
    host,
    own: Effect.fnUntraced(function* (name: string) {
      const life = lives.get(name)
      if (life === undefined || running.has(name)) return
      running.set(name, yield* life)
    }),
    disown: Effect.fnUntraced(function* (name: string) {
      const fiber = running.get(name)
      if (fiber !== undefined) yield* Fiber.interrupt(fiber)
      running.delete(name)
      post({ _tag: "Ended", name })
    }),
    hearUnsafe: (statuses: ReadonlyMap<string, string>): void => {
      heard = statuses
    }
  }
}

/** The feed of the relay: tells the other thread what was taken out of it, so that it sends more. */
const makeFeedHere = Effect.fnUntraced(function* (post: Post) {
  const feed = yield* Effect.provide(CommitFeed, CommitFeed.layer, { local: true })
  let received = nothing
  const took = Effect.sync(() => {
    if (received.events === 0) return
    post({ _tag: "Took", size: received })
    received = nothing
  })
  return {
    feed: { ...feed, takeAll: Effect.tap(feed.takeAll, () => took) } satisfies CommitFeed["Service"],
    receiveUnsafe: ({ commits, missed }: Extract<ToReadSide, { readonly _tag: "Commits" }>): void => {
      for (const commit of decodeCommits(commits)) {
        received = added(received, sizeOf(commit))
        feed.offerUnsafe(commit)
      }
      for (const [writer, seq] of missed) feed.missedUnsafe(writer, seq)
    }
  }
})

/** How long after something happened signs of life come every `beatMs`. */
const busyMs = 1_000

/** Says how the read side is, for ever. `called`: how many messages the other thread has sent. */
const beat = Effect.fnUntraced(function* (post: Post, beforeEach: () => void, called: () => number) {
  const clock = yield* Clock.Clock
  const relay = yield* Relay
  const registry = yield* ProjectionRegistry
  // It is not there where others project.
  const reconciler = yield* Effect.serviceOption(Reconciler)
  const cpuSeconds = (): number | undefined => {
    // Node.js 22 does not tell it of one thread.
    if (typeof process.threadCpuUsage !== "function") return undefined
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1e6
  }
  const statusNow = (): ReadSideStatus => ({
    relay: relay.statusUnsafe(),
    projections: registry.statesUnsafe(),
    completeTo: Option.isSome(reconciler) ? reconciler.value.statusUnsafe().completeTo : 0
  })
  let told = ""
  let happened = -1
  let busyUntilMs = 0
  yield* Effect.suspend(() => {
    beforeEach()
    const nowMs = elapsedMsUnsafe(clock)
    const status = statusNow()
    const happenedNow = called() + happenedIn(status)
    if (happenedNow !== happened) busyUntilMs = nowMs + busyMs
    happened = happenedNow
    const text = JSON.stringify(status)
    const nextMs = nowMs < busyUntilMs ? beatMs : idleBeatMs
    post({
      _tag: "Beat",
      beat: {
        status: text === told ? undefined : text,
        heapBytes: getHeapStatistics().used_heap_size,
        cpuSeconds: cpuSeconds(),
        nextMs
      }
    })
    told = text
    return Effect.sleep(nextMs)
  }).pipe(Effect.forever)
})

/** A number that changes with every event that is published or projected. */
const happenedIn = ({ relay, projections }: ReadSideStatus): number =>
  projections.reduce(
    (sum, { partitions }) => partitions.reduce((events, one) => events + one.events + one.repeats, sum),
    relay.events
  )

/** What a read side runs on. */
type Outside = EventStore | Bus | ReadModel | ReadModelSql | ProjectionSql

/**
 * Runs a read side, whole or the relay alone, over these services until the other thread says that it is to end; then it publishes what it has and
 * gives back what it holds. `beside` are further layers on the same services: projections of the host.
 */
export const run = <E, R, E2>(
  outside: Layer.Layer<Outside, E, R>,
  parts: ReadSide.Parts,
  beside: Layer.Layer<
    never,
    E2,
    Layer.Success<typeof ReadSide.relayAlone> | Outside | ProjectedSignal | CommitFeed
  >
) =>
  Effect.gen(function* () {
    const platform = yield* WorkerRunner.WorkerRunnerPlatform
    const runner = yield* platform.start<FromReadSide, ToReadSide>()
    const post: Post = (message) => runner.sendUnsafe(0, message)
    const signal = yield* makeSignalHere(post)
    const singletons = makeSingletonsHere(post)
    const feed = yield* makeFeedHere(post)

    const { readSideHeapMib } = yield* ReadSideConfig
    yield* watchHeap(readSideHeapMib, (reason) => {
      // Where no effect catches it: nothing is to be awaited, or given back, that would need memory.
      throw Object.assign(new Error(reason), { told: reason })
    })
    const live = Effect.gen(function* () {
      let called = 0
      yield* Effect.forkScoped(beat(post, signal.forgetUnsafe, () => called))
      yield* runner.run((_, message) => {
        called++
        switch (message._tag) {
          case "Commits":
            return feed.receiveUnsafe(message)
          case "Await":
            return signal.awaitUnsafe(message.positions)
          case "Heard":
            return singletons.hearUnsafe(message.statuses)
          case "Own":
            return singletons.own(message.name)
          case "Disown":
            return singletons.disown(message.name)
        }
      })
    })
    return yield* live.pipe(
      Effect.scoped,
      Effect.provide(
        beside.pipe(
          Layer.provideMerge(parts),
          Layer.provideMerge(
            outside.pipe(
              Layer.provideMerge(
                Layer.mergeAll(
                  Layer.succeed(CommitFeed, feed.feed),
                  Layer.succeed(ProjectedSignal, signal.signal),
                  Layer.succeed(Singletons, singletons.host)
                )
              )
            )
          ),
          Layer.provideMerge(Logger.layer([loggerTo(post)]))
        )
      )
    )
  }).pipe(Effect.scoped)
