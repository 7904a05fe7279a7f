/**
 * Closes a connection so that its peer gets the last answer. It exists because Node destroys the socket as soon as the answer is
 * written, and effect's server half a second later: what the peer sends from then on is answered with a reset, and a peer that sees one
 * drops what it has not read yet. So the half of the server ends first, and the rest of the request is passed over for a while (RFC 9112, 9.6).
 */
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http"
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { Effect } from "effect"
import { securityHeaders } from "./Responses.ts"

/** The statuses of faults that Node's parser finds; 400 for all others. */
const statuses: ReadonlyMap<unknown, number> = new Map([
  ["HPE_HEADER_OVERFLOW", 431],
  ["HPE_CHUNK_EXTENSIONS_OVERFLOW", 413],
  ["ERR_HTTP_REQUEST_TIMEOUT", 408]
])

const statusOf = (error: Error): number => statuses.get("code" in error ? error.code : undefined) ?? 400

/** A problem document like that of every other refusal, of which there is no more to say than its status does (RFC 9457, 4.2.1). */
const answerOf = (status: number): string => {
  const title = STATUS_CODES[status] ?? ""
  const body = JSON.stringify({ type: "about:blank", title, status })
  const headers = {
    ...securityHeaders,
    "cache-control": "no-store",
    connection: "close",
    "content-length": body.length,
    "content-type": "application/problem+json"
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  return [`HTTP/1.1 ${status} ${title}`, ...lines, "", body].join("\r\n")
}

/** Ends the server's half of a connection, behind `text`. */
type EndGently = (socket: Socket, known: Known, text?: string) => void

/** Bytes of a request that are passed over behind its answer so that the connection can be kept. */
const passedOverMax = 262_144

/** What is known of a connection whose handshake is done. */
interface Known {
  /** Requests whose answer is not sent. */
  readonly under: Map<IncomingMessage, ServerResponse>
  /** A request is answered, and more of it is on its way. */
  isCut: boolean
  isEnding: boolean
}

/**
 * Takes a request that is answered before it arrived whole from effect's server, which passes nothing over, or too little. It asks for
 * `complete`; nothing else does once there is an answer.
 */
const takeCut = (request: IncomingMessage, known: Known): void => {
  if (request.complete || request.destroyed) return
  known.isCut = true
  request.complete = true
}

/**
 * Passes over what the peer still sends. The parser gets nothing of it, so that no request that was refused is carried out after all. Where
 * the parser is in the middle of what one read brought, it takes the rest of that all the same: a whole request in there, behind the end of
 * a body, is carried out, and its answer is lost.
 */
const passOver = (socket: Socket): void => {
  // A listener takes the bytes back from the parser, which otherwise reads them where JavaScript does not see them.
  socket.on("data", () => {}).removeAllListeners("data")
  socket.resume()
}

/** Passes over what is left of a request behind an answer that is not the last, within bounds: then the connection is kept. */
const passOverRest = (request: IncomingMessage, known: Known, endGently: EndGently): void => {
  if (!known.isCut || known.isEnding || request.destroyed) return
  let bytes = 0
  request.on("data", ({ length }: Buffer) => {
    bytes += length
    if (bytes > passedOverMax && !known.isEnding) endGently(request.socket, known)
  })
  request.once("end", () => {
    known.isCut = false
  })
  request.resume()
}

/** Notes the requests of each connection until they are answered, and takes care of what comes of them behind that. */
const watchRequests = (server: Server, all: WeakMap<object, Known>, endGently: EndGently): void => {
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const known = all.get(request.socket)
    if (known === undefined) return
    known.under.set(request, response)
    // Effect's server, which takes the request in this turn, puts a listener of its own before all others, and this one is to stand before that.
    process.nextTick(() => {
      if (!request.complete) response.prependListener("finish", () => takeCut(request, known))
    })
    response.once("close", () => {
      known.under.delete(request)
      passOverRest(request, known, endGently)
    })
  }
  // A request that waits for "100 Continue" before it sends its body comes by an event of its own.
  server.on("request", onRequest).on("checkContinue", onRequest)
}

/**
 * Serves `server` for as long as its connections live; `ready` is the event of a connection that can be answered. A peer that does not
 * close its half is waited for no longer than `lingerMs`.
 */
export const sendLastAnswers = Effect.fnUntraced(function* (
  server: Server,
  ready: "connection" | "secureConnection",
  lingerMs: number
) {
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const all = new WeakMap<object, Known>()

  const endGently = (socket: Socket, known: Known, text = ""): void => {
    known.isEnding = true
    socket.end(text)
    passOver(socket)
    const patience = run(
      Effect.delay(
        Effect.sync(() => socket.destroy()),
        lingerMs
      )
    )
    socket.once("close", () => patience.interruptUnsafe())
  }

  server.on(ready, (socket: Socket) => {
    const known: Known = { under: new Map(), isCut: false, isEnding: false }
    all.set(socket, known)
    const destroySoon = socket.destroySoon.bind(socket)
    // What Node calls after the last response: of a request that did not arrive whole more is on its way.
    socket.destroySoon = () => {
      const isWhole = !known.isCut && [...known.under.keys()].every(({ complete }) => complete)
      if (known.isEnding) return
      if (isWhole) destroySoon()
      else endGently(socket, known)
    }
  })
  watchRequests(server, all, endGently)
  /** The connection ends behind it, and behind what is owed of requests that came before. */
  const refuse = (socket: Socket, status: number, error?: Error): void => {
    const known = all.get(socket)
    // Node tells also of the time of what is passed over, while an answer is owed.
    if (known?.isEnding === true) return
    const under = [...(known?.under ?? [])]
    const isAnswering = under.some(([, { headersSent }]) => headersSent)
    if (known === undefined || isAnswering || !socket.writable) {
      socket.destroy(error)
      return
    }
    const answer = answerOf(status)
    const owed = under.findLast(([{ complete }]) => complete)
    if (owed === undefined) return endGently(socket, known, answer)
    // What arrived whole is carried out, and its client would take what is said now for the answer to that.
    known.isEnding = true
    passOver(socket)
    owed[1].once("finish", () => endGently(socket, known, answer))
  }
  server.on("clientError", (error: Error, socket: Socket) => refuse(socket, statusOf(error), error))
  // No proxy is here. Node would close the connection without a word, and takes no notice of it any more.
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    socket.on("error", () => socket.destroy())
    if (socket instanceof Socket) refuse(socket, 400)
    else socket.destroy()
  })
})
