/**
 * The connections of one listener, between its sockets and effect's RPC server. It exists because that server trusts its peers: here
 * each call is authenticated on its head alone, and connections, bytes, calls and streams are bounded for each peer.
 */
import type { Socket as NetSocket } from "node:net"
import { Clock, Context, Effect, Latch, Layer, Queue, Result, type Scope } from "effect"
import { type RpcMessage, RpcSerialization, RpcServer } from "effect/rpc"
import type { Socket } from "effect/socket"
import { type AdmissionError, Authenticator, callerHeader } from "../../access/Authenticator.ts"
import { RefusalLog } from "../../access/RefusalLog.ts"
import { Overloaded, Unavailable } from "../../domain/Errors.ts"
import { StuckPeers } from "../../infra/cluster/StuckPeers.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { isProcedure, isStreaming, type Procedure, scopeOf } from "../LedgerRpc.ts"
import { Connection, type UnfinishedMessages, type WaitingAnswers } from "./Connection.ts"
import type { Call, Message } from "./Envelope.ts"
import { tolerantOfPayloads } from "./Payloads.ts"
import { makeRefusalExits } from "./RefusalExits.ts"
import { RpcConfig, type RpcLimits } from "./RpcLimits.ts"

/** Where a socket comes from. */
export interface Origin {
  /** The address of the peer, for its limit and the log. */
  readonly peer: string
  /** The `Authorization` header of a WebSocket's request, which then stands for all its calls. */
  readonly authorization?: string | undefined
  /** The socket beneath, by which it is told whether the peer takes what is written to it. */
  readonly socket?: NetSocket | undefined
  /** What a connection with TLS needs, whose handshake is done after the connection was counted. */
  readonly tls?: Socket.TlsUpgradeOptions | undefined
}

/** How often silent and stuck connections are looked for, in milliseconds. */
const checkMs = 1_000
/** How often a closing node looks whether all calls are answered, in milliseconds. */
const drainCheckMs = 5
/** How long a peer may take for its part of the TLS handshake, in milliseconds. */
const handshakeMs = 10_000

export class Connections extends Context.Service<
  Connections,
  {
    /** Serves one socket until it ends. */
    readonly serve: (socket: Socket.Socket, origin: Origin) => Effect.Effect<void, never, Scope.Scope>
    /** Refuses new connections and calls from now on, and waits, bounded, until the calls under way are answered. */
    readonly drain: Effect.Effect<void>
  }
>()("chronicle/rpc/Connections") {}

/** The protocol that effect's server speaks, and the service that feeds it; one of both for each listener. */
export const layer: Layer.Layer<
  Connections | RpcServer.Protocol,
  never,
  Authenticator | RefusalLog | RpcSerialization.RpcSerialization
> = Layer.effectContext(Effect.suspend(() => make))

/** Hands a message to effect's server. */
type Forward = (clientId: number, message: RpcMessage.FromClientEncoded) => Effect.Effect<void>

/** The open connections and what they hold together, counted from the moment a socket is accepted. */
class OpenConnections {
  readonly all = new Map<number, Connection>()
  isClosing = false
  readonly unfinished: UnfinishedMessages = { admitted: 0, others: 0 }
  readonly answers: WaitingAnswers = { bytes: 0 }
  /** Set once effect's server runs. */
  forward: Forward = () => Effect.void
  readonly #limits: RpcLimits
  readonly #ofPeer = new Map<string, number>()
  readonly #hasSome = Latch.makeUnsafe(false)
  #nextId = 0

  constructor(limits: RpcLimits) {
    this.#limits = limits
  }

  /** Why a peer may have no further connection; undefined where it may. */
  fullFor(peer: string): string | undefined {
    const held = this.#ofPeer.get(peer) ?? 0
    return this.all.size >= this.#limits.connectionsMax || held >= this.#limits.connectionsPerPeerMax
      ? `too many connections (${held} of this peer, ${this.all.size} of all)`
      : undefined
  }

