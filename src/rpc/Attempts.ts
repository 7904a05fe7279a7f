/** One call enters; it is sent to a node, and to another when that is lost, until an answer is definite or time is up. */
import { Cause, Effect, Exit, type Latch, Option, Semaphore } from "effect"
import { RpcClientError } from "effect/rpc"
import type { CommandError, QueryError } from "../domain/Errors.ts"
import type { ClientLimits } from "./ClientOptions.ts"
import { describe, type Link, type NodeClient } from "./Link.ts"

/** How a call stands when it is given up. */
export interface Standing {
  /** Whether a node may have done it. */
  readonly isUncertain: boolean
  /** Why there is no answer. */
  readonly reason: string
  /** It was not begun, for too many others wait. */
  readonly isFull: boolean
}

export interface Asked<A, E> {
  readonly send: (client: NodeClient) => Effect.Effect<A, E | RpcClientError.RpcClientError>
  readonly deadlineMs: number
  /** The error of a call without a definite answer. */
  readonly onGivenUp: (standing: Standing) => E
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

export type Pick = (turned: ReadonlySet<Link>) => Effect.Effect<Link>

/**
 * Round robin over the connected links, those that did not turn this call down first; waits while there is none.
 * `opened` is open while at least one link is connected.
 */
export const makePick = (links: ReadonlyArray<Link>, opened: Latch.Latch): Pick => {
  let next = 0
  const pick = (turned: ReadonlySet<Link>): Effect.Effect<Link> =>
    Effect.suspend(() => {
      let second: Link | undefined
      for (let step = 0; step < links.length; step++) {
        const index = (next + step) % links.length
        const link = links[index]
        if (link === undefined || !link.isConnectedUnsafe()) continue
        second ??= link
        if (turned.has(link)) continue
        next = index + 1
        return Effect.succeed(link)
      }
      return second === undefined ? Effect.flatMap(opened.await, () => pick(turned)) : Effect.succeed(second)
    })
  return pick
}

/** Where an error of the connection itself is told from those of the ledger. */
export const isLostConnection = (error: unknown): error is RpcClientError.RpcClientError =>
  error instanceof RpcClientError.RpcClientError

export const makeAsk = (links: ReadonlyArray<Link>, pick: Pick, limits: ClientLimits) => {
  const permits = Semaphore.makeUnsafe(limits.inFlightMax * links.length)
  let waiting = 0

  const isAnotherLeft = (turned: ReadonlySet<Link>) =>
    links.some((link) => link.isConnectedUnsafe() && !turned.has(link))

  return <A, E extends AnyError>({ send, deadlineMs, onGivenUp }: Asked<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      /** An earlier sending ended without an answer. */
      let isLost = false
      let isUnderWay = false
      let isBegun = false
      let reason = `${waiting} calls of this client were before it`
      const turned = new Set<Link>()
      const giveUp = (isFull = false) => onGivenUp({ isUncertain: isLost || isUnderWay, reason, isFull })
      if (waiting >= limits.waitingMax) return Effect.fail(giveUp(true))
      waiting++

      /** Undefined: not definite, send again. */
      const settle = (
        link: Link,
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
        turned.add(link)
        if (isLost) return undefined
        return found._tag === "Unavailable" && isAnotherLeft(turned) ? undefined : Exit.fail(found)
      }

      const attempt = Effect.gen(function* () {
        isBegun = true
        waiting--
        reason = "no node is connected"
        for (let tries = 0; ; tries++) {
          const link = yield* pick(turned)
          isUnderWay = true
          const settled = settle(link, yield* Effect.exit(send(link.client)))
          if (settled !== undefined) return yield* settled
          isUnderWay = false
          if (isLost || !isAnotherLeft(turned))
            yield* Effect.sleep(Math.min(limits.backoffMaxMs, backoffMs * 2 ** Math.min(tries, 16)))
        }
      })
      return permits.withPermit(attempt).pipe(
        Effect.timeoutOrElse({
          duration: deadlineMs,
          orElse: () => {
            const down = links.find((link) => !link.isConnectedUnsafe())
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
