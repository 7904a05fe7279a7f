/** A stack and a seed enter; three nodes on it under load, what befell them in the seed's order, and the verdict leave. */
import { Effect, Fiber } from "effect"
import { type ClusterLimits, defaultClusterLimits } from "../../../src/infra/config/ClusterConfig.ts"
import { variableOf } from "../../../src/infra/config/Limits.ts"
import type { DevStackService } from "../../../src/infra/dev/DevStack.ts"
import * as LedgerNode from "../../../src/LedgerNode.ts"
import { Dice } from "../dice.ts"
import { eventually } from "../waiting.ts"
import { befall, type Incident, type Misfortune } from "./disruptions.ts"
import { Journal } from "./journal.ts"
import { type MixSettings, makeMix } from "./mix.ts"
import { makeOwners } from "./owners.ts"
import { makeServedNode } from "./servedNode.ts"
import { judge } from "./verdict.ts"
import { makeWatch } from "./watch.ts"

export interface ChaosSettings extends MixSettings {
  /** What differs from the defaults on all nodes. */
  readonly cluster: Partial<ClusterLimits>
  /** Accounts that are watched, and the pause between two deposits on one. */
  readonly watched: number
  readonly watchMs: number
  /** The misfortunes of each round, in an order of its own. */
  readonly misfortunes: ReadonlyArray<Misfortune>
  /** Goes on until so many seconds are over, one round at least if it is 0. */
  readonly seconds: number
  /** Each node's log goes to a file here. */
  readonly logDir: string
  readonly onIncident: (incident: Incident) => void
}

const shuffled = <A>(values: ReadonlyArray<A>, dice: Dice): ReadonlyArray<A> => {
  const left = [...values]
  return values.map(() => left.splice(dice.roll(left.length), 1)[0] as A) // as many are taken as there are
}

export const runChaos = Effect.fnUntraced(function* (stack: DevStackService, settings: ChaosSettings) {
  const limits = { ...defaultClusterLimits, ...settings.cluster }
  const variables = Object.entries(settings.cluster).map(([limit, value]) => [
    variableOf(limit as keyof ClusterLimits, "CHRONICLE_CLUSTER"), // the keys of the limits are their keys
    String(value)
  ])
  yield* Effect.orDie(LedgerNode.migrate(stack))
  const make = (name: string) =>
    makeServedNode({
      name,
      stack,
      limits: Object.fromEntries(variables),
      logFile: `${settings.logDir}/${name}.log`
    })
  const nodes = yield* Effect.forEach(["node-0", "node-1", "node-2"], make)
  const spare = yield* make("node-3")
  yield* Effect.forEach(nodes, ({ start }) => start, { concurrency: "unbounded" })
  const owners = yield* makeOwners(stack.readModelUrl, limits)
  const names = nodes.map(({ name }) => name)
  yield* owners.settled(names, 60)

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
    60,
    Effect.sync(() => journal.attempts.length > 3 * (settings.accounts + settings.watched))
  )

  const startedAt = performance.now()
  const dice = new Dice(settings.seed)
  const town = { nodes, spare, owners, watch, dice, lockMs: limits.lockExpirationMs }
  const incidents: Array<Incident> = []
  const isOver = () => performance.now() - startedAt > settings.seconds * 1_000
  do {
    for (const misfortune of shuffled(settings.misfortunes, dice)) {
      for (const incident of yield* befall(town, misfortune)) {
        incidents.push(incident)
        settings.onIncident(incident)
      }
      if (settings.seconds > 0 && isOver()) break
    }
  } while (!isOver())
  const seconds = (performance.now() - startedAt) / 1_000
  journal.isOver = true
  yield* Fiber.join(load)
  return { incidents, seconds, attempts: journal.attempts, verdict: yield* judge(stack, all, journal) }
})
