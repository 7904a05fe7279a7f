/** The servers of a running node: its API, health and metrics over HTTP, RPC over TCP (or TLS) and over a WebSocket. */
import { Data, Effect, Layer } from "effect"
import * as ConsoleFiles from "../../http/ConsoleFiles.ts"
import * as Health from "../../http/Health.ts"
import { httpLimitsFromEnvironment } from "../../http/server/HttpLimits.ts"
import type { HttpSettings } from "../../http/server/HttpSettings.ts"
import * as LedgerHttpServer from "../../http/server/LedgerHttpServer.ts"
import * as LedgerRpcServer from "../../rpc/server/LedgerRpcServer.ts"
import { RpcConfig, rpcLimitsFromEnvironment } from "../../rpc/server/RpcLimits.ts"
import type { RpcSettings } from "../../rpc/server/RpcSettings.ts"

/** The RPC server cannot listen there, mostly because another program does. */
export class RpcPortUnusable extends Data.TaggedError("RpcPortUnusable")<{
  readonly host: string
  readonly port: number
  readonly reason: string
}> {
  override get message() {
    return `cannot listen on port ${this.port} of ${this.host} (${this.reason}): free it, or set CHRONICLE_RPC_PORT to another`
  }
}

/** `tcp://127.0.0.1:7070`, as `CHRONICLE_RPC_URL` takes it. */
export const rpcUrlOf = ({ host, port, tls }: RpcSettings): string =>
  `${tls === undefined ? "tcp" : "tls"}://${host.includes(":") ? `[${host}]` : host}:${port}`

export const servers = (settings: RpcSettings, httpSettings: HttpSettings) => {
  const { host, port } = settings
  const tcp = LedgerRpcServer.layerTcp(settings).pipe(
    Layer.catchTag("SocketServerError", ({ reason }) => {
      const cause: unknown = reason.cause
      const words = cause instanceof Error ? cause.message : String(cause)
      return Layer.effectDiscard(new RpcPortUnusable({ host, port, reason: words }))
    })
  )
  const beside = Layer.mergeAll(Health.routes, ConsoleFiles.routes, LedgerRpcServer.layerWebSocket)
  const http = Layer.unwrap(
    Effect.map(RpcConfig, ({ messageBytesMax }) =>
      LedgerHttpServer.layer(httpSettings, beside, { websocketBytesMax: messageBytesMax })
    )
  )
  return Layer.mergeAll(http, tcp).pipe(
    Layer.provide(LedgerRpcServer.guard(settings)),
    Layer.provide(Layer.mergeAll(rpcLimitsFromEnvironment, httpLimitsFromEnvironment))
  )
}
