/**
 * The nodes' port as the data path sees it: connections of other nodes to this one, connections to them, and where they
 * are. It is Effect Cluster's own port, because its address is what membership tells, and because one port is one thing to
 * open, to guard and to watch; the handshake says what each connection is for.
 */
import { createConnection, isIP, type Socket as NetSocket } from "node:net"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { Clock, Context, Effect, Layer, Option, type Scope } from "effect"
import type { RunnerAddress } from "effect/cluster"
import type { SecureRandom } from "effect/crypto"
import { Socket } from "effect/socket"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { type Agreement, greet, type HandshakeRefused, receive, type Wire } from "./PeerHandshake.ts"
import { watchPeer } from "./PeerWatch.ts"
import { withWriteTimeout } from "./SocketTimeouts.ts"

/** How long opening a connection to another node may take, in milliseconds. */
const openMs = 1_000
/** A connection on which nothing came for so long is given up, in milliseconds; pings come every few seconds at most. */
export const silentMs = 5_500

/** Bytes in both directions, after the handshake. */
export interface ByteStream {
  /** Who is at the other end, for logs. */
  readonly peer: string
  readonly version: number
  readonly pull: Effect.Effect<ReadonlyArray<Uint8Array>, Socket.SocketError>
  /** Ends when the bytes are on their way; a peer that reads none of them for long loses the connection. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, Socket.SocketError>
}

/** Where the members of the cluster were when this node last looked. */
export class ClusterMembers extends Context.Service<
  ClusterMembers,
  { addresses: ReadonlyArray<RunnerAddress.RunnerAddress> }
>()("chronicle/infra/ClusterMembers") {
  static readonly layer = Layer.sync(ClusterMembers, () => ({ addresses: [] }))
}

interface PeerDoor {
  /** Where the others reach this node. */
  readonly own: RunnerAddress.RunnerAddress
  readonly dial: (
    to: RunnerAddress.RunnerAddress
  ) => Effect.Effect<
    ByteStream,
    HandshakeRefused | Socket.SocketError,
    Scope.Scope | SecureRandom.SecureRandom
  >
  /** What is done with a connection that another node opened, for as long as the effect runs; ends it, by default. */
  onAccept: (connection: ByteStream) => Effect.Effect<void>
}

/** A member's port. */
export class PeerPort extends Context.Service<PeerPort, PeerDoor>()("chronicle/infra/PeerPort") {
  static readonly layer = (own: RunnerAddress.RunnerAddress) =>
    Layer.sync(PeerPort, () => ({ own, dial: dialNode, onAccept: () => Effect.void }))
}

/** The wire of a socket for as long as the scope is open, and the socket's own parts for what follows the handshake. */
export const openWire = Effect.fnUntraced(function* (socket: Socket.Socket) {
  const reader = yield* socket.reader
  const writer = yield* socket.writer
  const wire: Wire = { pull: reader.pull, upgrade: reader.upgrade, write: writer.write }
  return { wire, writer }
})

/** What comes after the handshake: first what came with its last bytes. */
export const pullAfter = ({ rest }: Agreement, pull: Wire["pull"]): Wire["pull"] => {
  let first = rest
  return Effect.suspend(() => {
    if (first.length === 0) return pull
    const chunk = first
    first = new Uint8Array(0)
    return Effect.succeed([chunk] as const)
  })
}

const byteStream = (peer: string, agreed: Agreement, wire: Wire): ByteStream => ({
  peer,
  version: agreed.version,
  pull: Effect.map(pullAfter(agreed, wire.pull), (chunks) => chunks.map(toBytes)),
  write: wire.write
})

const toBytes = (chunk: string | Uint8Array): Uint8Array =>
  typeof chunk === "string" ? Buffer.from(chunk) : chunk

interface NodeAddress {
  readonly host: string
  readonly port: number
}

/**
 * An open connection of TCP, for as long as the scope lives. TLS, which begins later on the same connection, checks the
 * certificate of the other side against the name that Node looked up for the connection, and against `localhost` where it looked
 * up none; so of a node that is named by its address the address is noted as that name.
 */
const connect = ({ host, port }: NodeAddress) =>
  Effect.flatMap(
    Effect.acquireRelease(
      // `noDelay`: see ClusterSocket.ts.
      Effect.sync(() => createConnection({ host, port, noDelay: true, timeout: silentMs })),
      (connection) => Effect.sync(() => connection.destroySoon())
    ),
    (connection) =>
      Effect.callback<NetSocket, Socket.SocketError>((resume) => {
        connection.once("connect", () => {
          if (isIP(host) !== 0) Object.assign(connection, { _host: host })
          resume(Effect.succeed(connection))
        })
        // Stays for as long as the connection does: an error that is not listened to would end the process.
        connection.on("error", (cause) => {
          const reason = new Socket.SocketOpenError({ kind: "Unknown", cause })
          resume(Effect.fail(new Socket.SocketError({ reason })))
        })
      })
  )

/** A socket to another node. */
export const socketTo = (to: NodeAddress) =>
  Effect.suspend(() => {
    let beneath: NetSocket | undefined
    const connected = Effect.tap(connect(to), (connection) =>
      Effect.sync(() => {
        beneath = connection
      })
    )
    return Effect.zip(
      NodeSocket.fromDuplex(connected, { openTimeout: openMs }),
      watchPeer(silentMs, () => beneath)
    ).pipe(Effect.flatMap(([plain, watch]) => withWriteTimeout(plain, silentMs, watch)))
  })

const dialNode = Effect.fnUntraced(function* (to: RunnerAddress.RunnerAddress) {
  const { wire } = yield* openWire(yield* socketTo(to))
  const agreed = yield* greet(wire, "commands", to.host)
  return byteStream(`${to.host}:${to.port}`, agreed, wire)
})

/** Handshakes under way at once. One more ends the oldest, which in a flood of silent connections is one of them. */
export const handshakesMax = 256
/** Refusals are logged once in so long, with their number, in milliseconds. */
const logEveryMs = 10_000

/** A connection of another node for Effect Cluster's protocol, after the handshake. */
interface ClusterConnection extends Pick<Wire, "pull" | "upgrade"> {
  readonly writer: Socket.Writer
  /** Says in the log, once in a while, why such a connection was ended. */
  readonly refuse: (why: string) => Effect.Effect<void>
}

/** Hands a connection over to the data path, or to `cluster` for Effect Cluster's protocol, or refuses it. */
export const makeReception = Effect.gen(function* () {
  const port = yield* PeerPort
  const clock = yield* Clock.Clock
  // The server runs each connection in a fiber that knows neither the secret nor TLS.
  const context = yield* Effect.context<SecureRandom.SecureRandom>()
  const handshakes = new Set<() => void>()
  let refusals = 0
  let loggedAt = Number.NEGATIVE_INFINITY

  const logRefusal = (peer: string, why: string) =>
    Effect.suspend(() => {
      refusals++
      const now = elapsedMsUnsafe(clock)
      if (now - loggedAt < logEveryMs) return Effect.void
      const count = refusals
      refusals = 0
      loggedAt = now
      const others = count > 1 ? ` (and ${count - 1} other connections since the last such line)` : ""
      return Effect.logWarning(`refused a connection to the nodes' port from ${peer}: ${why}${others}`)
    })

  /** The handshake, cut short where too many are under way. */
  const bounded = (wire: Wire, cut: () => void) =>
    Effect.suspend(() => {
      handshakes.add(cut)
      const [oldest] = handshakes
      if (handshakes.size > handshakesMax && oldest !== undefined) {
        handshakes.delete(oldest)
        oldest()
      }
      return Effect.ensuring(
        Effect.provideContext(receive(wire), context),
        Effect.sync(() => handshakes.delete(cut))
      )
    })

  return <E, R>(
    plain: Socket.Socket,
    cluster: (connection: ClusterConnection) => Effect.Effect<unknown, E, R>
  ) =>
    Effect.gen(function* () {
      const net = Option.getOrUndefined(yield* Effect.serviceOption(NodeSocket.NetSocket))
      const peer = `${net?.remoteAddress}:${net?.remotePort}`
      const watch = yield* watchPeer(silentMs, () => net)
      const { wire, writer } = yield* openWire(yield* withWriteTimeout(plain, silentMs, watch))
      const agreed = yield* bounded(wire, () => net?.destroy()).pipe(
        Effect.tapError((error) => logRefusal(peer, error.message)),
        Effect.option
      )
      if (Option.isNone(agreed)) return
      if (agreed.value.purpose === "cluster") {
        const pull = pullAfter(agreed.value, wire.pull)
        yield* cluster({ pull, upgrade: wire.upgrade, writer, refuse: (why) => logRefusal(peer, why) })
      } else yield* port.onAccept(byteStream(peer, agreed.value, wire))
    }).pipe(Effect.scoped)
})
