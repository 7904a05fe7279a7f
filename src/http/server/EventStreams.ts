/**
 * Streams of events as server-sent events: each with the cursor after which a client that lost its connection goes on. A stream is
 * read as the client takes it, so a slow client costs its own stream alone.
 */
import { ServerResponse } from "node:http"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { type Array as Arr, Cause, Clock, Deferred, Effect, Latch, Option, type Scope, Stream } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Caller } from "../../access/Tokens.ts"
import type { QueryError } from "../../domain/Errors.ts"
import { toProblem } from "../api/Problems.ts"
import { HttpConnections } from "./HttpConnections.ts"
import { HttpConfig } from "./HttpLimits.ts"

/** A fault that shows within this time, such as a cursor that is none, gets a status of its own; in milliseconds. */
const faultsMs = 100
/** How soon a client connects again after the stream has ended, in milliseconds. */
const retryMs = 1_000
/** Bytes that wait for a client before its stream is read no further; Node.js holds as much again for the socket. */
const waitingBytesMax = 65_536

/**
 * How the items of a stream are printed: with an id, and as data. An item that many streams share, as the events of the log's end are, is
 * printed once for all of them, by what the first one says beside it.
 */
export const makePrintEvent = <Item extends object, Beside = undefined>(
  eventOf: (item: Item, beside: Beside) => readonly [id: string, data: unknown]
): ((item: Item, beside: Beside) => Uint8Array) => {
  const printed = new WeakMap<Item, Uint8Array>()
  return (item, beside) => {
    const known = printed.get(item)
    if (known !== undefined) return known
    const [id, data] = eventOf(item, beside)
    const text = Buffer.from(`id: ${id}\ndata: ${JSON.stringify(data)}\n\n`)
    printed.set(item, text)
    return text
  }
}

const heartbeat = Buffer.from(": nothing new\n\n")

/** The last event of a stream that failed: a problem document. The client goes on after the last id. */
const printFailure = (error: QueryError): string =>
  `event: problem\ndata: ${JSON.stringify(toProblem(error).document)}\n\n`

/** How Node.js answers a request; undefined for one that was made in memory. */
const responseOf = (request: HttpServerRequest.HttpServerRequest): ServerResponse | undefined => {
  const response: unknown = NodeHttpServerRequest.toServerResponse(request)
  return response instanceof ServerResponse ? response : undefined
}

/**
 * The body of one response. A client gets a chunk for all that came since the last, and what waits for it is bounded. What comes while
 * nothing waits is written to Node.js at once: a fiber that waited for each chunk would be one more for each of a thousand readers to be
 * woken, and its waiting is what collections of the young heap copy.
 */
class EventBody {
  #waiting: Array<Uint8Array> = []
  #bytes = 0
  #end: Cause.Done | "broken" | undefined
  #sentAt: number
  readonly #response: ServerResponse | undefined
  /** What comes is written at once: the headers are sent, and all that came before. */
  #isDirect = false
  readonly #hasSome = Latch.makeUnsafe(false)
  readonly #hasRoom = Latch.makeUnsafe(true)

