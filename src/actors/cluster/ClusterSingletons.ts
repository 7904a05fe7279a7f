/**
 * The singletons of a cluster member. Effect Cluster decides which node runs which (a singleton lives where the shard
 * of its name is); each node reports its own ones to `SingletonTable`, so that every node can say who runs what.
 */
import { Effect, Layer, Random, Schedule } from "effect"
import { Sharding } from "effect/cluster"
import { readSideShards } from "../../infra/cluster/ClusterRunner.ts"
import { LockCertainty } from "../../infra/cluster/LockCertainty.ts"
import { type SingletonRow, SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { type SingletonHost, type SingletonState, Singletons } from "../relay/Singletons.ts"
import { makeStandIns } from "./StandIns.ts"

/**
 * A singleton ends before the lock of its shard is released, and moves with the shard when a node joins, leaves or
 * dies. Where its owner has it and does not do it (the thread of its read side is down) another node stands in.
 */
const make = Effect.fnUntraced(function* (node: string) {
  const sharding = yield* Sharding.Sharding
  const certainty = yield* LockCertainty
  const table = yield* SingletonTable
  const { dutyReportMs, dutySilentMs, dutyForgottenMs } = yield* ClusterConfig
  const by = { node, life: (yield* Random.nextIntBetween(0, 2 ** 48)).toString(36) }
  const elapsedMs = () => certainty.now().elapsedMs
  const known = new Set<string>()
  /** Those this node runs, each with its encoded status. */
  const own = new Map<string, string | undefined>()
  /** Those of this node, or that it could run, whose work nothing here does at present. */
  const away = new Set<string>()
  const standIns = yield* makeStandIns(
    by,
    (name) => !away.has(name),
    (name) => own.get(name)
  )
  const heard = makeHeard(elapsedMs, dutySilentMs)
  let trouble: string | undefined

  const report = Effect.gen(function* () {
    // A node that was frozen reports nothing until its locks are confirmed: others may run its singletons by now.
    const done = new Map([...own].filter(([name]) => !away.has(name) && !standIns.isRunning(name)))
    if (certainty.isCertain() && done.size > 0) yield* table.report(by, done)
    yield* standIns.renew
    const rows = yield* table.all
    heard.hear(rows)
    trouble = undefined
    yield* standIns.begin([...known].filter((name) => stateOf(name).isUnowned))
    if (rows.some(({ silentMs }) => silentMs > dutyForgottenMs)) yield* table.forget(dutyForgottenMs)
  }).pipe(
    Effect.catch(({ told }) =>
      Effect.sync(() => {
        trouble = told
      })
    ),
    // A node that reported no more would be taken for one that does nothing: others would stand in for it.
    goesOn("reporting singletons")
  )
  yield* report.pipe(Effect.repeat(Schedule.spaced(dutyReportMs)), Effect.forkScoped)

  const stateOf = (name: string): SingletonState =>
    own.has(name) ? { name, node, isOwn: true, silentMs: 0, isUnowned: false } : heard.stateOf(name)

  return {
    run: (name, life, needs = "read-side") =>
      Effect.gen(function* () {
        known.add(name)
        const alive = Effect.andThen(whileIn(own, name), life)
        yield* standIns.register(name, alive)
        // Account shards have no group of their own name: they were there before there were others.
        const options = needs === "read-side" ? { shardGroup: readSideShards } : {}
        yield* sharding.registerSingleton(name, Effect.andThen(standIns.lock(name), alive), options)
      }),
    setAwayUnsafe: (name, isAway) => {
      if (isAway) away.add(name)
      else away.delete(name)
    },
    publishUnsafe: ({ name, encode }, status) => {
      if (own.has(name)) own.set(name, encode(status))
    },
    statusUnsafe: ({ name, decode }) => {
      const text = heard.statusOf(name)
      return text === undefined ? undefined : decode(text)
    },
    statesUnsafe: () => [...known].map(stateOf),
    troubleUnsafe: () => trouble
  } satisfies SingletonHost
})

/** What the table told last of those that other nodes run. */
const makeHeard = (elapsedMs: () => number, dutySilentMs: number) => {
  const startedAt = elapsedMs()
  let heard: ReadonlyMap<string, SingletonRow> = new Map()
  let heardAt = startedAt
  return {
    hear: (rows: ReadonlyArray<SingletonRow>): void => {
      heard = new Map(rows.map((row) => [row.name, row]))
      heardAt = elapsedMs()
    },
    statusOf: (name: string) => heard.get(name)?.status,
    stateOf: (name: string): SingletonState => {
      const now = elapsedMs()
      const row = heard.get(name)
      // A node that has just started may not have heard of an owner yet. Time elapsed has fractions, which are not told.
      const knownForMs = now - startedAt
      const silentMs = Math.round(row === undefined ? knownForMs : row.silentMs + now - heardAt)
      const isUnowned = Math.min(silentMs, knownForMs) > dutySilentMs
      return { name, node: row?.node, isOwn: false, silentMs, isUnowned }
    }
  }
}

/** In the scope. */
const whileIn = (own: Map<string, string | undefined>, name: string) =>
  Effect.acquireRelease(
    Effect.sync(() => own.set(name, undefined)),
    () => Effect.sync(() => own.delete(name))
  )

export const layer = (node: string) =>
  Layer.effect(Singletons, make(node)).pipe(Layer.provide(SingletonTable.layer))
