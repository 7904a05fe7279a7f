/**
 * The listeners at which peers call a running ledger: TCP (or TLS), and a WebSocket of the node's HTTP server. At the end of a
 * listener the calls under way are answered first.
 */
import { STATUS_CODES } from "node:http"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { Effect, Layer, Option } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { SocketServer } from "effect/socket"
import { Authenticator } from "../../access/Authenticator.ts"
import { RefusalLog } from "../../access/RefusalLog.ts"
import { withCloseTimeout } from "../../infra/cluster/SocketTimeouts.ts"
import { listenBacklog } from "../../infra/config/Backlog.ts"
import { limitsFault } from "../../infra/config/Limits.ts"
import { socketOf } from "../../infra/sockets/RequestSocket.ts"
import { LedgerRpc } from "../LedgerRpc.ts"
import * as connections from "./Connections.ts"
import { Connections } from "./Connections.ts"
import { handlers } from "./Handlers.ts"
import { RpcConfig, rpcLimits } from "./RpcLimits.ts"
import type { RpcSettings } from "./RpcSettings.ts"

/** Authentication and the log of refusals, for all listeners of a node together. */
export const guard = (settings: Pick<RpcSettings, "tokens">) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const limits = yield* RpcConfig
      // Those of the environment were refused before; a host may give any numbers.
      const fault = limitsFault(rpcLimits, limits)
      if (fault !== undefined) return yield* Effect.die(new TypeError(`a limit of RPC, ${fault}`))
      return Layer.mergeAll(
        Authenticator.layer(settings.tokens, limits.ratePerSecond),
        RefusalLog.layer(limits.refusalLinesMax)
      )
    })
  )

/** After so much silence the kernel asks whether the peer is there, in milliseconds. */
const keepAliveMs = 30_000

const serialization = (format: RpcSettings["format"]) =>
  Layer.unwrap(
    Effect.map(RpcConfig, ({ messageBytesMax }) =>
      format === "binary"
        ? RpcSerialization.layerSchemaBinary({ maxFrameSize: messageBytesMax })
        : RpcSerialization.layerNdjsonWith({ maxBufferSize: messageBytesMax })
    )
  )

/** Effect's server behind the connections of one listener. */
const calls = (format: RpcSettings["format"]) =>
  RpcServer.layer(LedgerRpc, { disableFatalDefects: true, spanPrefix: "LedgerRpc" }).pipe(
    Layer.provide(handlers),
    // Each listener has connections of its own: a layer that two shared would speak one format at both.
    Layer.provideMerge(Layer.fresh(connections.layer)),
    Layer.provide(serialization(format))
  )

/** Listens at `host` and `port` (0: any, then told by `SocketServer`). */
export const layerTcp = (settings: Pick<RpcSettings, "host" | "port" | "format" | "tls">) => {
  const listening = NodeSocketServer.make({
    host: settings.host,
    port: settings.port,
    backlog: listenBacklog,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveMs
  })
  const socketServer = Layer.effect(SocketServer.SocketServer, withCloseTimeout(listening))
  return Layer.effectDiscard(
    Effect.gen(function* () {
      const { serve, drain } = yield* Connections
      const server = yield* SocketServer.SocketServer
      const serveSocket = server.run((socket) =>
        Effect.scoped(
          Effect.flatMap(Effect.serviceOption(NodeSocket.NetSocket), (conn) =>
            serve(socket, {
              peer: peerOf(Option.map(conn, (one) => one.remoteAddress)),
              socket: Option.getOrUndefined(conn),
              tls: settings.tls
            })
          )
        )
      )
      yield* Effect.forkScoped(serveSocket)
      // Added last, so it runs first: answers are given before the sockets close.
      yield* Effect.addFinalizer(() => drain)
    })
  ).pipe(Layer.provide(calls(settings.format)), Layer.provideMerge(socketServer))
}

/** A problem document like those of the API beside it, of which there is no more to say than its status does (RFC 9457, 4.2.1). */
const refusal = (status: 403 | 426, detail: string, headers: Readonly<Record<string, string>> = {}) =>
  HttpServerResponse.text(
    JSON.stringify({ type: "about:blank", title: STATUS_CODES[status] ?? "", status, detail }),
    { status, contentType: "application/problem+json", headers: { "cache-control": "no-store", ...headers } }
  )

/** What the client has to ask for (RFC 9110, 15.5.22), on a connection of its own. */
const upgradeRequired = refusal(426, "this is a WebSocket", {
  connection: "upgrade, close",
  upgrade: "websocket"
})

/**
 * Whether the connection is taken off HTTP, for a WebSocket. Node decides on that by more than the header `upgrade`: by `connection`, and
 * by what the server asks of method and path.
 */
const isTakenOff = ({ headers, source }: HttpServerRequest.HttpServerRequest): boolean =>
  headers.upgrade?.toLowerCase() === "websocket" && "upgrade" in source && source.upgrade === true

/** `GET /rpc` of the node's HTTP server, upgraded to a WebSocket that speaks NDJSON. */
export const layerWebSocket = Layer.effectDiscard(
  Effect.gen(function* () {
    const { serve, drain } = yield* Connections
    const authenticator = yield* Authenticator
    const router = yield* HttpRouter.HttpRouter
    yield* router.add(
      "GET",
      "/rpc",
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest
        if (!isTakenOff(request)) return upgradeRequired
        // Any page that the machine's user looks at could open a socket to loopback, and needs no token there.
        if (!authenticator.isGuarded && request.headers.origin !== undefined)
          return refusal(403, "no browsers where no tokens are asked for")
        const socket = yield* request.upgrade
        yield* serve(socket, {
          peer: peerOf(request.remoteAddress),
          socket: socketOf(request),
          authorization: request.headers.authorization
        })
        return HttpServerResponse.empty()
      })
    )
    yield* Effect.addFinalizer(() => drain)
  })
).pipe(Layer.provide(calls("ndjson")))

const peerOf = (address: Option.Option<string | undefined>): string =>
  Option.getOrElse(Option.flatMap(address, Option.fromUndefinedOr), () => "an unknown address")
