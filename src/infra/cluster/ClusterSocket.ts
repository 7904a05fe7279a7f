/** Addresses of nodes enter; the sockets between them leave, which send each message at once. */
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Runners } from "effect/cluster"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Socket, SocketServer } from "effect/socket"
import { withCloseTimeout } from "./SocketServerEnd.ts"
import { withWriteTimeout } from "./SocketTimeouts.ts"

/** How long opening a connection to another node may take, in milliseconds. */
const openMs = 1_000
/** A connection on which nothing came for so long is given up, in milliseconds; pings come every five seconds. */
const silentMs = 5_500

/**
 * As `NodeClusterSocket` of effect has it, but for `noDelay`: without it the kernel holds a small message back until the
 * one before it was acknowledged, which the other kernel puts off for 40 ms. Any two messages on the way at once then
 * take that long.
 */
export const layerClientProtocol = Layer.effect(
  Runners.RpcClientProtocol,
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    return {
      codecFor: serialization.codecFor,
      make: Effect.fnUntraced(function* ({ host, port }) {
        const socket = yield* NodeSocket.makeNet({
          host,
          port,
          noDelay: true,
          openTimeout: openMs,
          timeout: silentMs
        }).pipe(Effect.flatMap((plain) => withWriteTimeout(plain, silentMs)))
        return yield* RpcClient.makeProtocolSocket().pipe(
          Effect.provideService(Socket.Socket, socket),
          Effect.provideService(RpcSerialization.RpcSerialization, serialization)
        )
      }, Effect.orDie)
    }
  })
)

export const layerServer = (address: { readonly host: string; readonly port: number }) =>
  Layer.effect(
    SocketServer.SocketServer,
    Effect.map(withCloseTimeout(NodeSocketServer.make({ ...address, noDelay: true })), (server) => ({
      ...server,
      run: (handler) => server.run((plain) => Effect.flatMap(withWriteTimeout(plain, silentMs), handler))
    }))
  )
