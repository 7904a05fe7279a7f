/** A stream of events from a node enters; the same leaves without gaps, across lost connections. */
import { Cause, Effect, Option, Stream } from "effect"
import type { RpcClientError } from "effect/rpc"
import type { QueryError } from "../domain/Errors.ts"
import { isLostConnection, type Pick, type Standing } from "./Attempts.ts"
import type { ClientLimits } from "./ClientOptions.ts"
import { describe, type NodeClient } from "./Link.ts"

const backoffMs = 20

/** `Place` is where the stream goes on with another node: without repeats where it names each event. */
export const remoteEvents = <A, Place>(
  pick: Pick,
  limits: ClientLimits,
  asked: {
    readonly open: (
      client: NodeClient,
      after: Place
    ) => Stream.Stream<A, QueryError | RpcClientError.RpcClientError>
    readonly after: Place
    readonly placeOf: (entry: A) => Place
    readonly onGivenUp: (standing: Standing) => QueryError
  }
): Stream.Stream<A, QueryError> =>
  Stream.suspend(() => {
    let last: Place = asked.after
    let failures = 0
    const giveUp = (reason: string) => Effect.fail(asked.onGivenUp({ isUncertain: false, reason }))

    const connected = Effect.suspend(() => pick(new Set())).pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () => giveUp("no node is connected")
      })
    )
    const once = (): Stream.Stream<A, QueryError> =>
      Stream.unwrap(Effect.map(connected, (link) => asked.open(link.client, last))).pipe(
        Stream.map((entry) => {
          last = asked.placeOf(entry)
          failures = 0
          return entry
        }),
        Stream.catchCause((cause) => again(cause))
      )

    /** Only a lost connection is tried again, and a bounded number of times without an event in between. */
    const again = (
      cause: Cause.Cause<QueryError | RpcClientError.RpcClientError>
    ): Stream.Stream<A, QueryError> => {
      const found = Option.getOrUndefined(Cause.findErrorOption(cause))
      if (found !== undefined && !isLostConnection(found)) return Stream.fail(found)
      const reason = found === undefined ? Cause.pretty(cause) : describe(found)
      const pauseMs = Math.min(limits.backoffMaxMs, backoffMs * 2 ** Math.min(failures++, 16))
      if (Cause.hasDies(cause) || failures > limits.streamFailuresMax)
        return Stream.fromEffect(giveUp(reason))
      return Stream.unwrap(Effect.as(Effect.sleep(pauseMs), once()))
    }
    return once()
  })
