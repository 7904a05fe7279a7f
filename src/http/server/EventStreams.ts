/**
 * Streams of events as server-sent events: each with the cursor after which a client that lost its connection goes on. A stream is
 * read as the client takes it, so a slow client costs its own stream alone.
 */
import { ServerResponse } from "node:http"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import {
  type Array as Arr,
  Cause,
  Clock,
  Deferred,
  Effect,
  Latch,
  Option,
  Pull,
  type Scope,
  Stream
} from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Caller } from "../../access/Tokens.ts"
import { openSource } from "../../actors/subscriptions/ItemSource.ts"
import type { QueryError } from "../../domain/Errors.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
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
  #isFull = false

  /** `beginsAfter`: where it begins, which a client that loses it before its first event goes on after. */
  constructor(now: number, response: ServerResponse | undefined, beginsAfter: string | undefined) {
    this.#sentAt = now
    this.#response = response
    response?.on("drain", () => this.#emptied())
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
      this.#emptied()
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
    let left = items
    const sendSome: Effect.Effect<void> = Effect.suspend(() => {
      left = this.write(left, print, now())
      if (this.#end !== undefined) return Effect.never
      if (this.#isFull) return Effect.andThen(this.#hasRoom.await, sendSome)
      return left.length > 0 ? sendSome : Effect.void
    })
    return sendSome
  }

  /** Writes as many as there is room for, as one chunk. Answers the others. */
  write<Item>(
    items: ReadonlyArray<Item>,
    print: (item: Item) => Uint8Array,
    now: number
  ): ReadonlyArray<Item> {
    if (this.#isFull || this.#end !== undefined || items.length === 0) return items
    const isDirect = this.#response !== undefined && this.#isDirect
    const room = isDirect ? waitingBytesMax : waitingBytesMax - this.#bytes
    const texts: Array<Uint8Array> = []
    for (let bytes = 0; bytes < room && texts.length < items.length; ) {
      const text = print(items[texts.length] as Item) // an index of the list
      texts.push(text)
      bytes += text.length
    }
    this.#sentAt = now
    if (isDirect ? !this.#writeOut(texts) : !this.#keep(texts)) {
      // In the turn in which it was seen to be full: it may be emptied in the next one.
      this.#isFull = true
      this.#hasRoom.closeUnsafe()
    }
    return texts.length === items.length ? [] : items.slice(texts.length)
  }

  /** `write` takes more. */
  get hasRoom(): boolean {
    return !this.#isFull && this.#end === undefined
  }

  #writeOut(texts: ReadonlyArray<Uint8Array>): boolean {
    return this.#response?.write(texts.length === 1 ? texts[0] : Buffer.concat(texts)) ?? false
  }

  #keep(texts: ReadonlyArray<Uint8Array>): boolean {
    for (const text of texts) this.#add(text)
    this.#hasSome.openUnsafe()
    return this.#bytes < waitingBytesMax
  }

  #emptied(): void {
    this.#isFull = false
    this.#hasRoom.openUnsafe()
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

/** Writes the items to the body until there are no more. They are handed on while the client takes them and nothing else waits. */
const passOn = <Item, E>(
  events: Stream.Stream<Item, E>,
  body: EventBody,
  print: (item: Item) => Uint8Array,
  now: () => number,
  hasBegun: Effect.Effect<unknown>
): Effect.Effect<void, E> =>
  Effect.gen(function* () {
    const { next, handOn } = yield* openSource(events)
    /** What was handed on and had no room. */
    let left: ReadonlyArray<Item> = []
    let hadNoRoom = false
    const take = (items: ReadonlyArray<Item>): boolean => {
      left = body.write(items, print, now())
      hadNoRoom = left.length > 0 || !body.hasRoom
      return !hadNoRoom
    }
    const sendNext = Effect.flatMap(next, (items) => Effect.andThen(hasBegun, body.send(items, print, now)))
    while (true) {
      yield* sendNext
      // Until it completes without having taken anything that stopped it: what is to be read otherwise is next.
      do {
        hadNoRoom = false
        yield* handOn(take)
        yield* body.send(left, print, now)
        left = []
      } while (hadNoRoom)
    }
  }).pipe(
    Pull.catchDone(() => Effect.void),
    Effect.scoped
  )

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
  const now = () => elapsedMsUnsafe(clock)

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
    yield* passOn(events, body, print, now, hasBegun).pipe(
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