  add(
    options: Omit<ConstructorParameters<typeof Connection>[0], "id" | "answers" | "unfinished">
  ): Connection {
    const { answers, unfinished } = this
    const connection = new Connection({ ...options, id: this.#nextId++, answers, unfinished })
    this.all.set(connection.id, connection)
    this.#hasSome.openUnsafe()
    this.#ofPeer.set(connection.peer, (this.#ofPeer.get(connection.peer) ?? 0) + 1)
    return connection
  }

  remove(connection: Connection): void {
    this.all.delete(connection.id)
    const left = (this.#ofPeer.get(connection.peer) ?? 1) - 1
    if (left === 0) this.#ofPeer.delete(connection.peer)
    else this.#ofPeer.set(connection.peer, left)
  }

  /** Where more waits for all peers together than may, the connection for which most waits. */
  tooFull(): Connection | undefined {
    if (this.answers.bytes <= this.#limits.answersBytesMax) return undefined
    let fullest: Connection | undefined
    for (const connection of this.all.values())
      if (connection.beyondBytes > (fullest?.beyondBytes ?? 0)) fullest = connection
    return fullest
  }

  /**
   * Where more is held of unfinished messages than may be, of the peer that holds most the connection that holds most: what others send
   * is not for it to end. Half of it those may hold of which no call was admitted, so that they leave room for callers.
   */
  tooUnfinished(): Connection | undefined {
    const { admitted, others } = this.unfinished
    const { bufferBytesMax } = this.#limits
    if (admitted + others <= bufferBytesMax && others <= bufferBytesMax / 2) return undefined
    const isOfCallers = others <= bufferBytesMax / 2
    const ofPeers = new Map<string, { bytes: number; fullest: Connection }>()
    for (const connection of this.all.values()) {
      const { peer, unfinishedBytes, isAdmitted } = connection
      if (unfinishedBytes === 0 || isAdmitted !== isOfCallers) continue
      const { bytes, fullest } = ofPeers.get(peer) ?? { bytes: 0, fullest: connection }
      ofPeers.set(peer, {
        bytes: bytes + unfinishedBytes,
        fullest: unfinishedBytes > fullest.unfinishedBytes ? connection : fullest
      })
    }
    let most: { bytes: number; fullest: Connection } | undefined
    for (const one of ofPeers.values()) if (one.bytes > (most?.bytes ?? 0)) most = one
    return most?.fullest
  }

  /** Completes while there are connections. */
  readonly awaitSome: Effect.Effect<void> = Effect.suspend(() => {
    if (this.all.size === 0) this.#hasSome.closeUnsafe()
    return Effect.asVoid(this.#hasSome.await)
  })

  /** Connections that are silent for too long, or for too long in the middle of a message. To be asked now and then. */
  silent(now: number): ReadonlyArray<Connection> {
    const { idleMs, messageMs } = this.#limits
    const all = [...this.all.values()]
    for (const connection of all) connection.lookUnsafe(now)
    return all.filter(
      ({ heardAt, messageSince, calls }) =>
        calls.size === 0 && (now - heardAt > idleMs || now - (messageSince ?? now) > messageMs)
    )
  }

  /** Whether a call is under way that is no stream, which might never end. */
  isAnswering(): boolean {
    return [...this.all.values()].some(({ calls, streams }) => calls.size > streams)
  }
}

const make = Effect.gen(function* () {
  const { makeUnsafe, codecFor, contentType } = yield* RpcSerialization.RpcSerialization
  const isText = contentType === "application/x-ndjson"
  const limits = yield* RpcConfig
  const clock = yield* Clock.Clock
  const open = new OpenConnections(limits)
  const disconnects = yield* Queue.make<number>()
  const peers = new StuckPeers(clock, limits.stuckMs)
  const refusals = yield* RefusalLog

  /** Closes connections until nothing is too full. */
  const makeRoomBy = (tooFull: () => Connection | undefined, reason: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      const fullest = tooFull()
      if (fullest === undefined) return Effect.void
      return fullest.cut.pipe(
        Effect.andThen(refusals.log("rpc", fullest.peer, `${reason}; the connection is closed`)),
        Effect.andThen(makeRoomBy(tooFull, reason))
      )
    })
  const makeRoom = makeRoomBy(() => open.tooFull(), "too many answers wait for all peers")
  const makeRoomForMessages = makeRoomBy(
    () => open.tooUnfinished(),
    "all connections together hold too many unfinished messages"
  )
  const serveUntilEnd = yield* makeServe(open, disconnects, peers, makeRoomForMessages)

  const endLost = Effect.gen(function* () {
    for (const connection of open.silent(elapsedMsUnsafe(clock))) yield* connection.destroy
    yield* makeRoomForMessages
    // Without a word of farewell, for which a WebSocket would wait with all that is behind it. Their readers see the end.
    for (const socket of yield* peers.find) socket.destroy()
  })
  // Each socket that is watched was that of an open connection, and may be left when this is none any more.
  yield* Effect.raceFirst(open.awaitSome, peers.awaitSome).pipe(
    Effect.andThen(Effect.sleep(checkMs)),
    Effect.andThen(endLost),
    goesOn("looking for lost peers"),
    Effect.forever,
    Effect.forkScoped
  )

  const drain = Effect.suspend(() => {
    open.isClosing = true
    if (!open.isAnswering()) return Effect.void
    return Effect.sleep(drainCheckMs).pipe(
      Effect.repeat({ while: () => open.isAnswering() }),
      Effect.timeoutOption(limits.drainMs),
      Effect.asVoid
    )
  })

  const protocol = yield* makeProtocol(open, disconnects, codecFor, makeRoom)
  return Context.make(RpcServer.Protocol, protocol).pipe(
    Context.add(Connections, {
      serve: (socket, origin) =>
        Effect.ignore(serveUntilEnd(socket, origin, { parser: makeUnsafe(), isText })),
      drain
    })
  )
})

/** The way of one socket: counted, its handshake done, its bytes read until its end. */
const makeServe = Effect.fnUntraced(function* (
  open: OpenConnections,
  disconnects: Queue.Queue<number>,
  peers: StuckPeers,
  makeRoomForMessages: Effect.Effect<void>
) {
  const refusals = yield* RefusalLog
  const clock = yield* Clock.Clock
  const receive = yield* makeReceive(open, makeRoomForMessages)

  return Effect.fnUntraced(function* (
    socket: Socket.Socket,
    { peer, authorization, socket: beneath, tls }: Origin,
    form: Pick<ConstructorParameters<typeof Connection>[0], "parser" | "isText">
  ) {
    // Only the end of its reader closes a socket, so the reader comes before anything that may refuse the socket.
    const { pull, upgrade } = yield* socket.reader
    const writer = yield* socket.writer
    if (open.isClosing) return
    const full = open.fullFor(peer)
    if (full !== undefined) return yield* refusals.log("rpc", peer, full)
    const connection = open.add({
      peer,
      authorization,
      now: elapsedMsUnsafe(clock),
      socket: beneath,
      writer,
      ...form
    })
    yield* Effect.addFinalizer(() => {
      open.remove(connection)
      return Effect.andThen(connection.close, Queue.offer(disconnects, connection.id))
    })
    if (beneath !== undefined) peers.add(beneath)
    // A peer that only ever begins handshakes is counted as one that calls.
    if (tls !== undefined) yield* Effect.timeout(upgrade(tls), handshakeMs)
    yield* Effect.forkScoped(Effect.ignore(connection.pump))
    for (;;) {
      for (const data of yield* pull) if (!(yield* receive(connection, data))) return
    }
  })
})

/** Takes the bytes of a connection; false where the connection is to end. */
const makeReceive = Effect.fnUntraced(function* (
  open: OpenConnections,
  makeRoomForMessages: Effect.Effect<void>
) {
  const refusals = yield* RefusalLog
  const limits = yield* RpcConfig
  const clock = yield* Clock.Clock
  const receiveCall = yield* makeReceiveCall(open)

  const broken = (connection: Connection, reason: string) =>
    Effect.as(refusals.log("rpc", connection.peer, `${reason}; the connection is closed`), false)

  const receiveMessage = (connection: Connection, message: Message): Effect.Effect<boolean> => {
    if (message._tag !== "Call") return Effect.as(open.forward(connection.id, message.message), true)
    const { call } = message
    if (connection.calls.has(call.id)) return broken(connection, "two calls under way have one id")
    return isProcedure(call.tag)
      ? receiveCall(connection, call, call.tag)
      : broken(connection, "a call of a procedure that does not exist")
  }

  return Effect.fnUntraced(function* (connection: Connection, data: Uint8Array | string) {
    if (connection.isClosed) return false
    const received = connection.receiveUnsafe(data, elapsedMsUnsafe(clock))
    if (received._tag === "Broken") return yield* broken(connection, received.reason)
    for (const message of received.messages) {
      // A refusal may have waited for the peer until its connection was closed: what is behind it would be carried out for no caller.
      if (connection.isClosed || !(yield* receiveMessage(connection, message))) return false
    }
    if (connection.unfinishedBytes > limits.messageBytesMax && received.messages.length === 0)
      return yield* broken(connection, "a message above the largest")
    yield* makeRoomForMessages
    return !connection.isClosed
  })
})

/** Admits a call or refuses it, before its payload is decoded: a refused call costs its head alone. */
const makeReceiveCall = Effect.fnUntraced(function* (open: OpenConnections) {
  const { codecFor } = yield* RpcSerialization.RpcSerialization
  const authenticator = yield* Authenticator
  const refusals = yield* RefusalLog
  const limits = yield* RpcConfig
  const exitOf = makeRefusalExits(codecFor)

  const admit = (
    connection: Connection,
    call: Call,
    procedure: Procedure
  ): Result.Result<string, AdmissionError | Unavailable> => {
    if (open.isClosing) return Result.fail(new Unavailable({ what: "this node", reason: "it is closing" }))
    const full = (what: string) => Result.fail(new Overloaded({ what, retryAfterMs: 10 }))
    if (connection.calls.size >= limits.inFlightPerConnectionMax) return full("this connection")
    if (isStreaming(procedure) && connection.streams >= limits.streamsPerConnectionMax)
      return full("the number of streams of this connection")
    const authorization = call.authorization ?? connection.authorization
    const caller = authenticator.admitUnsafe(scopeOf(procedure), authorization, connection.identity)
    return Result.map(caller, ({ name }) => name)
  }

  return Effect.fnUntraced(function* (connection: Connection, call: Call, procedure: Procedure) {
    const { id, tag, payload, span } = call
    const admitted = admit(connection, call, procedure)
    if (Result.isSuccess(admitted)) {
      connection.admitUnsafe()
      connection.begin(id, isStreaming(procedure))
      const headers: ReadonlyArray<[string, string]> = [[callerHeader, admitted.success]]
      yield* open.forward(connection.id, { _tag: "Request", id, tag, payload, headers, ...span })
      return true
    }
    const error = admitted.failure
    yield* connection.write({ _tag: "Exit", requestId: id, exit: exitOf(procedure, error) })
    if (error._tag === "Overloaded" || error._tag === "Unavailable") return true
    const caller = connection.identity.caller?.name ?? "an unknown caller"
    yield* refusals.log("rpc", `${caller} at ${connection.peer}`, `${tag}: ${error.message}`)
    return ++connection.refusals < limits.refusalsMax
  })
})

/** How effect's server reads calls from the connections and writes answers to them. */
const makeProtocol = (
  open: OpenConnections,
  disconnects: Queue.Queue<number>,
  codecFor: RpcSerialization.CodecFor,
  makeRoom: Effect.Effect<void>
) =>
  RpcServer.Protocol.make((forward) => {
    open.forward = forward
    return Effect.succeed({
      disconnects,
      send: (clientId: number, response: RpcMessage.FromServerEncoded) => {
        const connection = open.all.get(clientId)
        if (connection === undefined) return Effect.void
        const write = Effect.andThen(makeRoom, connection.write(response))
        if (response._tag !== "Exit") return write
        // A call counts as under way until the peer has taken the answer: a peer that does not read gets no more of them.
        return Effect.ensuring(
          write,
          Effect.sync(() => connection.end(response.requestId))
        )
      },
      end: () => Effect.void,
      clientIds: Effect.sync(() => new Set(open.all.keys())),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true,
      supportsNotifications: false,
      codecFor: tolerantOfPayloads(codecFor)
    })
  })
