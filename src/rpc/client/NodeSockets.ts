/** The sockets by which a client reaches a node: TCP, TLS and WebSocket, each with the connection beneath it, which alone shows what the node took. */
import { createConnection, type Socket as NetSocket } from "node:net"
import { connect as connectTls } from "node:tls"
import { fromDuplex } from "@effect/platform-node/NodeSocket"
import { Data, Effect, Result } from "effect"
import { Socket } from "effect/socket"
import type { ClientLimits, LedgerClientOptions } from "./ClientOptions.ts"

/** The URL is of none of the forms by which a node is named. */
export class LedgerUrlInvalid extends Data.TaggedError("LedgerUrlInvalid")<{ readonly url: string }> {
  override get message() {
    return `"${this.url}" is no URL of a node: tcp://host:port, tls://host:port, ws://host:port/rpc or wss://host:port/rpc`
  }
}

/** A socket that is opened anew each time its reader is acquired. */
export interface SocketToNode {
  readonly socket: Socket.Socket
  /** The TCP socket of the present connection; undefined while there is none. */
  readonly beneathUnsafe: () => NetSocket | undefined
  /** Speaks NDJSON, whatever TCP and TLS do. */
  readonly isText: boolean
}

const portDefault = 7070

export const socketTo = Effect.fnUntraced(function* (
  text: string,
  options: LedgerClientOptions,
  limits: ClientLimits
) {
  const invalid = () => new LedgerUrlInvalid({ url: text })
  const url = yield* Effect.fromResult(Result.try({ try: () => new URL(text), catch: invalid }))
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
  const port = url.port === "" ? portDefault : Number(url.port)
  if (host === "") return yield* invalid()
  switch (url.protocol) {
    case "tcp:":
    case "tls:":
      return yield* streamTo({ host, port, ca: options.ca, isSecure: url.protocol === "tls:" }, limits)
    case "ws:":
    case "wss:":
      return yield* webSocketTo(text, options, limits)
    default:
      return yield* invalid()
  }
})

interface NodeAddress {
  readonly host: string
  readonly port: number
  readonly ca: string | undefined
  readonly isSecure: boolean
}

/** TCP, or TLS over a connection that is opened before it: the socket of TLS does not show what of its bytes has left. */
const streamTo = (to: NodeAddress, { connectMs }: ClientLimits) =>
  Effect.suspend(() => {
    let beneath: NetSocket | undefined
    const connected = Effect.gen(function* () {
      const { host, port } = to
      let [outer, isOpen]: [NetSocket | undefined, boolean] = [undefined, false]
      yield* Effect.addFinalizer(() =>
        // The end of a socket of TLS is that of the one beneath.
        Effect.sync(() => {
          if (isOpen) return outer?.destroySoon()
          outer?.destroy()
          beneath?.destroy()
        })
      )
      beneath = createConnection({ host, port, noDelay: true })
      yield* opening(beneath, "connect")
      outer = to.isSecure ? connectTls({ socket: beneath, host, ...trustOf(to) }) : beneath
      if (to.isSecure) yield* opening(outer, "secureConnect")
      isOpen = true
      return outer
    })
    return Effect.map(
      fromDuplex(connected, { openTimeout: connectMs }),
      (socket): SocketToNode => ({ socket, beneathUnsafe: () => beneath, isText: false })
    )
  })

const trustOf = ({ host, ca }: NodeAddress) => ({
  ...(ca === undefined ? {} : { ca }),
  // The protocol allows no IP address as the name of a server.
  ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host })
})

/** Waits for the event by which a socket is open. Its errors are listened to for as long as it lives: they would end the process. */
const opening = (socket: NetSocket, event: "connect" | "secureConnect") =>
  Effect.callback<void, Socket.SocketError>((resume) => {
    socket.once(event, () => resume(Effect.void))
    socket.on("error", (cause) => {
      const reason = new Socket.SocketOpenError({ kind: "Unknown", cause })
      resume(Effect.fail(new Socket.SocketError({ reason })))
    })
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
  const socket = yield* Socket.makeWebSocket(url, { openTimeout: connectMs }).pipe(
    Effect.provideService(Socket.WebSocketConstructor, construct)
  )
  return { socket, beneathUnsafe: () => connection, isText: true } satisfies SocketToNode
})
