/** A running cluster under load enters; one misfortune at a time befalls it, and how long whose accounts were not served leaves. */
import { Effect, type Scope } from "effect"
import type { Dice } from "../dice.ts"
import type { Owners } from "./owners.ts"
import type { ServedNode } from "./servedNode.ts"
import type { Watch } from "./watch.ts"

export const kinds = [
  "kill",
  "zombie",
  "reset",
  "half-open",
  "partition",
  "rolling",
  "join and leave"
] as const
export type Kind = (typeof kinds)[number]

const sockets = ["postgres", "nats", "cluster", "all"] as const
const cuts: ReadonlySet<Kind> = new Set(["reset", "half-open", "partition"])

export interface Misfortune {
  readonly kind: Kind
  /** What is cut, where sockets are. */
  readonly sockets?: (typeof sockets)[number]
}

/** Each once, sockets by what they lead to. */
export const misfortunesOf = (some: ReadonlyArray<Kind>): ReadonlyArray<Misfortune> =>
  some.flatMap((kind) => (cuts.has(kind) ? sockets.map((one) => ({ kind, sockets: one })) : [{ kind }]))

export interface Town {
  readonly nodes: ReadonlyArray<ServedNode>
  /** Joins and leaves; does not run in between. */
  readonly spare: ServedNode
  readonly owners: Owners
  readonly watch: Watch
  readonly dice: Dice
  /** After so long without a word from its owner a lock is free, in milliseconds. */
  readonly lockMs: number
}

/** What became of one node. */
export interface Incident extends Misfortune {
  readonly node: string
  /** Watched accounts that were the node's. */
  readonly accounts: number
  /** The longest time one of them was not served, and one of the others, in milliseconds. */
  readonly gapMs: number
  readonly elsewhereMs: number
  /** The longest wait for a balance of the read model with a receipt's token in it. */
  readonly readMs: number
}

const settleSeconds = 120
/** The time a reset lasts, in milliseconds: whoever connects is cut off again. */
const resetMs = 2_500
/** How much longer than a lock lives a node is away, in milliseconds. */
const awayMs = 3_000

const proxiesOf = ({ proxies }: ServedNode, which: NonNullable<Misfortune["sockets"]>) =>
  which === "all" ? Object.values(proxies) : [proxies[which]]

export const befall = Effect.fnUntraced(function* (
  town: Town,
  misfortune: Misfortune
): Effect.fn.Return<ReadonlyArray<Incident>, never, Scope.Scope> {
  const { nodes, spare, owners, watch, dice, lockMs } = town
  const names = nodes.map(({ name }) => name)
  const settled = owners.settled(names, settleSeconds)
  /** `trouble` ends when the node is well again; from then on, at the latest, all is settled soon. */
  const suffer = Effect.fnUntraced(function* (
    node: ServedNode,
    trouble: Effect.Effect<void>,
    after: Effect.Effect<void> = settled
  ) {
    const theirs = yield* owners.ownedBy(node.name, watch.accounts)
    const from = performance.now()
    watch.avoid(node)
    yield* trouble
    yield* after
    const gapOf = (account: string) => watch.longestGapMs(account, from)
    const others = watch.accounts.filter((account) => !theirs.includes(account))
    if (node !== spare) watch.trust(node)
    return {
      node: node.name,
      accounts: theirs.length,
      gapMs: Math.max(0, ...theirs.map(gapOf)),
      elsewhereMs: Math.max(0, ...others.map(gapOf)),
      readMs: watch.longestReadMs(from)
    }
  })
  const victim = nodes[dice.roll(nodes.length)] ?? spare
  const rest = names.filter((name) => name !== victim.name)
  const away = Effect.sleep(lockMs + awayMs)

  const cut = Effect.fnUntraced(function* (how: "reset" | "silence" | "hold", lasting: Effect.Effect<void>) {
    const all = proxiesOf(victim, misfortune.sockets ?? "all")
    const trouble = Effect.gen(function* () {
      for (const proxy of all) proxy[how]()
      yield* lasting
      // What was swallowed cannot be made good: such connections never go on.
      if (how === "silence") for (const proxy of all) proxy.reset()
      for (const proxy of all) proxy.forward()
    })
    return [{ ...misfortune, ...(yield* suffer(victim, trouble)) }]
  })

  switch (misfortune.kind) {
    case "kill": {
      const trouble = Effect.gen(function* () {
        yield* victim.end("SIGKILL")
        yield* owners.settled(rest, settleSeconds)
        yield* victim.start
      })
      return [{ ...misfortune, ...(yield* suffer(victim, trouble)) }]
    }
    case "zombie": {
      const trouble = Effect.gen(function* () {
        yield* victim.signal("SIGSTOP")
        yield* away
        yield* victim.signal("SIGCONT")
      })
      return [{ ...misfortune, ...(yield* suffer(victim, trouble)) }]
    }
    case "reset":
      return yield* cut("reset", Effect.sleep(resetMs))
    case "half-open":
      return yield* cut("silence", away)
    case "partition":
      return yield* cut("hold", away)
    case "rolling":
      return yield* Effect.forEach(nodes, (node) =>
        Effect.map(suffer(node, Effect.andThen(node.end("SIGTERM"), node.start)), (one) => ({
          ...misfortune,
          ...one
        }))
      )
    case "join and leave": {
      yield* spare.start
      yield* owners.settled([...names, spare.name], settleSeconds)
      return [{ ...misfortune, ...(yield* suffer(spare, spare.end("SIGTERM"))) }]
    }
  }
})