  /** `beginsAfter`: where it begins, which a client that loses it before its first event goes on after. */
  constructor(now: number, response: ServerResponse | undefined, beginsAfter: string | undefined) {
    this.#sentAt = now
    this.#response = response
    response?.on("drain", () => this.#hasRoom.openUnsafe())
    // Without data it is no event, but its id is kept.
    const id = beginsAfter === undefined ? "" : `id: ${beginsAfter}\n`
    this.#add(Buffer.from(`retry: ${retryMs}\n${id}\n`))
  }

  /** What Node.js takes for the client, as fast as the client does. */
  readonly pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Uint8Array>, Cause.Done> = Effect.suspend(() => {
    const [first, ...others] = this.#waiting
    if (first !== undefined) {
      this.#waiting = []
      this.#bytes = 0
      this.#hasRoom.openUnsafe()
      return Effect.succeed([first, ...others])
    }
    if (this.#end === "broken") return Effect.die(new Error("a stream of events failed"))
    if (this.#end !== undefined) return Effect.fail(this.#end)
    this.#isDirect = this.#response !== undefined
    this.#hasSome.closeUnsafe()
    return Effect.andThen(this.#hasSome.await, this.pull)
  })

  /** Each is printed once there is room for it. Completes once there is room for more. */
  send<Item>(
    items: ReadonlyArray<Item>,
    print: (item: Item) => Uint8Array,
    now: () => number
  ): Effect.Effect<void> {
    let sent = 0
    /** As many as there is room for, so that they are one chunk. */
    const take = (room: number): Array<Uint8Array> => {
      const texts: Array<Uint8Array> = []
      for (let bytes = 0; bytes < room && sent < items.length; sent++) {
        const text = print(items[sent] as Item) // an index of the list
        texts.push(text)
        bytes += text.length
      }
      return texts
    }
    const sendSome: Effect.Effect<void> = Effect.suspend(() => {
      if (this.#end !== undefined) return Effect.never
      this.#sentAt = now()
      const isRoom = this.#write(take)
      if (isRoom) return sent < items.length ? sendSome : Effect.void
      // In the turn in which it was seen to be full: it may be emptied in the next one.
      this.#hasRoom.closeUnsafe()
      return Effect.andThen(this.#hasRoom.await, sendSome)
    })
    return sendSome
  }

  /** Answers whether there is room for more. */
  #write(take: (room: number) => Array<Uint8Array>): boolean {
    if (this.#response !== undefined && this.#isDirect) {
      const texts = take(waitingBytesMax)
      return texts.length === 0 || this.#response.write(texts.length === 1 ? texts[0] : Buffer.concat(texts))
    }
    for (const text of take(waitingBytesMax - this.#bytes)) this.#add(text)
    this.#hasSome.openUnsafe()
    return this.#bytes < waitingBytesMax
  }

  /** Tells the client that the stream is alive where nothing was sent for so long. Answers when to look again. */
  beat(now: number, everyMs: number): number {
    if (this.#sentAt + everyMs > now) return this.#sentAt + everyMs - now
    if (this.#end === undefined && this.#isEmpty) {
      if (this.#isDirect) this.#response?.write(heartbeat)
      else {
        this.#add(heartbeat)
        this.#hasSome.openUnsafe()
      }
    }
    this.#sentAt = now
    return everyMs
  }

  end(lastText = ""): void {
    if (this.#end !== undefined) return
    if (lastText !== "") this.#add(Buffer.from(lastText))
    this.#end = Cause.Done()
    this.#hasSome.openUnsafe()
  }

  /** The client sees its connection break, and goes on after the last id. */
  break(): void {
    this.#end ??= "broken"
    this.#hasSome.openUnsafe()
  }

  get #isEmpty(): boolean {
    return this.#bytes === 0 && (this.#response?.writableLength ?? 0) === 0
  }

  #add(text: Uint8Array): void {
    this.#waiting.push(text)
    this.#bytes += text.length
  }
}

export type EventStream = Effect.Success<typeof makeEventStream>

/** Events, and the id that is told before the first of them. */
interface Begun<Item> {
  readonly events: Stream.Stream<Item, QueryError>
  readonly beginsAfter?: string
}

/**
 * The response that sends events as `print` prints them. `begin` is run once the caller may have one stream more. Fails where that or the stream
 * does at once; a later failure is the last event.
 */
export const makeEventStream = Effect.gen(function* () {
  const { heartbeatMs } = yield* HttpConfig
  const connections = yield* HttpConnections
  const clock = yield* Clock.Clock
  // Heartbeats go on however the clock is set.
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

  const fail = (body: EventBody, cause: Cause.Cause<QueryError>): Effect.Effect<void> => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    if (error === undefined) body.break()
    else body.end(printFailure(error))
    return error === undefined && !Cause.hasInterrupts(cause)
      ? Effect.logError("http: a stream of events failed", cause)
      : Effect.void
  }

  return Effect.fnUntraced(function* <Item>(
    caller: Caller,
    begin: Effect.Effect<Begun<Item>, QueryError>,
    print: (item: Item) => Uint8Array
  ): Effect.fn.Return<
    HttpServerResponse.HttpServerResponse,
    QueryError,
    HttpServerRequest.HttpServerRequest | Scope.Scope
  > {
    yield* connections.openStream(caller)
    const { events, beginsAfter } = yield* begin
    const response = responseOf(yield* HttpServerRequest.HttpServerRequest)
    const body = new EventBody(now(), response, beginsAfter)
    const begun = yield* Deferred.make<void, QueryError>()
    const hasBegun = Deferred.succeed(begun, undefined)
    // Begun before the headers are sent, so that a fault can still be told by the status.
    yield* events.pipe(
      Stream.runForEachArray((items) => Effect.andThen(hasBegun, body.send(items, print, now))),
      Effect.matchCauseEffect({
        onSuccess: () => Effect.sync(() => body.end()),
        onFailure: (cause) =>
          Effect.flatMap(Deferred.failCause(begun, cause), (isFirst) =>
            isFirst ? Effect.void : fail(body, cause)
          )
      }),
      Effect.forkScoped
    )
    yield* Effect.timeoutOption(Deferred.await(begun), faultsMs)
    yield* hasBegun
    yield* Deferred.await(begun)
    const beats = Effect.suspend(() => Effect.sleep(body.beat(now(), heartbeatMs)))
    yield* Effect.forkScoped(Effect.forever(beats))
    yield* connections.closing.pipe(Effect.andThen(Effect.sync(() => body.end())), Effect.forkScoped)
    return HttpServerResponse.stream(Stream.fromPull(Effect.succeed(body.pull)), {
      contentType: "text/event-stream",
      // A connection is kept for nothing else: at the end of the node none is left open behind its stream.
      headers: { "cache-control": "no-store", "x-accel-buffering": "no", connection: "close" }
    })
  })
})
