/**
 * The connections of the HTTP server and what they may hold: how many there are, of each peer and in all, the bytes of bodies and of answers, the
 * open streams, and how long a peer may take nothing of what is sent to it. It exists because Node bounds none of these.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { Clock, Context, Deferred, Effect, Layer, type Scope } from "effect"
import type { HttpServerRequest } from "effect/http"
import type { ConnectionIdentity } from "../../access/Authenticator.ts"
import { RefusalLog } from "../../access/RefusalLog.ts"
import type { Caller } from "../../access/Tokens.ts"
import { Overloaded } from "../../domain/Errors.ts"
import { StuckPeers } from "../../infra/cluster/StuckPeers.ts"
import { socketOf } from "../../infra/sockets/RequestSocket.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { HttpConfig, type httpLimits } from "./HttpLimits.ts"

/** Bytes that may wait for each peer besides: twice what a stream of events has waiting. */
const besidesMax = 262_144
/** How often stuck connections are looked for, in milliseconds. */
const checkMs = 1_000
/** What a caller is told to wait when a bound of the server is reached, in milliseconds. */
const retryAfterMs = 1_000
/** The share of the room for bodies that batches may have: what is left is there for single commands, whatever batches come. */
const batchesShare = 0.75

/** What is refused or closed because of a bound of this server: connections, requests of one of them, those beyond a caller's rate, … */
const bounds = ["connections", "requests", "rate", "bodies", "streams", "answers"] as const
type Bound = (typeof bounds)[number]

/** The room for the body of one request. */
export interface BodyRoom {
  /** It has so many bytes from now on; fails, and has as many as before, where there are not so many. */
  readonly resize: (bytes: number) => Effect.Effect<void, Overloaded>
}

export class HttpConnections extends Context.Service<
  HttpConnections,
  {
    /** The state of the connection by which a request came; a new one where it came by none, as in a test in memory. */
    readonly stateOf: (request: HttpServerRequest.HttpServerRequest) => {
      /** Whose token it showed last. */
      readonly identity: ConnectionIdentity
      /** How often it was refused. */
      refusals: number
    }
    /** Whether more requests of its connection are unanswered than may be, this one included. */
    readonly isFullUnsafe: (request: HttpServerRequest.HttpServerRequest) => boolean
    /** Counts and bounds the connections of a server for as long as the scope lives. */
    readonly watch: (server: Server) => Effect.Effect<void, never, Scope.Scope>
    /** Room for the body of a request until the scope ends, of which it has nothing yet. */
    readonly openBody: (
      request: HttpServerRequest.HttpServerRequest,
      caller: Caller,
      kind: "command" | "batch"
    ) => Effect.Effect<BodyRoom, never, Scope.Scope>
    /** Takes room for one stream of a caller until the scope ends. */
    readonly openStream: (caller: Caller) => Effect.Effect<void, Overloaded, Scope.Scope>
    /** Counts something that was refused because of a bound. */
    readonly countUnsafe: (bound: Bound) => void
    /** How often that happened, by bound. */
    readonly countsUnsafe: () => ReadonlyArray<readonly [Bound, number]>
    readonly isClosingUnsafe: () => boolean
    /** Ends when the node begins to close: streams of events end with it. */
    readonly closing: Effect.Effect<void>
    /** Refuses requests and ends streams from now on. */
    readonly close: Effect.Effect<void>
  }
>()("chronicle/http/HttpConnections") {
  static readonly layer = Layer.effect(
    HttpConnections,
    Effect.suspend(() => make)
  )
}

type ConnectionState = ReturnType<HttpConnections["Service"]["stateOf"]>

const newState = (): ConnectionState => ({ identity: { token: undefined, caller: undefined }, refusals: 0 })

/** Counts of something that several holders share, each bounded, and all of them together. */
class Shares {
  readonly #held = new Map<unknown, number>()
  readonly #max: number
  readonly #perHolderMax: number
  #all = 0

  constructor(max: number, perHolderMax: number) {
    this.#max = max
    this.#perHolderMax = perHolderMax
  }

