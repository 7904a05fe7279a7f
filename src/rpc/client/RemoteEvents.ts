/**
 * Streams of events over RPC. A stream that loses its node goes on at another one, behind the last event that was taken, so that its
 * reader sees no gap. It has a connection of its own: what a slow reader does not take would hold up all other answers.
 */
import { Cause, Effect, Latch, Option, Schedule, type Scope, Stream } from "effect"
import type { RpcClientError } from "effect/rpc"
import { type QueryError, Unavailable } from "../../domain/Errors.ts"
import type { ClientLimits, LedgerClientOptions } from "./ClientOptions.ts"
import { type CallState, isLostConnection, isPassing } from "./Failover.ts"
import { describe, makeNodeConnection, type NodeClient, type NodeConnection } from "./NodeConnection.ts"

/** The first pause before a stream is opened again, in milliseconds; doubled up to `backoffMaxMs`. */
const backoffMs = 20

/** Opens a further connection to the same node, which ends with the scope. */
type OpenConnection = (node: NodeConnection) => Effect.Effect<NodeClient, Unavailable, Scope.Scope>

export const makeOpenConnection =
  (options: LedgerClientOptions, limits: ClientLimits): OpenConnection =>
  ({ url }) =>
    Effect.gen(function* () {
      const opened = Latch.makeUnsafe(false)
      let isConnected = () => false
      const onChange = () => {
        if (isConnected()) opened.openUnsafe()
      }
      const own = yield* Effect.orDie(makeNodeConnection(url, options, limits, onChange)) // the URL is that of a node
      isConnected = own.isConnectedUnsafe
      onChange()
      yield* opened.await.pipe(
        Effect.timeoutOrElse({
          duration: limits.connectMs,
          orElse: () => Effect.fail(new Unavailable({ what: url, reason: own.troubleUnsafe() }))
        })
      )
      return own.client
    })

/** A stream that can be opened again. `Place` says where: without repeats where each event has a place of its own. */
interface ResumableStream<A, Place> {
  readonly open: (
    client: NodeClient,
    after: Place
  ) => Stream.Stream<A, QueryError | RpcClientError.RpcClientError>
  readonly after: Place
  readonly placeOf: (event: A) => Place
  /** Whether a stream that was lost may go on from a place. */
  readonly isResumable: (place: Place) => boolean
  readonly onGivenUp: (state: CallState) => QueryError
}

export const remoteEvents = <A, Place>(
  anyNode: Effect.Effect<NodeConnection>,
  openConnection: OpenConnection,
  limits: ClientLimits,
  { open, after, placeOf, isResumable, onGivenUp }: ResumableStream<A, Place>
): Stream.Stream<A, QueryError> =>
  Stream.suspend(() => {
    let last: Place = after
    let failures = 0
    const givenUp = (reason: string) => onGivenUp({ isUncertain: false, isFull: false, reason })

    const connected = anyNode.pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () => Effect.fail(givenUp("no node is connected"))
      })
    )
    /** Where another node may do better it is opened again, a bounded number of times without an event in between. */
    const endedBy = (
      cause: Cause.Cause<QueryError | RpcClientError.RpcClientError>
    ): Effect.Effect<never, Ended> => {
      const found = Option.getOrUndefined(Cause.findErrorOption(cause))
      const isRefused = found !== undefined && !isLostConnection(found)
      const error = isRefused ? found : givenUp(found === undefined ? Cause.pretty(cause) : describe(found))
      if (isRefused && !isPassing(found)) return Effect.fail({ error, isOver: true })
      const pauseMs = Math.min(limits.backoffMaxMs, backoffMs * 2 ** Math.min(failures++, 16))
      const isOver = Cause.hasDies(cause) || failures > limits.streamFailuresMax || !isResumable(last)
      return Effect.delay(Effect.fail({ error, isOver }), isOver ? 0 : pauseMs)
    }

    return Stream.suspend(() =>
      Stream.unwrap(Effect.map(Effect.flatMap(connected, openConnection), (client) => open(client, last)))
    ).pipe(
      Stream.map((event) => {
        last = placeOf(event)
        failures = 0
        return event
      }),
      Stream.catchCause((cause) => Stream.fromEffect(endedBy(cause))),
      Stream.retry(again),
      Stream.mapError(({ error }) => error)
    )
  })

/** How a stream ended that was opened. */
interface Ended {
  readonly error: QueryError
  /** It is not opened again. */
  readonly isOver: boolean
}

const again = Schedule.while(Schedule.forever, ({ input }: { readonly input: Ended }) => !input.isOver)
