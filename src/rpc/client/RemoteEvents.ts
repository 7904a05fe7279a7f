/** A stream of events from a node enters; the same leaves without gaps, across lost connections. */
import { Cause, Effect, Latch, Option, type Scope, Stream } from "effect"
import type { RpcClientError } from "effect/rpc"
import { type QueryError, Unavailable } from "../../domain/Errors.ts"
import type { ClientLimits, LedgerClientOptions } from "./ClientOptions.ts"
import { type CallState, type ChooseNode, isLostConnection } from "./Failover.ts"
import { describe, makeNodeConnection, type NodeClient, type NodeConnection } from "./NodeConnection.ts"

const backoffMs = 20

/**
 * A connection of a stream's own, to the same node. What a reader does not take waits in its connection, and would keep
 * the answers of all other calls waiting behind it.
 */
export type OpenConnection = (node: NodeConnection) => Effect.Effect<NodeClient, Unavailable, Scope.Scope>

export const makeOpenConnection =
  (options: LedgerClientOptions, limits: ClientLimits): OpenConnection =>
  ({ url }) =>
    Effect.gen(function* () {
      const opened = Latch.makeUnsafe(false)
      let isConnected = () => false
      const look = () => {
        if (isConnected()) opened.openUnsafe()
      }
      const own = yield* Effect.orDie(makeNodeConnection(url, options, limits, look)) // the URL is that of a node
      isConnected = own.isConnectedUnsafe
      look()
      yield* opened.await.pipe(
        Effect.timeoutOrElse({
          duration: limits.connectMs,
          orElse: () => Effect.fail(new Unavailable({ what: url, reason: own.troubleUnsafe() }))
        })
      )
      return own.client
    })

/** `Place` is where the stream goes on with another node: without repeats where it names each event. */
export const remoteEvents = <A, Place>(
  chooseNode: ChooseNode,
  openConnection: OpenConnection,
  limits: ClientLimits,
  asked: {
    readonly open: (
      client: NodeClient,
      after: Place
    ) => Stream.Stream<A, QueryError | RpcClientError.RpcClientError>
    readonly after: Place
    readonly placeOf: (entry: A) => Place
    /** Whether a stream that was lost may go on from there. */
    readonly isPlace: (place: Place) => boolean
    readonly onGivenUp: (state: CallState) => QueryError
  }
): Stream.Stream<A, QueryError> =>
  Stream.suspend(() => {
    let last: Place = asked.after
    let failures = 0
    const giveUp = (reason: string) =>
      Effect.fail(asked.onGivenUp({ isUncertain: false, isFull: false, reason }))

    const connected = Effect.suspend(() => chooseNode(new Set())).pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () => giveUp("no node is connected")
      })
    )
    const once = (): Stream.Stream<A, QueryError> =>
      Stream.unwrap(
        Effect.map(Effect.flatMap(connected, openConnection), (client) => asked.open(client, last))
      ).pipe(
        Stream.map((entry) => {
          last = asked.placeOf(entry)
          failures = 0
          return entry
        }),
        Stream.catchCause((cause) => again(cause))
      )

    /** Only what may be otherwise at another node is tried again, a bounded number of times without an event in between. */
    const again = (
      cause: Cause.Cause<QueryError | RpcClientError.RpcClientError>
    ): Stream.Stream<A, QueryError> => {
      const found = Option.getOrUndefined(Cause.findErrorOption(cause))
      const isRefused = found !== undefined && !isLostConnection(found)
      if (isRefused && !isPassing(found)) return Stream.fail(found)
      const pauseMs = Math.min(limits.backoffMaxMs, backoffMs * 2 ** Math.min(failures++, 16))
      if (Cause.hasDies(cause) || failures > limits.streamFailuresMax || !asked.isPlace(last))
        return isRefused
          ? Stream.fail(found)
          : Stream.fromEffect(giveUp(found === undefined ? Cause.pretty(cause) : describe(found)))
      return Stream.unwrap(Effect.as(Effect.sleep(pauseMs), once()))
    }
    return once()
  })

/** A node that is closing, or has too many streams. */
const isPassing = ({ _tag }: QueryError): boolean => _tag === "Unavailable" || _tag === "Overloaded"
