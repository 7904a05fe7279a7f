/** Sockets enter; calls that were let in reach the RPC server, answers go back, and no peer takes more than its share. */
import { Clock, Context, Effect, Layer, Queue, Result, type Scope } from "effect"
import { type RpcMessage, RpcSerialization, RpcServer } from "effect/rpc"
import type { Socket } from "effect/socket"
import { Overloaded, Unavailable } from "../../domain/Errors.ts"
import { isProcedure, isStreaming, type Procedure } from "../LedgerRpc.ts"
import { type AdmissionError, Authenticator, callerHeader } from "./Authenticator.ts"
import { Connection } from "./Connection.ts"
import type { Call, Message } from "./Envelope.ts"
import { tolerantOfPayloads } from "./Payloads.ts"
import { makeRefusalExits } from "./RefusalExits.ts"
import { RefusalLog } from "./RefusalLog.ts"
import { RpcConfig } from "./RpcLimits.ts"

/** Where a socket comes from. */
export interface Origin {
  /** The address of the peer, for its limit and the log. */
  readonly peer: string
  /** The `Authorization` header of a WebSocket's request, which then stands for all its calls. */
  readonly authorization?: string | undefined
}

/** How often silent and stuck connections are looked for, in milliseconds. */
const lookMs = 1_000
/** How often a closing node looks whether all is answered, in milliseconds. */
const drainLookMs = 5

export class Connections extends Context.Service<
  Connections,
  {
    /** Serves one socket until it ends. */
    readonly serve: (socket: Socket.Socket, origin: Origin) => Effect.Effect<void, never, Scope.Scope>
    readonly countUnsafe: () => number
    /** Refuses what comes from now on, and waits, bounded, until the calls under way are answered. */
    readonly drain: Effect.Effect<void>
  }
>()("chronicle/rpc/Connections") {}

/** What effect's server speaks through, and the service that feeds it; one for each serialization. */
export const layer: Layer.Layer<
  Connections | RpcServer.Protocol,
  never,
  Authenticator | RefusalLog | RpcSerialization.RpcSerialization
> = Layer.effectContext(Effect.suspend(() => make))