  take(holder: unknown, amount = 1): boolean {
    const held = (this.#held.get(holder) ?? 0) + amount
    if (this.#all + amount > this.#max || held > this.#perHolderMax) return false
    this.#held.set(holder, held)
    this.#all += amount
    return true
  }

  giveBack(holder: unknown, amount = 1): void {
    const left = (this.#held.get(holder) ?? 0) - amount
    if (left > 0) this.#held.set(holder, left)
    else this.#held.delete(holder)
    this.#all -= amount
  }
}

/**
 * The answers under way, by connection. At the end of the server each connection closes behind its last answer: Node closes those that are
 * idle at that moment and waits for the others, which their clients would keep open for as long as the server lets them.
 */
class AnswersUnderWay {
  readonly #open = new Map<Socket, Set<ServerResponse>>()
  isClosing = false

  watch(server: Server): Effect.Effect<void, never, Scope.Scope> {
    // A request that waits for "100 Continue" before it sends its body comes by an event of its own.
    const events = ["request", "checkContinue"]
    const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
      this.#add(request, response)
    return Effect.acquireRelease(
      Effect.sync(() => {
        for (const event of events) server.on(event, onRequest)
      }),
      () =>
        Effect.sync(() => {
          for (const event of events) server.off(event, onRequest)
        })
    )
  }

  #add({ socket }: IncomingMessage, response: ServerResponse): void {
    const open = this.#open.get(socket) ?? new Set()
    this.#open.set(socket, open.add(response))
    if (this.isClosing) sayLast(open)
    response.once("close", () => {
      open.delete(response)
      if (open.size > 0) return
      this.#open.delete(socket)
      // An answer that had begun before could not say that it is the last one.
      if (this.isClosing) socket.destroySoon()
    })
  }

  count(socket: Socket): number {
    return this.#open.get(socket)?.size ?? 0
  }

  close(): void {
    this.isClosing = true
    for (const open of this.#open.values()) sayLast(open)
  }

  /**
   * Where more than `bytesMax` bytes wait for all peers together, beyond what may wait for each, the connections for which most waits, as many as leave room for the others.
   * What is behind an answer that is not taken, of requests that were sent without a wait for it, waits as well.
   */
  beyond(bytesMax: number): ReadonlyArray<Socket> {
    const waiting = [...this.#open].map(([socket, open]) => {
      let bytes = -besidesMax
      // What waits for one that is destroyed is dropped with it, though its answers still tell of it.
      if (!socket.destroyed) for (const response of open) bytes += response.writableLength
      return { socket, bytes: Math.max(0, bytes) }
    })
    let over = waiting.reduce((sum, { bytes }) => sum + bytes, -bytesMax)
    const ended: Array<Socket> = []
    if (over <= 0) return ended
    for (const { socket, bytes } of waiting.toSorted((a, b) => b.bytes - a.bytes)) {
      if (over <= 0) break
      over -= bytes
      ended.push(socket)
    }
    return ended
  }
}

/**
 * Says with the last of a connection's answers that none comes after it. Node closes the connection behind an answer that says so, and those
 * of requests that were sent behind it, without a wait for its answer, would never be sent.
 */
const sayLast = (open: ReadonlySet<ServerResponse>): void => {
  const last = [...open].at(-1)
  for (const response of open) if (!response.headersSent) response.shouldKeepAlive = response !== last
}

/** Destroys the sockets and waits until they are closed: only then one with TLS on top of them is destroyed as well. */
const closeAll = (sockets: ReadonlyArray<Socket>): Effect.Effect<void> =>
  Effect.suspend(() => {
    for (const socket of sockets) socket.destroy()
    return Effect.forEach(
      sockets,
      (socket) =>
        socket.closed
          ? Effect.void
          : Effect.callback<void>((resume) => {
              socket.once("close", () => resume(Effect.void))
            }),
      { discard: true }
    )
  })

/** Watches the connections of a server: how many there are, and what waits for their peers, for how long and how much. */
const makeWatch = Effect.fnUntraced(function* (answers: AnswersUnderWay, count: (bound: Bound) => void) {
  const limits = yield* HttpConfig
  const refusals = yield* RefusalLog
  const clock = yield* Clock.Clock
  return Effect.fnUntraced(function* (server: Server) {
    const stuck = new StuckPeers(clock, limits.stuckMs)
    const ofPeers = new Shares(limits.connectionsMax, limits.connectionsPerPeerMax)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const onConnection = (socket: Socket): void => {
      const peer = socket.remoteAddress ?? "an unknown address"
      if (!ofPeers.take(peer)) {
        count("connections")
        socket.destroy()
        run(refusals.log("http", peer, "too many connections"))
        return
      }
      socket.once("close", () => ofPeers.giveBack(peer))
      stuck.add(socket)
    }
    server.on("connection", onConnection)
    yield* Effect.addFinalizer(() => Effect.sync(() => server.off("connection", onConnection)))
    yield* answers.watch(server)
    const endStuck = Effect.flatMap(stuck.find, closeAll)
    const reason = "too many answers wait for all peers; the connection is closed"
    const endFullest = Effect.suspend(() =>
      Effect.forEach(
        answers.beyond(limits.answersBytesMax),
        (socket) => {
          const peer = socket.remoteAddress ?? "an unknown address"
          count("answers")
          socket.destroy()
          return refusals.log("http", peer, reason)
        },
        { discard: true }
      )
    )
    yield* stuck.awaitSome.pipe(
      Effect.andThen(Effect.sleep(checkMs)),
      Effect.andThen(endStuck),
      Effect.andThen(endFullest),
      goesOn("looking for stuck peers"),
      Effect.forever,
      Effect.forkScoped
    )
  })
})

/** The room for bodies, of which each holder has a share, and batches together have one. */
const makeBodies = (
  { batchBytesMax, bufferBytesMax, bufferBytesPerCallerMax }: typeof httpLimits.schema.Type,
  overloaded: (bound: Bound, what: string) => Effect.Effect<never, Overloaded>
) => {
  // The share of batches has room for one, however long those may be.
  const bytesMin = Math.ceil(batchBytesMax / batchesShare)
  const max = Math.max(bufferBytesMax, bytesMin)
  const perHolderMax = Math.max(bufferBytesPerCallerMax, bytesMin)
  const all = new Shares(max, perHolderMax)
  const ofBatches = new Shares(max * batchesShare, perHolderMax * batchesShare)
  return (holder: unknown, kind: "command" | "batch"): BodyRoom => {
    let has = 0
    const take = (bytes: number): boolean => {
      if (kind === "batch" && !ofBatches.take(holder, bytes)) return false
      if (all.take(holder, bytes)) return true
      if (kind === "batch") ofBatches.giveBack(holder, bytes)
      return false
    }
    const giveBack = (bytes: number): void => {
      all.giveBack(holder, bytes)
      if (kind === "batch") ofBatches.giveBack(holder, bytes)
    }
    return {
      resize: (bytes) =>
        Effect.suspend(() => {
          if (bytes > has && !take(bytes - has))
            return overloaded("bodies", "the room for bodies of requests")
          if (bytes < has) giveBack(has - bytes)
          has = bytes
          return Effect.void
        })
    }
  }
}

const make = Effect.gen(function* () {
  const limits = yield* HttpConfig
  const closing = yield* Deferred.make<void>()
  const states = new WeakMap<Socket, ConnectionState>()
  const counts = new Map<Bound, number>(bounds.map((bound) => [bound, 0]))
  const countUnsafe = (bound: Bound): void => void counts.set(bound, (counts.get(bound) ?? 0) + 1)
  const overloaded = (bound: Bound, what: string) =>
    Effect.suspend(() => {
      countUnsafe(bound)
      return Effect.fail(new Overloaded({ what, retryAfterMs }))
    })
  const bodyOf = makeBodies(limits, overloaded)
  const streams = new Shares(limits.streamsMax, limits.streamsPerCallerMax)
  const answers = new AnswersUnderWay()
  const watch = yield* makeWatch(answers, countUnsafe)

  const stateOf = (request: HttpServerRequest.HttpServerRequest): ConnectionState => {
    const socket = socketOf(request)
    if (socket === undefined) return newState()
    const known = states.get(socket)
    if (known !== undefined) return known
    const state = newState()
    states.set(socket, state)
    return state
  }

  return {
    stateOf,
    isFullUnsafe: (request) => {
      const socket = socketOf(request)
      return socket !== undefined && answers.count(socket) > limits.inFlightPerConnectionMax
    },
    watch,
    // Without tokens all callers are one: each connection has a share then.
    openBody: (request, caller, kind) =>
      Effect.acquireRelease(
        Effect.sync(() => bodyOf(caller.isAuthenticated ? caller : stateOf(request), kind)),
        // To have less never fails.
        ({ resize }) => Effect.ignore(resize(0))
      ),
    openStream: (caller) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.suspend(() =>
            streams.take(caller)
              ? Effect.void
              : overloaded("streams", `the number of streams of ${caller.name}`)
          ),
          () => Effect.sync(() => streams.giveBack(caller))
        )
      ),
    countUnsafe,
    countsUnsafe: () => [...counts],
    isClosingUnsafe: () => answers.isClosing,
    closing: Deferred.await(closing),
    close: Effect.suspend(() => {
      answers.close()
      return Effect.asVoid(Deferred.succeed(closing, undefined))
    })
  } satisfies HttpConnections["Service"]
})
