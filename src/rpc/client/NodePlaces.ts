/**
 * Which node has a call, and when: each node has `inFlightMax` places, and a call waits for one of a connected node. A node that is
 * down has none, so that those of the others are never overrun.
 */
import { Effect, Latch } from "effect"
import type { NodeConnection } from "./NodeConnection.ts"

/** What a call has to say about where it goes. */
export interface Wish {
  /** Nodes that said they did nothing of it. */
  readonly declined: ReadonlySet<NodeConnection>
  /** The node that should have it, as far as it is known. */
  readonly preferred: () => NodeConnection | undefined
  /** It was sent before: it goes before those that were not, because what became of it may be in doubt. */
  readonly isResent: boolean
}

interface Waiter {
  readonly wish: Wish
  readonly given: Latch.Latch
  node: NodeConnection | undefined
}

export interface NodePlaces {
  /**
   * Takes a place for as long as `use` runs, and waits for one where there is none: at the preferred node; else round robin over the
   * connected nodes that did not decline, or, where all have, over all that are connected.
   */
  readonly withPlace: <A, E, R>(
    wish: Wish,
    use: (node: NodeConnection) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
  /** A connected node for what takes no place, one with room first; waits while none is connected. */
  readonly anyNode: Effect.Effect<NodeConnection>
  /** Is told that a node was connected or lost. */
  readonly changedUnsafe: () => void
}

const isConnected = (node: NodeConnection): boolean => node.isConnectedUnsafe()

/** Which of the nodes, for one call after the other. */
const makeChoice = (nodes: ReadonlyArray<NodeConnection>, inFlightMax: number) => {
  let next = 0
  const hasPlace = (node: NodeConnection): boolean => isConnected(node) && node.inFlight < inFlightMax

  const roundRobin = (may: (node: NodeConnection) => boolean): NodeConnection | undefined => {
    for (let step = 0; step < nodes.length; step++) {
      const index = (next + step) % nodes.length
      const node = nodes[index]
      if (node === undefined || !may(node)) continue
      next = index + 1
      return node
    }
    return undefined
  }

  return {
    isFull: (): boolean => !nodes.some(hasPlace),
    /** One with a place for the call. */
    choose: ({ declined, preferred }: Wish): NodeConnection | undefined => {
      const first = preferred()
      if (first !== undefined && hasPlace(first) && !declined.has(first)) return first
      const isLeft = (node: NodeConnection) => !declined.has(node)
      // A node that declined is not asked again as long as another has not, though that one has no place yet.
      return nodes.some((node) => isConnected(node) && isLeft(node))
        ? roundRobin((node) => hasPlace(node) && isLeft(node))
        : roundRobin(hasPlace)
    },
    /** One that is connected, those with a place first. */
    chooseAny: (): NodeConnection | undefined => roundRobin(hasPlace) ?? roundRobin(isConnected)
  }
}

/** The calls that wait for a place. */
const makeQueue = ({ isFull, choose }: ReturnType<typeof makeChoice>) => {
  /** Those that were sent before, and the others; each in the order in which they came. */
  const [resent, others] = [new Set<Waiter>(), new Set<Waiter>()]

  /** Gives places to those that wait, as many as there are. */
  const serve = (): void => {
    for (const waiters of [resent, others]) {
      for (const waiter of waiters) {
        if (isFull()) return
        const node = choose(waiter.wish)
        if (node === undefined) continue
        waiters.delete(waiter)
        node.inFlight++
        waiter.node = node
        waiter.given.openUnsafe()
      }
    }
  }

  const leave = (node: NodeConnection): void => {
    node.inFlight--
    serve()
  }

  /** `restore` lets the wait be interrupted; a place that was given by then is given back. */
  const take = (
    wish: Wish,
    restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ): Effect.Effect<NodeConnection> =>
    Effect.suspend(() => {
      const node = choose(wish)
      if (node !== undefined) {
        node.inFlight++
        return Effect.succeed(node)
      }
      const waiters = wish.isResent ? resent : others
      const waiter: Waiter = { wish, given: Latch.makeUnsafe(false), node: undefined }
      waiters.add(waiter)
      return restore(waiter.given.await).pipe(
        Effect.onInterrupt(() =>
          Effect.sync(() => {
            waiters.delete(waiter)
            if (waiter.node !== undefined) leave(waiter.node)
          })
        ),
        Effect.flatMap(() =>
          waiter.node === undefined
            ? Effect.die(new Error("a call was woken without a place"))
            : Effect.succeed(waiter.node)
        )
      )
    })

  return { serve, take, leave }
}

/** `opened` is open while at least one node is connected. */
export const makeNodePlaces = (
  nodes: ReadonlyArray<NodeConnection>,
  opened: Latch.Latch,
  inFlightMax: number
): NodePlaces => {
  const choice = makeChoice(nodes, inFlightMax)
  const { serve, take, leave } = makeQueue(choice)
  const anyNode: Effect.Effect<NodeConnection> = Effect.suspend(() => {
    const node = choice.chooseAny()
    return node === undefined ? Effect.flatMap(opened.await, () => anyNode) : Effect.succeed(node)
  })

  return {
    withPlace: (wish, use) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(take(wish, restore), (node) =>
          restore(use(node)).pipe(Effect.ensuring(Effect.sync(() => leave(node))))
        )
      ),
    anyNode,
    changedUnsafe: serve
  }
}