const make = Effect.gen(function* () {
  const serialization = yield* RpcSerialization.RpcSerialization
  const authenticator = yield* Authenticator
  const refusals = yield* RefusalLog
  const limits = yield* RpcConfig
  const clock = yield* Clock.Clock
  const disconnects = yield* Queue.make<number>()
  const connections = new Map<number, Connection>()
  const peers = new Map<string, number>()
  const exitOf = makeRefusalExits(serialization.codecFor)
  let nextId = 0
  let buffered = 0
  let isClosing = false
  let handOn: (clientId: number, message: RpcMessage.FromClientEncoded) => Effect.Effect<void> = () =>
    Effect.void

  const refusalOf = (
    connection: Connection,
    call: Call,
    procedure: Procedure
  ): Result.Result<string, AdmissionError | Unavailable> => {
    if (isClosing) return Result.fail(new Unavailable({ what: "this node", reason: "it is closing" }))
    const full = (what: string) => Result.fail(new Overloaded({ what, retryAfterMs: 10 }))
    if (connection.calls.size >= limits.inFlightPerConnectionMax) return full("this connection")
    if (isStreaming(procedure) && connection.streams >= limits.streamsPerConnectionMax)
      return full("the number of streams of this connection")
    const authorization = call.authorization ?? connection.authorization
    return Result.map(
      authenticator.admitUnsafe(procedure, authorization, connection.identity),
      (caller) => caller.name
    )
  }

  /** Before the payload is decoded: a refused call costs its head alone. False: the connection is to end. */
  const receiveCall = Effect.fnUntraced(function* (connection: Connection, call: Call) {
    const { id, tag, payload, span } = call
    if (connection.calls.has(id)) return yield* broken(connection, "two calls under way have one id")
    if (!isProcedure(tag)) return yield* broken(connection, "a call of a procedure that does not exist")
    const admitted = refusalOf(connection, call, tag)
    if (Result.isSuccess(admitted)) {
      connection.begin(id, isStreaming(tag))
      const headers: ReadonlyArray<[string, string]> = [[callerHeader, admitted.success]]
      yield* handOn(connection.id, { _tag: "Request", id, tag, payload, headers, ...span })
      return true
    }
    const error = admitted.failure
    yield* connection.write({ _tag: "Exit", requestId: id, exit: exitOf(tag, error) })
    if (error._tag === "Overloaded" || error._tag === "Unavailable") return true
    const caller = connection.identity.caller?.name ?? "an unknown caller"
    yield* refusals.log(`${caller} at ${connection.peer}`, `${tag}: ${error.message}`)
    return ++connection.refusals < limits.refusalsMax
  })

  const broken = (connection: Connection, reason: string) =>
    Effect.as(refusals.log(connection.peer, `${reason}; the connection is closed`), false)

  const receive = (connection: Connection, message: Message): Effect.Effect<boolean> =>
    message._tag === "Call"
      ? receiveCall(connection, message.call)
      : Effect.as(handOn(connection.id, message.message), true)

  /** False ends the connection. */
  const process = Effect.fnUntraced(function* (connection: Connection, data: Uint8Array | string) {
    const before = connection.buffered
    const received = connection.receiveUnsafe(data, clock.currentTimeMillisUnsafe())
    buffered += connection.buffered - before
    if (received._tag === "Broken") return yield* broken(connection, received.reason)
    for (const message of received.messages) if (!(yield* receive(connection, message))) return false
    if (connection.buffered > limits.messageBytesMax && received.messages.length === 0)
      return yield* broken(connection, "a message above the largest")
    if (received.messages.length === 0 && buffered > limits.bufferBytesMax)
      return yield* broken(connection, "all connections together hold too many unfinished messages")
    return true
  })

  const serveUntilEnd = Effect.fnUntraced(function* (socket: Socket.Socket, { peer, authorization }: Origin) {
    const held = peers.get(peer) ?? 0
    // A socket is only ever closed by the end of its reader.
    const { pull } = yield* socket.reader
    if (isClosing) return
    if (connections.size >= limits.connectionsMax || held >= limits.connectionsPerPeerMax) {
      const counts = `${held} of this peer, ${connections.size} of all`
      return yield* refusals.log(peer, `too many connections (${counts})`)
    }
    const id = nextId++
    const connection = new Connection({
      id,
      peer,
      authorization,
      now: clock.currentTimeMillisUnsafe(),
      writer: yield* socket.writer,
      parser: serialization.makeUnsafe()
    })
    connections.set(id, connection)
    peers.set(peer, held + 1)
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        connections.delete(id)
        buffered -= connection.buffered
        const left = (peers.get(peer) ?? 1) - 1
        if (left === 0) peers.delete(peer)
        else peers.set(peer, left)
        return Effect.andThen(connection.close, Queue.offer(disconnects, id))
      })
    )
    yield* Effect.forkScoped(Effect.ignore(connection.pump(clock)))
    for (;;) {
      for (const data of yield* pull) if (!(yield* process(connection, data))) return
    }
  })
  const serve = (socket: Socket.Socket, origin: Origin) => Effect.ignore(serveUntilEnd(socket, origin))

  const look = Effect.suspend(() => {
    const now = clock.currentTimeMillisUnsafe()
    const lost = [...connections.values()].filter(
      ({ heardAt, calls, stuckSince }) =>
        (calls.size === 0 && now - heardAt > limits.idleMs) ||
        (stuckSince !== undefined && now - stuckSince > limits.stuckMs)
    )
    return Effect.forEach(lost, (connection) => connection.destroy, { discard: true })
  })
  yield* look.pipe(Effect.delay(lookMs), Effect.forever, Effect.forkScoped)

  const drain = Effect.suspend(() => {
    isClosing = true
    const isBusy = () => [...connections.values()].some(({ calls, streams }) => calls.size > streams)
    if (!isBusy()) return Effect.void
    return Effect.sleep(drainLookMs).pipe(
      Effect.repeat({ while: isBusy }),
      Effect.timeoutOption(limits.drainMs),
      Effect.asVoid
    )
  })

  const protocol = yield* RpcServer.Protocol.make((writeRequest) => {
    handOn = writeRequest
    return Effect.succeed({
      disconnects,
      send: (clientId: number, response: RpcMessage.FromServerEncoded) => {
        const connection = connections.get(clientId)
        if (connection === undefined) return Effect.void
        const write = connection.write(response)
        if (response._tag !== "Exit") return write
        // Until the peer has taken the answer it counts as under way: a peer that does not read gets no more of them.
        return Effect.ensuring(
          write,
          Effect.sync(() => connection.end(response.requestId))
        )
      },
      end: () => Effect.void,
      clientIds: Effect.sync(() => new Set(connections.keys())),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true,
      supportsNotifications: false,
      codecFor: tolerantOfPayloads(serialization.codecFor)
    })
  })

  return Context.make(RpcServer.Protocol, protocol).pipe(
    Context.add(Connections, {
      serve,
      drain,
      countUnsafe: () => connections.size
    })
  )
})
