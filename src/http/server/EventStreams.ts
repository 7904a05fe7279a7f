/**
 * Streams of events as server-sent events: each with the cursor after which a client that lost its connection goes on. A stream is
 * read as the client takes it, so a slow client costs its own stream alone.
 */
import { Cause, Effect, Exit, Fiber, Option, type Scope, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import type { Caller } from "../../access/Tokens.ts"
import type { QueryError } from "../../domain/Errors.ts"
import { toProblem } from "../api/Problems.ts"
import { HttpConnections } from "./HttpConnections.ts"
import { HttpConfig } from "./HttpLimits.ts"

/** One event, its data encoded. */
export interface ServerSentEvent {
  readonly id: string
  readonly data: unknown
}

/** A fault that shows within this time, such as a cursor that is none, gets a status of its own; in milliseconds. */
const faultsMs = 100
/** How soon a client connects again after the stream has ended, in milliseconds. */
const retryMs = 1_000

const printEvent = ({ id, data }: ServerSentEvent): string => `id: ${id}\ndata: ${JSON.stringify(data)}\n\n`

/** The last event of a stream that failed: a problem document. The client goes on after the last id. */
const printFailure = (error: QueryError): string =>
  `event: problem\ndata: ${JSON.stringify(toProblem(error).document)}\n\n`

const heartbeat = ": nothing new\n\n"

export type EventStream = Effect.Success<typeof makeEventStream>

/** The response that sends events. Fails where the stream does at once; a later failure is the last event. */
export const makeEventStream = Effect.gen(function* () {
  const { heartbeatMs } = yield* HttpConfig
  const connections = yield* HttpConnections
  const heartbeats = Stream.fromEffectRepeat(Effect.as(Effect.sleep(heartbeatMs), heartbeat))

  return Effect.fnUntraced(function* (
    caller: Caller,
    events: Stream.Stream<ServerSentEvent, QueryError>
  ): Effect.fn.Return<HttpServerResponse.HttpServerResponse, QueryError, Scope.Scope> {
    yield* connections.openStream(caller)
    const pull = yield* Stream.toPull(events)
    // Begun before the headers are sent, so that a fault can still be told by the status.
    const first = yield* Effect.forkScoped(pull)
    const begun = yield* Effect.timeoutOption(Fiber.await(first), faultsMs)
    if (Option.isSome(begun) && Exit.isFailure(begun.value)) {
      const fault = Option.getOrUndefined(Cause.findErrorOption(begun.value.cause))
      if (fault !== undefined && !Cause.isDone(fault)) return yield* Effect.fail(fault)
    }
    let isFirst = true
    const next: typeof pull = Effect.suspend(() => {
      if (!isFirst) return pull
      isFirst = false
      return Fiber.join(first)
    })
    const texts = Stream.fromPull(Effect.succeed(next)).pipe(
      Stream.map(printEvent),
      Stream.catch((error) => Stream.succeed(printFailure(error))),
      Stream.merge(heartbeats, { haltStrategy: "left" }),
      Stream.interruptWhen(connections.closing)
    )
    const body = Stream.concat(Stream.succeed(`retry: ${retryMs}\n\n`), texts)
    return HttpServerResponse.stream(Stream.encodeText(body), {
      contentType: "text/event-stream",
      headers: { "cache-control": "no-store", "x-accel-buffering": "no" }
    })
  })
})
