/**
 * The disruptions of a chaos run: each is brought upon a node of a cluster under load, and measured by how long accounts
 * were without service.
 */
import { Effect, Exit, Fiber, Scope } from "effect"
import type { Rng } from "../Rng.ts"
import { places, type Standing } from "../standstill.ts"
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
  /** How long the store stood still, and what befell the node meanwhile. */
  readonly detail?: string
  /** The longest time for which one of these accounts was not served, and one of the others, in milliseconds. */
  readonly gapMs: number
  readonly elsewhereMs: number
  /** The longest wait for a balance of the read model that includes a receipt's write, in milliseconds. */
  readonly readMs: number
}

const settleSeconds = 120
/** How long a reset lasts, in milliseconds: connections that are opened meanwhile are reset too. */
const resetMs = 2_500
/** How much longer than a lock lives a node is away, in milliseconds. */
const awayMs = 3_000

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
  const names = nodes.map(({ name }) => name)
  const settled = owners.awaitSettled(names, settleSeconds)
  const victim = nodes[rng.below(nodes.length)] ?? spare
  const rest = names.filter((name) => name !== victim.name)
  const away = Effect.sleep(lockMs + awayMs)
  const measured = (node: ServedNode, trouble: Effect.Effect<void>) =>
    Effect.map(measure(cluster, node, trouble, settled), (outage) => ({ ...disruption, ...outage }))
  const which = disruption.sockets ?? "all"

  switch (disruption.kind) {
    case "kill": {
      const trouble = victim
        .end("SIGKILL")
        .pipe(Effect.andThen(owners.awaitSettled(rest, settleSeconds)), Effect.andThen(victim.start))
      return [yield* measured(victim, trouble)]
    }
    case "zombie": {
      const trouble = victim
        .signal("SIGSTOP")
        .pipe(Effect.andThen(away), Effect.andThen(victim.signal("SIGCONT")))
      return [yield* measured(victim, trouble)]
    }
    case "reset":
      return [yield* measured(victim, cut(victim, which, "reset", Effect.sleep(resetMs)))]
    case "half-open":
      return [yield* measured(victim, cut(victim, which, "silence", away))]
    case "partition":
      return [yield* measured(victim, cut(victim, which, "hold", away))]
    case "rolling":
      return yield* Effect.forEach(nodes, (node) =>
        measured(node, Effect.andThen(node.end("SIGTERM"), node.start))
      )
    case "standstill": {
      // Up to ten seconds; at some moment of it, mostly, something else happens to one of the nodes.
      const [before, after] = [rng.below(5_000), rng.below(5_000)]
      const kind = (["none", "SIGKILL", "SIGTERM", "SIGSTOP"] as const)[rng.below(4)]
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
      return [{ ...outage, detail: `${before + after} ms, ${kind}` }]
    }
    case "join and leave": {
      yield* spare.start
      yield* owners.awaitSettled([...names, spare.name], settleSeconds)
      return [yield* measured(spare, spare.end("SIGTERM"))]
    }
  }
})
