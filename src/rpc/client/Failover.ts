/**
 * One call over several nodes: it is sent to one, and to another when that one is lost or declines it, until an answer is definite or
 * the deadline passes. Sending again is safe, because a command keeps its id.
 */
import { Cause, Effect, Exit, Option } from "effect"
import { RpcClientError } from "effect/rpc"
import type { CommandError, QueryError } from "../../domain/Errors.ts"
import type { ClientLimits } from "./ClientOptions.ts"
import { describe, type NodeClient, type NodeConnection } from "./NodeConnection.ts"
import type { NodePlaces } from "./NodePlaces.ts"

/** What is known of a call that is given up. */
export interface CallState {
  /** Whether a node may have done what was asked. */
  readonly isUncertain: boolean
  /** Why there is no answer. */
  readonly reason: string
  /** The call was not begun, because too many others wait. */
  readonly isFull: boolean
}

interface NodeCall<A, E> {
  /** `isLost`: whether an earlier sending ended without an answer, so that a node may still carry it out. */
  readonly send: (client: NodeClient, isLost: boolean) => Effect.Effect<A, E | RpcClientError.RpcClientError>
  readonly deadlineMs: number
  /**
   * Whether a refusal is true of an earlier sending too, whose answer was lost and which a node may still carry out later.
   * Absent where nothing is done by the call: then every answer is true.
   */
  readonly staysTrue?: (error: E) => boolean
  /** The error of a call without a definite answer. */
  readonly onGivenUp: (state: CallState) => E
  /** The node that should have the call, as far as it is known; any node can serve it. */
  readonly preferred?: (() => NodeConnection | undefined) | undefined
}

type AnyError = CommandError | QueryError

/** Errors which say that this sending did nothing; another node, or an earlier sending, may have done it. */
const didNothing: ReadonlySet<string> = new Set<AnyError["_tag"]>([
  "Unavailable",
  "Overloaded",
  "Unauthenticated",
  "Forbidden"
])

/** Whether a node may answer otherwise a little later: it is closing, or has too much to do. */
export const isPassing = ({ _tag }: AnyError): boolean => _tag === "Unavailable" || _tag === "Overloaded"

/**
 * Whether a command that is refused so can never be accepted: by what an account is for ever, by an id that another command
 * has, and by what never opens again.
 * Any other refusal was true of the accounts as the node that answered saw them. An earlier sending may still be on its way
 * through a node that was lost sight of, frozen say, and be accepted afterwards, which a refusal told as definite denies (I7).
 * `HoldExpired` is such a one: it is by the clock of the owner and leaves nothing in the log, and by that of the next owner,
 * which may be behind, the hold is still open.
 */
export const refusesForEver = (error: CommandError): boolean => {
  switch (error._tag) {
    case "AccountAlreadyExists":
    case "AssetMismatch":
    case "CommandIdReused":
    case "RateMismatch":
    case "SameAccount":
      return true
    case "HoldClosed":
      // Without how it ended, the log was not searched up to its end, and a hold that was placed meanwhile may be open.
      return error.how !== undefined
    case "AccountNotActive":
      return error.status === "closed"
    case "VersionConflict":
      return error.actual > error.expected
    default:
      return false
  }
}

/** The first pause before another sending, in milliseconds; doubled up to `backoffMaxMs`. */
const backoffMs = 20

/** Whether an error is of the connection, not of the ledger. */
export const isLostConnection = (error: unknown): error is RpcClientError.RpcClientError =>
  error instanceof RpcClientError.RpcClientError

const always = () => true

/** What the sendings of one call have come to. */
class CallAttempts {
  /** An earlier sending ended without an answer. */
  isLost = false
  /** Sent, and not answered: only then it has a place at a node. */
  isUnderWay = false
  reason: string
  /** Nodes that said they did nothing. */
  readonly declined = new Set<NodeConnection>()

