/** A ledger in memory behind RPC servers on loopback, with clients of each kind. */

import { createServer, type Server } from "node:http"
import { createServer as createTlsServer } from "node:https"
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Exit, Layer, Redacted, Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { SocketServer } from "effect/socket"
import { Ledger } from "../../src/Ledger.ts"
import type { LedgerClientOptions } from "../../src/rpc/client/ClientOptions.ts"
import { LedgerClient } from "../../src/rpc/client/LedgerClient.ts"
import * as LedgerRpcServer from "../../src/rpc/server/LedgerRpcServer.ts"
import { defaultRpcLimits, RpcConfig, type RpcLimits } from "../../src/rpc/server/RpcLimits.ts"
import type { RpcSettings } from "../../src/rpc/server/RpcSettings.ts"
import { quiet } from "./callers.ts"

export { memoryLedger, quiet, token, tokenOf } from "./callers.ts"

export interface DoorOptions extends Partial<Pick<RpcSettings, "port" | "format" | "tokens" | "tls">> {
  readonly limits?: Partial<RpcLimits>
  /** Whether the door logs with the test's own logger; it is quiet otherwise. */
  readonly isLogged?: boolean
  /** Served instead of the world's. */
  readonly ledger?: Ledger["Service"]
}

const hostOf = "127.0.0.1"

/** Builds a layer in a scope of its own that ends with the caller's at the latest. */
const build = Effect.fnUntraced(function* <A, E, R>(layer: Layer.Layer<A, E, R>) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const context = yield* Layer.buildWithMemoMap(Layer.fresh(layer), Layer.makeMemoMapUnsafe(), scope)
  return { context, stop: Scope.close(scope, Exit.void) }
})

const inside = Effect.fnUntraced(function* (options: DoorOptions) {
  return Layer.mergeAll(
    LedgerRpcServer.guard({ tokens: options.tokens ?? [] }),
    Layer.succeed(Ledger, options.ledger ?? (yield* Ledger))
  ).pipe(
    Layer.provideMerge(limitsOf(options)),
    Layer.provideMerge(options.isLogged === true ? Layer.empty : quiet)
  )
})

const limitsOf = ({ limits }: DoorOptions) => Layer.succeed(RpcConfig, { ...defaultRpcLimits, ...limits })

/** A TCP (or TLS) door; `stop` closes it as the end of its process would. */
export const openTcp = Effect.fnUntraced(function* (options: DoorOptions = {}) {
  const door = LedgerRpcServer.layerTcp({
    host: hostOf,
    port: options.port ?? 0,
    format: options.format ?? "binary",
    tls: options.tls
  })
  const { context, stop } = yield* build(Layer.provide(door, yield* inside(options)))
  const { address } = Context.get(context, SocketServer.SocketServer)
  if (address._tag === "UnixPathAddress") return yield* Effect.die(new Error("a TCP door has an IP address"))
  const scheme = options.tls === undefined ? "tcp" : "tls"
  return { port: address.port, url: `${scheme}://${hostOf}:${address.port}`, stop }
})

/** A WebSocket door on an HTTP (or HTTPS) server of its own. */
export const openWebSocket = Effect.fnUntraced(function* (options: DoorOptions = {}) {
  const { tls } = options
  const listening = (): Server =>
    tls === undefined ? createServer() : createTlsServer({ cert: tls.cert, key: Redacted.value(tls.key) })
  const server = HttpRouter.serve(LedgerRpcServer.layerWebSocket, { disableLogger: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(listening, { port: options.port ?? 0, host: hostOf }))
  )
  const { context, stop } = yield* build(Layer.provide(server, yield* inside(options)))
  const { address } = Context.get(context, HttpServer.HttpServer)
  if (address._tag === "UnixPathAddress")
    return yield* Effect.die(new Error("a WebSocket door has an IP address"))
  const scheme = tls === undefined ? "ws" : "wss"
  return { port: address.port, url: `${scheme}://${hostOf}:${address.port}/rpc`, stop }
})

/** A client, its `Ledger`, and the end of it. */
export const connect = Effect.fnUntraced(function* (options: LedgerClientOptions) {
  const { context, stop } = yield* build(LedgerClient.layer(options).pipe(Layer.provideMerge(quiet)))
  return { ledger: Context.get(context, Ledger), client: Context.get(context, LedgerClient), stop }
})
