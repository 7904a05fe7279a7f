/**
 * A chaos run: some nodes under load, which are killed, frozen, cut off and restarted in an order that the seed gives,
 * and a verdict on every invariant at the end.
 */
import { PgClient } from "@effect/sql-pg"
import { Deferred, Effect, Fiber } from "effect"
import { type ClusterLimits, defaultClusterLimits } from "../../../src/infra/config/ClusterConfig.ts"
import { variableOf } from "../../../src/infra/config/Limits.ts"
import type { NodeRole } from "../../../src/infra/config/NodeRole.ts"
import type { DevStackService } from "../../../src/infra/dev/DevStack.ts"
import * as LedgerNode from "../../../src/LedgerNode.ts"
import { Rng } from "../Rng.ts"
import { holdLog, places, prepareGates, type Standing } from "../standstill.ts"
import { eventually } from "../waiting.ts"
import { type Disruption, disrupt, longStandstill, type Outage } from "./disruptions.ts"
import { Journal } from "./journal.ts"
import { type MixSettings, makeMix } from "./mix.ts"
import { makeAccountOwners } from "./owners.ts"
import { makeServedNode, startSeconds } from "./servedNode.ts"
import { judge } from "./verdict.ts"
import { makeWatch } from "./watch.ts"

export interface ChaosSettings extends MixSettings {
  /** Limits of all nodes that differ from the defaults. */
  readonly cluster: Partial<ClusterLimits>
  /** The role of each node, besides the one that joins and leaves, which has all. */
  readonly roles: ReadonlyArray<NodeRole>
  /** The number of watched accounts, and the pause between two deposits on one of them. */
  readonly watched: number
  readonly watchMs: number
  /** Each round brings all of these, in an order of its own. Before the first, if one is among them, comes a long standstill. */
  readonly disruptions: ReadonlyArray<Disruption>
  /** Rounds are begun until these seconds are over; 0 means one round. */
  readonly seconds: number
  /** The directory of the log files, one for each node. */
  readonly logDir: string
  readonly onOutage: (outage: Outage) => void
}

const clientOf = ({ eventStoreUrl }: DevStackService) =>
  PgClient.layer({ url: eventStoreUrl, maxConnections: 1 })

/** Lets the event store stand still until the scope ends. */
const standStill = (stack: DevStackService) => (what: Standing) =>
  Effect.gen(function* () {
    const begun = yield* Deferred.make<void>()
    const over = yield* Deferred.make<void>()
    const still = yield* holdLog(what, Deferred.succeed(begun, undefined), Deferred.await(over)).pipe(
      Effect.provide(clientOf(stack)),
      Effect.orDie,
      Effect.forkDetach
    )
    yield* Effect.raceFirst(Deferred.await(begun), Fiber.join(still))
    yield* Effect.addFinalizer(() =>
      Effect.andThen(Deferred.succeed(over, undefined), Effect.ignore(Fiber.join(still)))
    )
  })

const shuffled = <A>(values: ReadonlyArray<A>, rng: Rng): ReadonlyArray<A> => {
  const left = [...values]
  return values.map(() => left.splice(rng.below(left.length), 1)[0] as A) // one is taken for each of the values
}

export const runChaos = Effect.fnUntraced(function* (stack: DevStackService, settings: ChaosSettings) {
  const limits = { ...defaultClusterLimits, ...settings.cluster }
  const variables = Object.entries(settings.cluster).map(([limit, value]) => [
    variableOf(limit as keyof ClusterLimits, "CHRONICLE_CLUSTER"), // Object.entries types the keys as strings
    String(value)
  ])
  yield* Effect.orDie(LedgerNode.migrate(stack))
  yield* prepareGates(places).pipe(Effect.provide(clientOf(stack)), Effect.orDie)
  const make = (role: NodeRole, index: number) => {
    const name = `${role === "all" ? "node" : role}-${index}`
    return makeServedNode({
      name,
      role,
      stack,
      limits: Object.fromEntries(variables),
      logFile: `${settings.logDir}/${name}.log`
    })
  }
  const nodes = yield* Effect.forEach(settings.roles, make)
  const spare = yield* make("all", settings.roles.length)
  yield* Effect.forEach(nodes, ({ start }) => start, { concurrency: "unbounded" })
  const owners = yield* makeAccountOwners(stack.readModelUrl, limits)
  yield* owners.awaitSettled(nodes, startSeconds)

  const journal = new Journal()
  const all = [...nodes, spare]
  const mix = yield* makeMix(all, journal, settings)
  yield* mix.prepare
  const accounts = Array.from({ length: settings.watched }, (_, index) => `watched-${index}`)
  const watch = yield* makeWatch(nodes, spare, journal, accounts, settings.watchMs)
  const load = yield* Effect.forkScoped(
    Effect.all([mix.run, watch.run], { concurrency: "unbounded", discard: true })
  )
  yield* eventually(
    "the load is under way",
    Effect.sync(() => journal.attempts.length > 3 * (settings.accounts + settings.watched)),
    startSeconds
  )

  const startedAt = performance.now()
  const rng = new Rng(settings.seed)
  const { lockExpirationMs: lockMs } = limits
  const cluster = { nodes, spare, owners, watch, rng, lockMs, standStill: standStill(stack) }
  const outages: Array<Outage> = []
  const isOver = () => performance.now() - startedAt > settings.seconds * 1_000
  const first = settings.seconds > 0 ? longStandstill(settings.disruptions, rng) : undefined
  do {
    const begun = outages.length === 0 && first !== undefined ? [first] : []
    for (const disruption of [...begun, ...shuffled(settings.disruptions, rng)]) {
      for (const outage of yield* disrupt(cluster, disruption)) {
        outages.push(outage)
        settings.onOutage(outage)
      }
      if (settings.seconds > 0 && isOver()) break
    }
  } while (!isOver())
  const seconds = (performance.now() - startedAt) / 1_000
  journal.isOver = true
  yield* Fiber.join(load)
  return { outages, seconds, attempts: journal.attempts, verdict: yield* judge(stack, all, journal) }
})
