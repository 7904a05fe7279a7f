/** One call enters; it is sent to a node, and to another when that is lost, until an answer is definite or time is up. */
import { Cause, Effect, Exit, type Latch, Option, Semaphore } from "effect"
import { RpcClientError } from "effect/rpc"
import type { CommandError, QueryError } from "../../domain/Errors.ts"
import type { ClientLimits } from "./ClientOptions.ts"
import { describe, type NodeClient, type NodeConnection } from "./NodeConnection.ts"

/** How a call stands when it is given up. */
export interface CallState {
  /** Whether a node may have done it. */
  readonly isUncertain: boolean
  /** Why there is no answer. */
  readonly reason: string
  /** It was not begun, for too many others wait. */
  readonly isFull: boolean
}

export interface NodeCall<A, E> {
  readonly send: (client: NodeClient) => Effect.Effect<A, E | RpcClientError.RpcClientError>
  readonly deadlineMs: number
  /** The error of a call without a definite answer. */
  readonly onGivenUp: (state: CallState) => E
}

type AnyError = CommandError | QueryError

/** Says that this sending did nothing; another node, or an earlier sending, may have. */
const didNothing: ReadonlySet<string> = new Set<AnyError["_tag"]>([
  "Unavailable",
  "Overloaded",
  "Unauthenticated",
  "Forbidden"
])

const backoffMs = 20

export type ChooseNode = (declined: ReadonlySet<NodeConnection>) => Effect.Effect<NodeConnection>

/**
 * Round robin over the connected nodes, those that did not turn this call down first; waits while there is none.
 * `opened` is open while at least one node is connected.
 */
export const makeChooseNode = (nodes: ReadonlyArray<NodeConnection>, opened: Latch.Latch): ChooseNode => {
  let next = 0
  const chooseNode = (declined: ReadonlySet<NodeConnection>): Effect.Effect<NodeConnection> =>
    Effect.suspend(() => {
      let second: NodeConnection | undefined
      for (let step = 0; step < nodes.length; step++) {
        const index = (next + step) % nodes.length
        const node = nodes[index]
        if (node === undefined || !node.isConnectedUnsafe()) continue
        second ??= node
        if (declined.has(node)) continue
        next = index + 1
        return Effect.succeed(node)
      }
      return second === undefined
        ? Effect.flatMap(opened.await, () => chooseNode(declined))
        : Effect.succeed(second)
    })
  return chooseNode
}

/** Where an error of the connection itself is told from those of the ledger. */
export const isLostConnection = (error: unknown): error is RpcClientError.RpcClientError =>
  error instanceof RpcClientError.RpcClientError

export const makeCallWithFailover = (
  nodes: ReadonlyArray<NodeConnection>,
  chooseNode: ChooseNode,
  limits: ClientLimits
) => {
  const permits = Semaphore.makeUnsafe(limits.inFlightMax * nodes.length)
  let waiting = 0

  const isAnotherLeft = (declined: ReadonlySet<NodeConnection>) =>
    nodes.some((node) => node.isConnectedUnsafe() && !declined.has(node))

  return <A, E extends AnyError>({ send, deadlineMs, onGivenUp }: NodeCall<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      /** An earlier sending ended without an answer. */
      let isLost = false
      let isUnderWay = false
      let isBegun = false
      let reason = `${waiting} calls of this client were before it`
      const declined = new Set<NodeConnection>()
      const giveUp = (isFull = false) => onGivenUp({ isUncertain: isLost || isUnderWay, reason, isFull })
      if (waiting >= limits.waitingMax) return Effect.fail(giveUp(true))
      waiting++

      /** Undefined: not definite, send again. */
      const settle = (
        node: NodeConnection,
        exit: Exit.Exit<A, E | RpcClientError.RpcClientError>
      ): Exit.Exit<A, E> | undefined => {
        if (Exit.isSuccess(exit)) return Exit.succeed(exit.value)
        const found = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
        if (found === undefined || isLostConnection(found)) {
          isLost = true
          reason = found === undefined ? "the node ended the call" : describe(found)
          // A defect (an answer that cannot be read, say) comes again the next time: no use in asking for it.
          return Cause.hasDies(exit.cause) ? Exit.fail(giveUp()) : undefined
        }
        if (found._tag === "Indeterminate") {
          isLost = true
          reason = found.message
          return undefined
        }
        if (!didNothing.has(found._tag)) return Exit.fail(found)
        reason = found.message
        declined.add(node)
        if (isLost) return undefined
        return found._tag === "Unavailable" && isAnotherLeft(declined) ? undefined : Exit.fail(found)
      }

      const attempt = Effect.gen(function* () {
        isBegun = true
        waiting--
        reason = "no node is connected"
        for (let tries = 0; ; tries++) {
          const node = yield* chooseNode(declined)
          isUnderWay = true
          const settled = settle(node, yield* Effect.exit(send(node.client)))
          if (settled !== undefined) return yield* settled
          isUnderWay = false
          if (isLost || !isAnotherLeft(declined))
            yield* Effect.sleep(Math.min(limits.backoffMaxMs, backoffMs * 2 ** Math.min(tries, 16)))
        }
      })
      return permits.withPermit(attempt).pipe(
        Effect.timeoutOrElse({
          duration: deadlineMs,
          orElse: () => {
            const down = nodes.find((node) => !node.isConnectedUnsafe())
            if (isBegun && !isLost && !isUnderWay && down !== undefined) reason = down.troubleUnsafe()
            return Effect.fail(giveUp())
          }
        }),
        Effect.ensuring(
          Effect.sync(() => {
            if (!isBegun) waiting--
          })
        )
      )
    })
}
