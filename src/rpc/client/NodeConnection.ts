/** A connection to one node, which is opened again by itself whenever it is lost, for as long as the client lives. */
import { Effect, Predicate, Schedule } from "effect"
import { RpcClient, type RpcClientError, type RpcGroup, RpcSerialization } from "effect/rpc"
import { Socket } from "effect/socket"
import { watchPeer } from "../../infra/cluster/PeerWatch.ts"
import { sentBytes, withReadTimeout, withWriteTimeout } from "../../infra/cluster/SocketTimeouts.ts"
import { LedgerRpc } from "../LedgerRpc.ts"
import type { ClientLimits, LedgerClientOptions } from "./ClientOptions.ts"
import { type SocketToNode, socketTo } from "./NodeSockets.ts"

export type NodeClient = RpcClient.RpcClient<RpcGroup.Rpcs<typeof LedgerRpc>, RpcClientError.RpcClientError>

export interface NodeConnection {
  readonly url: string
  readonly client: NodeClient
  readonly isConnectedUnsafe: () => boolean
  /** Counts its connections: after a new one, another process may be at the URL. */
  readonly connectionsUnsafe: () => number
  /** Why the last attempt to connect failed. */
  readonly troubleUnsafe: () => string
  /** Calls of this client to the node that are not answered. */
  inFlight: number
}

/** Connects in the background, for as long as the scope lives. */
export const makeNodeConnection = Effect.fnUntraced(function* (
  text: string,
  options: LedgerClientOptions,
  limits: ClientLimits,
  onChange: () => void
) {
  const opened = yield* socketTo(text, options, limits)
  let isConnected = false
  let connections = 0
  let trouble = "no answer yet"
  const change = (now: boolean) =>
    Effect.sync(() => {
      isConnected = now
      if (now) connections++
      onChange()
    })
  const protocol = yield* RpcClient.makeProtocolSocket({
    pingInterval: limits.pingMs,
    // What the node sends is looked at below, by its bytes.
    pingTimeout: Number.POSITIVE_INFINITY,
    retryTransientErrors: true,
    retryPolicy: Schedule.min([Schedule.exponential(20), Schedule.spaced(limits.backoffMaxMs)]).pipe(
      Schedule.jittered
    ),
    onTransientError: (error) =>
      Effect.sync(() => {
        trouble = describe(error)
      })
  }).pipe(
    Effect.provideService(Socket.Socket, yield* withPatience(opened, 2 * limits.pingMs)),
    Effect.provideService(RpcClient.ConnectionHooks, {
      onConnect: change(true),
      onDisconnect: change(false)
    }),
    Effect.provide(
      opened.isText || options.format === "ndjson"
        ? RpcSerialization.layerNdjsonWith({ maxBufferSize: limits.answerBytesMax })
        : RpcSerialization.layerSchemaBinary({ maxFrameSize: limits.answerBytesMax })
    )
  )
  const client = yield* RpcClient.make(LedgerRpc, { spanPrefix: "LedgerRpc" }).pipe(
    Effect.provideService(RpcClient.Protocol, protocol)
  )
  return {
    url: text,
    client,
    isConnectedUnsafe: () => isConnected,
    connectionsUnsafe: () => connections,
    troubleUnsafe: () => trouble,
    inFlight: 0
  } satisfies NodeConnection as NodeConnection // whose count of calls changes
})

/**
 * The socket, given up where the node neither sends something nor takes something for so long. A ping waits, like any other write, for a peer
 * that does not read; so pings alone would not notice such a peer, and would take one for silent that takes a large message slowly.
 */
const withPatience = Effect.fnUntraced(function* ({ socket, beneathUnsafe }: SocketToNode, silentMs: number) {
  const heard = withReadTimeout(socket, silentMs, {
    bytesReadUnsafe: () => beneathUnsafe()?.bytesRead ?? 0,
    sent: Effect.suspend(() => {
      const beneath = beneathUnsafe()
      return beneath === undefined
        ? Effect.succeed({ taken: 0, queued: 0, unacknowledged: 0 })
        : sentBytes(beneath)
    }),
    endUnsafe: () => beneathUnsafe()?.destroy()
  })
  return yield* withWriteTimeout(heard, silentMs, yield* watchPeer(silentMs, beneathUnsafe))
})

/** The innermost message: `connect ECONNREFUSED 127.0.0.1:7070`. */
export const describe = (error: RpcClientError.RpcClientError): string => {
  const told: unknown = "cause" in error.reason ? error.reason.cause : undefined
  // A WebSocket tells of an error by an event.
  const cause = Predicate.hasProperty(told, "error") ? told.error : told
  const inner = cause instanceof Error && cause.message !== "" ? cause.message : error.message
  return inner.replaceAll(/\s+/g, " ")
}
