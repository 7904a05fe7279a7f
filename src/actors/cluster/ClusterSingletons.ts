/** What only one node must do enters; Effect Cluster places it on the nodes, and each tells the others what it has. */
import { Clock, Effect, Layer, Schedule } from "effect"
import { Sharding } from "effect/cluster"
import { LockCertainty } from "../../infra/cluster/ClusterRunner.ts"
import { type SingletonRow, SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { type DutiesHere, type DutyState, Singletons } from "../relay/Singletons.ts"

/**
 * Each duty is a singleton of the cluster: it runs where the shard of its name is, ends before the lock of the shard
 * is let go of, and goes with the shard when a node comes, leaves or dies.
 */
const make = Effect.fnUntraced(function* (node: string) {
  const sharding = yield* Sharding.Sharding
  const certainty = yield* LockCertainty
  const roster = yield* SingletonTable
  const { dutyReportMs, dutySilentMs, dutyForgottenMs } = yield* ClusterConfig
  const wall = yield* Clock.Clock
  const startedAt = wall.currentTimeMillisUnsafe()
  const known = new Set<string>()
  /** Our own, each with what was found. */
  const own = new Map<string, string | undefined>()
  let heard: ReadonlyMap<string, SingletonRow> = new Map()
  let heardAt = startedAt
  let trouble: string | undefined

  const report = Effect.gen(function* () {
    // A node that was frozen says nothing before it knows again what it has.
    const isCertain = wall.currentTimeMillisUnsafe() < certainty.untilMs
    if (isCertain && own.size > 0) yield* roster.report(node, own)
    const rows = yield* roster.all
    heard = new Map(rows.map((row) => [row.duty, row]))
    heardAt = wall.currentTimeMillisUnsafe()
    trouble = undefined
    if (rows.some(({ silentMs }) => silentMs > dutyForgottenMs)) yield* roster.forget(dutyForgottenMs)
  }).pipe(
    Effect.catch(({ message }) =>
      Effect.sync(() => {
        trouble = message
      })
    )
  )
  yield* report.pipe(Effect.repeat(Schedule.spaced(dutyReportMs)), Effect.forkScoped)

  const stateOf = (duty: string): DutyState => {
    if (own.has(duty)) return { duty, node, isOwn: true, silentMs: 0, isNobodys: false }
    const now = wall.currentTimeMillisUnsafe()
    const row = heard.get(duty)
    // Who has just begun may not have heard yet.
    const knownForMs = now - startedAt
    const silentMs = row === undefined ? knownForMs : row.silentMs + now - heardAt
    const isNobodys = Math.min(silentMs, knownForMs) > dutySilentMs
    return { duty, node: row?.node, isOwn: false, silentMs, isNobodys }
  }

  return {
    run: (duty, life) =>
      Effect.suspend(() => {
        known.add(duty)
        const held = Effect.acquireRelease(
          Effect.sync(() => own.set(duty, undefined)),
          () => Effect.sync(() => own.delete(duty))
        )
        return sharding.registerSingleton(duty, Effect.andThen(held, life))
      }),
    ownsUnsafe: (duty) => own.has(duty),
    tellUnsafe: (duty, found) => {
      if (own.has(duty)) own.set(duty, found)
    },
    toldUnsafe: (duty) => heard.get(duty)?.found,
    statesUnsafe: () => [...known].map(stateOf),
    troubleUnsafe: () => trouble
  } satisfies DutiesHere
})

/** The duties of one member of a cluster. */
export const layer = (node: string) =>
  Layer.effect(Singletons, make(node)).pipe(Layer.provide(SingletonTable.layer))
