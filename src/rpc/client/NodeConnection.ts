/** A connection to one node, which is opened again by itself whenever it is lost, for as long as the client lives. */
import type { Socket as NetSocket } from "node:net"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { Data, Effect, Predicate, Result, Schedule } from "effect"
import { RpcClient, type RpcClientError, type RpcGroup, RpcSerialization } from "effect/rpc"
import { Socket } from "effect/socket"
import { unsentBytes, withReadTimeout, withWriteTimeout } from "../../infra/cluster/SocketTimeouts.ts"
import { LedgerRpc } from "../LedgerRpc.ts"
import type { ClientLimits, LedgerClientOptions } from "./ClientOptions.ts"

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

/** The URL is of none of the forms by which a node is named. */
export class LedgerUrlInvalid extends Data.TaggedError("LedgerUrlInvalid")<{ readonly url: string }> {
  override get message() {
    return `"${this.url}" is no URL of a node: tcp://host:port, tls://host:port, ws://host:port/rpc or wss://host:port/rpc`
  }
}

const portDefault = 7070

/** Connects in the background, for as long as the scope lives. */
export const makeNodeConnection = Effect.fnUntraced(function* (
  text: string,
  options: LedgerClientOptions,
  limits: ClientLimits,
  onChange: () => void
) {
  const { socket, beneath } = yield* socketTo(text, options, limits)
  const isText = beneath !== undefined
  const silentMs = 2 * limits.pingMs
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
    // A ping waits, like any other write, for a peer that does not read; so pings alone would not notice such a peer.
    Effect.provideService(
      Socket.Socket,
      yield* withWriteTimeout(withReadTimeout(yield* socket, silentMs, beneath), silentMs)
    ),
    Effect.provideService(RpcClient.ConnectionHooks, {
      onConnect: change(true),
      onDisconnect: change(false)
    }),
    Effect.provide(
      isText || options.format === "ndjson"
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
 * A WebSocket by the package `ws`: it tells of the connection beneath it, trusts the certificates that are named, and is read no faster than its
 * messages are taken, which that of Node does not. Loaded where it is used, for most clients speak TCP.
 */
const webSocketTo = Effect.fnUntraced(function* (
  url: string,
  { ca }: LedgerClientOptions,
  { answerBytesMax, connectMs }: ClientLimits
) {
  const { WebSocket } = yield* Effect.promise(() => import("@effect/platform-node/NodeWS"))
  const trust = ca === undefined ? {} : { ca }
  let connection: NetSocket | undefined
  const construct = () => {
    connection = undefined
    return new WebSocket(url, { maxPayload: answerBytesMax, ...trust }).once("upgrade", (response) => {
      connection = response.socket
    })
  }
  return {
    socket: Socket.makeWebSocket(url, { openTimeout: connectMs }).pipe(
      Effect.provideService(Socket.WebSocketConstructor, construct)
    ),
    beneath: {
      bytesReadUnsafe: () => connection?.bytesRead ?? 0,
      unsent: Effect.suspend(() => (connection === undefined ? Effect.succeed(0) : unsentBytes(connection))),
      endUnsafe: () => connection?.destroy()
    }
  }
})

/** A socket that is opened anew each time its reader is acquired; `beneath`, of a WebSocket, which speaks NDJSON, tells of its connection. */
const socketTo = Effect.fnUntraced(function* (
  text: string,
  options: LedgerClientOptions,
  limits: ClientLimits
) {
  const invalid = () => new LedgerUrlInvalid({ url: text })
  const url = yield* Effect.fromResult(Result.try({ try: () => new URL(text), catch: invalid }))
  const openTimeout = limits.connectMs
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
  const port = url.port === "" ? portDefault : Number(url.port)
  if (host === "") return yield* invalid()
  switch (url.protocol) {
    case "tcp:":
      return { socket: NodeSocket.makeNet({ host, port, noDelay: true, openTimeout }), beneath: undefined }
    case "tls:": {
      const trust = options.ca === undefined ? {} : { ca: options.ca }
      // Node sets no server name for an IP address, which the protocol does not allow as one.
      const name = /^[\d.]+$|:/.test(host) ? {} : { servername: host }
      const socket = NodeSocket.makeTls({ host, port, ...name, ...trust, openTimeout })
      return { socket, beneath: undefined }
    }
    case "ws:":
    case "wss:":
      return yield* webSocketTo(text, options, limits)
    default:
      return yield* invalid()
  }
})

/** The innermost message: `connect ECONNREFUSED 127.0.0.1:7070`. */
export const describe = (error: RpcClientError.RpcClientError): string => {
  const told: unknown = "cause" in error.reason ? error.reason.cause : undefined
  // A WebSocket tells of an error by an event.
  const cause = Predicate.hasProperty(told, "error") ? told.error : told
  const inner = cause instanceof Error && cause.message !== "" ? cause.message : error.message
  return inner.replaceAll(/\s+/g, " ")
}