  constructor(waiting: number) {
    this.reason = waiting === 0 ? "no node has answered" : `${waiting} calls of this client were before it`
  }

  state(isFull = false): CallState {
    return { isUncertain: this.isLost || this.isUnderWay, reason: this.reason, isFull }
  }

  /** The outcome of the call by that of one sending; undefined where it is not definite and the call is sent again. */
  settle<A, E extends AnyError>(
    node: NodeConnection,
    exit: Exit.Exit<A, E | RpcClientError.RpcClientError>,
    isAnotherLeft: () => boolean,
    { onGivenUp, staysTrue = always }: Pick<NodeCall<A, E>, "onGivenUp" | "staysTrue">
  ): Exit.Exit<A, E> | undefined {
    if (Exit.isSuccess(exit)) return Exit.succeed(exit.value)
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    if (error === undefined || isLostConnection(error)) {
      this.isLost = true
      this.reason = error === undefined ? "the node ended the call" : describe(error)
      // A defect (an answer that cannot be read, for instance) would come again: another sending is of no use.
      return Cause.hasDies(exit.cause) ? Exit.fail(onGivenUp(this.state())) : undefined
    }
    const isDefinite = error._tag !== "Indeterminate"
    const isRefusal = isDefinite && !isPassing(error)
    if (isRefusal && (!this.isLost || staysTrue(error))) return Exit.fail(error)
    this.reason = error.message
    if (didNothing.has(error._tag)) this.declined.add(node)
    if (!isDefinite) this.isLost = true
    if (isRefusal || this.isLost) return undefined
    return error._tag === "Unavailable" && isAnotherLeft() ? undefined : Exit.fail(error)
  }
}

export const makeCallWithFailover = (
  nodes: ReadonlyArray<NodeConnection>,
  { withPlace }: NodePlaces,
  limits: ClientLimits
) => {
  /** Calls that are not under way: for want of a place, or between two sendings. */
  let waiting = 0

  return <A, E extends AnyError>(call: NodeCall<A, E>): Effect.Effect<A, E> => {
    const { send, deadlineMs, onGivenUp, preferred = () => undefined } = call
    return Effect.uninterruptibleMask((restore) => {
      const attempts = new CallAttempts(waiting)
      const isAnotherLeft = () =>
        nodes.some((node) => node.isConnectedUnsafe() && !attempts.declined.has(node))
      if (waiting >= limits.waitingMax) return Effect.fail(onGivenUp(attempts.state(true)))
      waiting++

      const sendOnce = (isResent: boolean) =>
        withPlace({ declined: attempts.declined, preferred, isResent }, (node) =>
          Effect.suspend(() => {
            waiting--
            attempts.isUnderWay = true
            return Effect.exit(send(node.client, attempts.isLost))
          }).pipe(Effect.map((exit) => attempts.settle(node, exit, isAnotherLeft, call)))
        )
      const sendUntilDefinite = Effect.gen(function* () {
        for (let tries = 0; ; tries++) {
          const outcome = yield* sendOnce(tries > 0)
          if (outcome !== undefined) return yield* outcome
          attempts.isUnderWay = false
          waiting++
          if (attempts.isLost || !isAnotherLeft())
            yield* Effect.sleep(Math.min(limits.backoffMaxMs, backoffMs * 2 ** Math.min(tries, 16)))
        }
      })
      const giveUp = () => {
        const { isLost, isUnderWay } = attempts
        if (!isLost && !isUnderWay && !nodes.some((node) => node.isConnectedUnsafe()))
          attempts.reason = nodes[0]?.troubleUnsafe() ?? "it has no URL"
        return Effect.fail(onGivenUp(attempts.state()))
      }
      return sendUntilDefinite.pipe(
        Effect.timeoutOrElse({ duration: deadlineMs, orElse: giveUp }),
        restore,
        Effect.ensuring(
          Effect.sync(() => {
            if (!attempts.isUnderWay) waiting--
          })
        )
      )
    })
  }
}
