/**
 * The singletons of a cluster member. Effect Cluster decides which node runs which (a singleton lives where the shard
 * of its name is); each node reports its own ones to `SingletonTable`, so that every node can say who runs what.
 */
import { Effect, Layer, Schedule } from "effect"
import { Sharding } from "effect/cluster"
import { readSideShards } from "../../infra/cluster/ClusterRunner.ts"
import { LockCertainty } from "../../infra/cluster/LockCertainty.ts"
import { type SingletonRow, SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { type SingletonHost, type SingletonState, Singletons } from "../relay/Singletons.ts"

/**
 * A singleton ends before the lock of its shard is released, and moves with the shard when a node joins, leaves or
 * dies.
 */
const make = Effect.fnUntraced(function* (node: string) {
  const sharding = yield* Sharding.Sharding
  const certainty = yield* LockCertainty
  const table = yield* SingletonTable
  const { dutyReportMs, dutySilentMs, dutyForgottenMs } = yield* ClusterConfig
  const elapsedMs = () => certainty.now().elapsedMs
  const startedAt = elapsedMs()
  const known = new Set<string>()
  /** Those this node runs, each with its encoded status. */
  const own = new Map<string, string | undefined>()
  /** Those of them whose work nothing does at present. */
  const away = new Set<string>()
  let heard: ReadonlyMap<string, SingletonRow> = new Map()
  let heardAt = startedAt
  let trouble: string | undefined

  const report = Effect.gen(function* () {
    // A node that was frozen reports nothing until its locks are confirmed: others may run its singletons by now.
    const done = new Map([...own].filter(([name]) => !away.has(name)))
    if (certainty.isCertain() && done.size > 0) yield* table.report(node, done)
    const rows = yield* table.all
    heard = new Map(rows.map((row) => [row.name, row]))
    heardAt = elapsedMs()
    trouble = undefined
    if (rows.some(({ silentMs }) => silentMs > dutyForgottenMs)) yield* table.forget(dutyForgottenMs)
  }).pipe(
    Effect.catch(({ message }) =>
      Effect.sync(() => {
        trouble = message
      })
    )
  )
  yield* report.pipe(Effect.repeat(Schedule.spaced(dutyReportMs)), Effect.forkScoped)

  const stateOf = (name: string): SingletonState => {
    if (own.has(name)) return { name, node, isOwn: true, silentMs: 0, isUnowned: false }
    const now = elapsedMs()
    const row = heard.get(name)
    // A node that has just started may not have heard of an owner yet. Time elapsed has fractions, which are not told.
    const knownForMs = now - startedAt
    const silentMs = Math.round(row === undefined ? knownForMs : row.silentMs + now - heardAt)
    const isUnowned = Math.min(silentMs, knownForMs) > dutySilentMs
    return { name, node: row?.node, isOwn: false, silentMs, isUnowned }
  }

  return {
    run: (name, life, needs = "read-side") =>
      Effect.suspend(() => {
        known.add(name)
        const owned = whileIn(own, name)
        // Account shards have no group of their own name: they were there before there were others.
        const options = needs === "read-side" ? { shardGroup: readSideShards } : {}
        return sharding.registerSingleton(name, Effect.andThen(owned, life), options)
      }),
    ownsUnsafe: (name) => own.has(name),
    setAwayUnsafe: (name, isAway) => {
      if (isAway) away.add(name)
      else away.delete(name)
    },
    publishUnsafe: ({ name, encode }, status) => {
      if (own.has(name)) own.set(name, encode(status))
    },
    statusUnsafe: ({ name, decode }) => {
      const text = heard.get(name)?.status
      return text === undefined ? undefined : decode(text)
    },
    statesUnsafe: () => [...known].map(stateOf),
    troubleUnsafe: () => trouble
  } satisfies SingletonHost
})

/** In the scope. */
const whileIn = (own: Map<string, string | undefined>, name: string) =>
  Effect.acquireRelease(
    Effect.sync(() => own.set(name, undefined)),
    () => Effect.sync(() => own.delete(name))
  )

export const layer = (node: string) =>
  Layer.effect(Singletons, make(node)).pipe(Layer.provide(SingletonTable.layer))
