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
import { listenBacklog } from "../config/Backlog.ts"
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

/** Each node pings its connections every 5 s; one on which nothing came for so long is given up, in milliseconds. */
const quietMax = 16_000

const noMessage = "it sends what is no message of Effect Cluster's"

const ended = (code: number, closeReason: string) =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code, closeReason }) })

/**
 * Ends a connection on which nothing comes, or no messages: effect's server would answer each piece of noise with an error
 * and go on, and would keep a connection whose other end is gone, or never says a word, for ever. What little
 * membership says is decoded twice for that.
 */
const bounded = (
  pull: Socket.Reader["pull"],
  serialization: RpcSerialization.RpcSerialization["Service"],
  refuse: (why: string) => Effect.Effect<void>,
  quietMs: number
): Socket.Reader["pull"] => {
  const parser = serialization.makeUnsafe()
  return pull.pipe(
    Effect.timeoutOrElse({
      duration: quietMs,
      orElse: () => Effect.fail(ended(1001, `nothing came for ${quietMs} ms`))
    }),
    Effect.tap((chunks) =>
      Effect.try({
        try: () => {
          for (const chunk of chunks) parser.decode(chunk)
        },
        catch: () => ended(1002, noMessage)
      }).pipe(Effect.tapError(() => refuse(noMessage)))
    )
  )
}

/** The nodes' port: Effect Cluster's server gets its own connections, the data path the others. */
export const layerServer = (address: { readonly host: string; readonly port: number }, quietMs = quietMax) =>
  Layer.effect(
    SocketServer.SocketServer,
    Effect.gen(function* () {
      const receiveNode = yield* makeReception
      const serialization = yield* RpcSerialization.RpcSerialization
      const server = yield* withCloseTimeout(
        NodeSocketServer.make({ ...address, backlog: listenBacklog, noDelay: true })
      )
      return {
        ...server,
        run: (handler) =>
          server.run((plain) =>
            receiveNode(plain, ({ pull, upgrade, writer, refuse }) =>
              handler(
                Socket.make({
                  reader: Effect.succeed({ pull: bounded(pull, serialization, refuse, quietMs), upgrade }),
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
