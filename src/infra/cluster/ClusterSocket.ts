/**
 * The sockets of Effect Cluster's own protocol, which carries membership, health and singletons: behind the handshake of the
 * nodes' port, so that only nodes speak it, and sending each message at once.
 */
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { type Context, Effect, Latch, Layer } from "effect"
import { Runners } from "effect/cluster"
import { SecureRandom } from "effect/crypto"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Socket, SocketServer } from "effect/socket"
import { greet } from "./PeerHandshake.ts"
import { makeReception, openWire, pullAfter, socketTo } from "./PeerPort.ts"
import { withCloseTimeout } from "./SocketTimeouts.ts"

/**
 * A socket that is open once the handshake is done: until then what is written waits, as for a connection. Sharding dials
 * in fibers of its own, which know neither the secret nor TLS: they come with the context.
 */
const behindHandshake = (
  inner: Socket.Socket,
  host: string,
  context: Context.Context<SecureRandom.SecureRandom>
) => {
  const isAgreed = Latch.makeUnsafe(false)
  return Socket.make({
    reader: Effect.gen(function* () {
      const { wire } = yield* openWire(inner)
      const agreed = yield* greet(wire, "cluster", host).pipe(
        Effect.provideContext(context),
        Effect.mapError(
          (cause) =>
            new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })
        )
      )
      yield* Effect.acquireRelease(isAgreed.open, () => isAgreed.close)
      return { pull: pullAfter(agreed, wire.pull), upgrade: wire.upgrade }
    }),
    writer: Effect.map(inner.writer, (writer) => ({
      write: (chunk) =>
        Socket.isCloseEvent(chunk) ? writer.write(chunk) : isAgreed.whenOpen(writer.write(chunk)),
      writeAll: (chunks) => isAgreed.whenOpen(writer.writeAll(chunks))
    }))
  })
}

/**
 * As `NodeClusterSocket` of effect has it, but for the handshake, and for `noDelay`: without it the kernel holds a small
 * message back until the one before it was acknowledged, which the other kernel puts off for 40 ms. Any two messages on the
 * way at once then take that long.
 */
export const layerClientProtocol = Layer.effect(
  Runners.RpcClientProtocol,
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    const context = yield* Effect.context<SecureRandom.SecureRandom>()
    return {
      codecFor: serialization.codecFor,
      make: Effect.fnUntraced(function* (address) {
        const socket = behindHandshake(yield* socketTo(address), address.host, context)
        return yield* RpcClient.makeProtocolSocket().pipe(
          Effect.provideService(Socket.Socket, socket),
          Effect.provideService(RpcSerialization.RpcSerialization, serialization)
        )
      }, Effect.orDie)
    }
  })
).pipe(Layer.provide(SecureRandom.layerWebCrypto))

/** The nodes' port: Effect Cluster's server gets its own connections, the data path the others. */
export const layerServer = (address: { readonly host: string; readonly port: number }) =>
  Layer.effect(
    SocketServer.SocketServer,
    Effect.gen(function* () {
      const receiveNode = yield* makeReception
      const server = yield* withCloseTimeout(NodeSocketServer.make({ ...address, noDelay: true }))
      return {
        ...server,
        run: (handler) =>
          server.run((plain) =>
            receiveNode(plain, (agreed, wire, writer) =>
              handler(
                Socket.make({
                  reader: Effect.succeed({ pull: pullAfter(agreed, wire.pull), upgrade: wire.upgrade }),
                  writer: Effect.succeed(writer)
                })
              )
            ).pipe(
              // The other side may be gone before anything was read; that is no fault of this node.
              Effect.catchTag("SocketError", () => Effect.void)
            )
          )
      }
    })
  ).pipe(Layer.provide(SecureRandom.layerWebCrypto))
