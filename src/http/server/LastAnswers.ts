/**
 * Closes a connection so that its peer gets the last answer. It exists because Node destroys the socket as soon as the answer is
 * written: what the peer sends from then on is answered with a reset, and a peer that sees one drops what it has not read yet. So the
 * half of the server ends first, and the rest of the request is passed over for a while (RFC 9112, 9.6).
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

/** What is known of a connection whose handshake is done. */
interface Known {
  /** Requests whose answer is not sent. */
  readonly under: Map<IncomingMessage, ServerResponse>
  isEnding: boolean
}

/** Passes over what the peer still sends. The parser gets nothing of it, so that no request that was refused is carried out after all. */
const passOver = (socket: Socket): void => {
  // A listener takes the bytes back from the parser, which otherwise reads them where JavaScript does not see them.
  socket.on("data", () => {}).removeAllListeners("data")
  socket.resume()
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
    const known: Known = { under: new Map(), isEnding: false }
    all.set(socket, known)
    const destroySoon = socket.destroySoon.bind(socket)
    // What Node calls after the last response: of a request that did not arrive whole more is on its way.
    socket.destroySoon = () => {
      const isWhole = [...known.under.keys()].every(({ complete }) => complete)
      if (known.isEnding) return
      if (isWhole) destroySoon()
      else endGently(socket, known)
    }
  })
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const under = all.get(request.socket)?.under
    under?.set(request, response)
    response.once("close", () => under?.delete(request))
  }
  // A request that waits for "100 Continue" before it sends its body comes by an event of its own.
  server.on("request", onRequest).on("checkContinue", onRequest)
  /** The connection ends behind it, and behind what is owed of requests that came before. */
  const refuse = (socket: Socket, status: number, error?: Error): void => {
    const known = all.get(socket)
    const under = [...(known?.under ?? [])]
    const isAnswering = under.some(([, { headersSent }]) => headersSent)
    if (known === undefined || known.isEnding || isAnswering || !socket.writable) {
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
