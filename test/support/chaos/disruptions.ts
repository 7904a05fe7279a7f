/**
 * The disruptions of a chaos run: each is brought upon a node of a cluster under load, and measured by how long accounts
 * were without service.
 */
import { Effect, Exit, Fiber, Scope } from "effect"
import type { Rng } from "../Rng.ts"
import { places, type Standing } from "../standstill.ts"
import { eventually } from "../waiting.ts"
import type { AccountOwners } from "./owners.ts"
import type { ServedNode } from "./servedNode.ts"
import type { Watch } from "./watch.ts"

export const kinds = [
  "kill",
  "zombie",
  "reset",
  "half-open",
  "partition",
  "rolling",
  "join and leave",
  "standstill"
] as const
export type Kind = (typeof kinds)[number]

const sockets = ["postgres", "nats", "cluster", "all"] as const
const standings: ReadonlyArray<Standing> = [...places, "reading"]
const cuts: ReadonlySet<Kind> = new Set(["reset", "half-open", "partition"])

export interface Disruption {
  readonly kind: Kind
  /** Which connections are cut, for a kind that cuts some. */
  readonly sockets?: (typeof sockets)[number]
  /** What of the event store stands still, for that kind. */
  readonly still?: Standing
  /** It stands still for longer than that, up to `standMsMax`. */
  readonly leastMs?: number
}

/** The longest time for which the event store stands still. */
const standMsMax = 10_000

/** One that outlasts every lease and most locks, at a place that the seed chooses; undefined where none is among these. */
export const longStandstill = (some: ReadonlyArray<Disruption>, rng: Rng): Disruption | undefined => {
  const stills = some.filter(({ kind }) => kind === "standstill")
  const drawn = stills[rng.below(Math.max(1, stills.length))]
  return drawn && { ...drawn, leastMs: standMsMax / 2 }
}

/** Each kind once; one that cuts connections once for each service that they lead to, and a standstill once for each place. */
export const disruptionsOf = (some: ReadonlyArray<Kind>): ReadonlyArray<Disruption> =>
  some.flatMap((kind): ReadonlyArray<Disruption> => {
    if (cuts.has(kind)) return sockets.map((cut) => ({ kind, sockets: cut }))
    return kind === "standstill" ? standings.map((still) => ({ kind, still })) : [{ kind }]
  })

export interface ChaosCluster {
  /** Lets the event store stand still until the scope ends: commits neither land nor fail. */
  readonly standStill: (what: Standing) => Effect.Effect<void, never, Scope.Scope>
  readonly nodes: ReadonlyArray<ServedNode>
  /** Runs only while it is the one that joins and leaves. */
  readonly spare: ServedNode
  readonly owners: AccountOwners
  readonly watch: Watch
  readonly rng: Rng
  /** How long a lock outlives the last word of its owner, in milliseconds. */
  readonly lockMs: number
}

/** The effect of a disruption of one node. */
export interface Outage extends Disruption {
  readonly node: string
  /** The number of watched accounts that the node owned. */
  readonly accounts: number
  /** How long the store stood still, in milliseconds, and what was done to the node meanwhile. */
  readonly stoodMs?: number
  readonly meanwhile?: string
  /** The longest time for which one of these accounts was not served, and one of the others, in milliseconds. */
  readonly gapMs: number
  readonly elsewhereMs: number
  /** The longest wait for a balance of the read model that includes a receipt's write, in milliseconds. */
  readonly readMs: number
}

const settleSeconds = 600
/** The least time for which a reset lasts, in milliseconds: connections that are opened meanwhile are reset too. */
const resetMs = 1_000
/** How much longer than a lock lives a node is away, in milliseconds. */
const awayMs = 3_000

/** Waits until what the read side does once in the cluster is done by some of these nodes, as each of them has heard. */
const awaitReadSide = (nodes: ReadonlyArray<ServedNode>) => {
  const names = new Set(nodes.map(({ name }) => name))
  const hasHeard = ({ singletons }: ServedNode) =>
    Effect.map(
      singletons,
      (states) => states?.every(({ node, isUnowned }) => !isUnowned && names.has(node ?? "")) ?? false
    )
  return eventually(
    `${[...names].join(", ")} do all that the read side does once`,
    Effect.map(Effect.forEach(nodes, hasHeard, { concurrency: "unbounded" }), (all) =>
      all.every((heard) => heard)
    ),
    settleSeconds
  )
}

const proxiesOf = ({ proxies }: ServedNode, which: NonNullable<Disruption["sockets"]>) =>
  which === "all" ? Object.values(proxies).flat() : proxies[which]

/**
 * Measures the outage of a node. `trouble` ends when the node is well again; `after` waits until the accounts are served
 * by their owners again.
 */
const measure = Effect.fnUntraced(function* (
  { spare, owners, watch }: ChaosCluster,
  node: ServedNode,
  trouble: Effect.Effect<void>,
  after: Effect.Effect<void>
) {
  const owned = yield* owners.ownedBy(node.name, watch.accounts)
  const from = performance.now()
  watch.avoid(node)
  yield* trouble
  yield* after
  const gapOf = (account: string) => watch.longestGapMs(account, from)
  const others = watch.accounts.filter((account) => !owned.includes(account))
  if (node !== spare) watch.allow(node)
  return {
    node: node.name,
    accounts: owned.length,
    gapMs: Math.max(0, ...owned.map(gapOf)),
    elsewhereMs: Math.max(0, ...others.map(gapOf)),
    readMs: watch.longestReadMs(from)
  }
})

/** Does something to the connections of a node for a while. */
const cut = (
  node: ServedNode,
  which: NonNullable<Disruption["sockets"]>,
  how: "reset" | "silence" | "hold",
  lasting: Effect.Effect<void>
) =>
  Effect.gen(function* () {
    const proxies = proxiesOf(node, which)
    for (const proxy of proxies) proxy[how]()
    yield* lasting
    // A silenced connection has lost bytes, and can never go on.
    if (how === "silence") for (const proxy of proxies) proxy.reset()
    for (const proxy of proxies) proxy.forward()
  })

/** Brings a disruption upon a node that the seed chooses, or upon each in turn, and waits until all is well again. */
export const disrupt = Effect.fnUntraced(function* (
  cluster: ChaosCluster,
  disruption: Disruption
): Effect.fn.Return<ReadonlyArray<Outage>, never, Scope.Scope> {
  const { nodes, spare, owners, rng, lockMs } = cluster
  const settledOn = (some: ReadonlyArray<ServedNode>) =>
    Effect.andThen(owners.awaitSettled(some, settleSeconds), awaitReadSide(some))
  const settled = settledOn(nodes)
  const victim = nodes[rng.below(nodes.length)] ?? spare
  const rest = nodes.filter((node) => node !== victim)
  const away = Effect.sleep(lockMs + awayMs)
  const measured = (node: ServedNode, trouble: Effect.Effect<void>) =>
    Effect.map(measure(cluster, node, trouble, settled), (outage) => ({ ...disruption, ...outage }))
  const which = disruption.sockets ?? "all"

  switch (disruption.kind) {
    case "kill": {
      const trouble = victim
        .end("SIGKILL")
        .pipe(Effect.andThen(settledOn(rest)), Effect.andThen(victim.start))
      return [yield* measured(victim, trouble)]
    }
    case "zombie": {
      const trouble = victim
        .signal("SIGSTOP")
        .pipe(Effect.andThen(away), Effect.andThen(victim.signal("SIGCONT")))
      return [yield* measured(victim, trouble)]
    }
    case "reset":
      // Up to as long as a node is away: the databases end its sessions at once, and it hears of it only in the end.
      return [
        yield* measured(
          victim,
          cut(victim, which, "reset", Effect.sleep(resetMs + rng.below(lockMs + awayMs)))
        )
      ]
    case "half-open":
      return [yield* measured(victim, cut(victim, which, "silence", away))]
    case "partition":
      return [yield* measured(victim, cut(victim, which, "hold", away))]
    case "rolling":
      return yield* Effect.forEach(nodes, (node) =>
        measured(node, Effect.andThen(node.end("SIGTERM"), node.start))
      )
    case "standstill": {
      // At some moment of it, mostly, something else happens to one of the nodes.
      const leastMs = (disruption.leastMs ?? 0) / 2
      const part = () => leastMs + rng.below(standMsMax / 2 - leastMs)
      const [before, after] = [part(), part()]
      const kind = (["none", "SIGKILL", "SIGTERM", "SIGSTOP"] as const)[rng.below(4)] ?? "none"
      const trouble = Effect.gen(function* () {
        const still = yield* Scope.make()
        yield* Scope.provide(cluster.standStill(disruption.still ?? "begin"), still)
        yield* Effect.sleep(before)
        // A node that is told to end waits for its commits, and so for the store.
        const ending =
          kind === "SIGKILL" || kind === "SIGTERM" ? yield* Effect.forkChild(victim.end(kind)) : undefined
        if (kind === "SIGSTOP") yield* victim.signal("SIGSTOP")
        yield* Effect.sleep(after)
        if (kind === "SIGSTOP") yield* victim.signal("SIGCONT")
        yield* Scope.close(still, Exit.void)
        if (ending === undefined) return
        yield* Fiber.join(ending)
        yield* victim.start
      })
      const outage = yield* measured(victim, trouble)
      return [{ ...outage, stoodMs: before + after, meanwhile: kind }]
    }
    case "join and leave": {
      yield* spare.start
      yield* settledOn([...nodes, spare])
      return [yield* measured(spare, spare.end("SIGTERM"))]
    }
  }
})
