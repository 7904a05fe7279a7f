/**
 * The HTTP server of a node: the API of the ledger with its document and reference page, health and metrics, and the WebSocket of RPC,
 * at one port. At its end streams are ended with a cursor to go on after, and what is under way is answered first.
 */
import { createServer, type IncomingMessage, type Server } from "node:http"
import { createServer as createTlsServer } from "node:https"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Cause, Data, Duration, Effect, Layer, Redacted, Result } from "effect"
import { HttpRouter, type HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Authenticator } from "../../access/Authenticator.ts"
import { InvalidCommand } from "../../domain/Errors.ts"
import { listenBacklog } from "../../infra/config/Backlog.ts"
import { LedgerHttpApi } from "../api/LedgerHttpApi.ts"
import { openApiDocument } from "../api/OpenApiDocument.ts"
import { InternalError, MethodNotAllowed, NotFound } from "../api/Problems.ts"
import * as AdmitRequests from "./AdmitRequests.ts"
import * as CommandHandlers from "./CommandHandlers.ts"
import { HttpConnections } from "./HttpConnections.ts"
import { HttpConfig } from "./HttpLimits.ts"
import type { HttpSettings } from "./HttpSettings.ts"
import { sendLastAnswers } from "./LastAnswers.ts"
import * as QueryHandlers from "./QueryHandlers.ts"
import { headFault, takeExpecting } from "./RequestHeads.ts"
import { jsonResponse, problemResponse, securityHeaders } from "./Responses.ts"
import * as WebhookHandlers from "./WebhookHandlers.ts"

const secured = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.setHeaders(response, { ...securityHeaders, ...response.headers })

/** The methods and paths of the API, each path as a pattern. */
const routes = Object.values(LedgerHttpApi.groups).flatMap(({ endpoints }) =>
  Object.values(endpoints).map(({ method, path }) => ({
    method,
    pattern: new RegExp(`^${path.replaceAll(/:(\w+)/g, "(?<$1>[^/]+)")}$`, "i")
  }))
)
/** Paths that are read alone and are not of the API; those of the node's other doors among them. */
const pages = /^\/(openapi\.json|docs|health|ready|ready\/commands|metrics|rpc|console|console\/.*)$/i

/** A command id has 128 characters, each of which may be encoded in three. */
const maxParamLength = 512

/** Why the router takes no part of a path for a parameter of the route that the path is of. */
const faultOfPath = (params: Readonly<Record<string, string>>): InvalidCommand | undefined => {
  for (const [name, text] of Object.entries(params)) {
    if (Result.isFailure(Result.try(() => decodeURIComponent(text))))
      return InvalidCommand.at(name, "must be UTF-8, percent-encoded")
    if (text.length > maxParamLength)
      return InvalidCommand.at(name, `has ${text.length} characters, more than any id`)
  }
  return undefined
}

const notFound = ({ method, url }: HttpServerRequest.HttpServerRequest) => {
  const [asked = ""] = url.split(/[?;]/)
  // As the router takes it, to which one slash is as good as two, and none at the end as good as one.
  const path = asked.replaceAll(/\/+/g, "/").replace(/(.)\/$/, "$1")
  const matching = routes.filter(({ pattern }) => pattern.test(path))
  const known = matching.map((one) => one.method)
  const allowed = pages.test(path) ? ["GET"] : [...new Set(known)]
  const withHead = allowed.includes("GET") ? [...allowed, "HEAD"] : allowed
  if (allowed.length > 0 && !withHead.includes(method)) return new MethodNotAllowed({ allowed: withHead })
  for (const { pattern } of matching) {
    const fault = faultOfPath(pattern.exec(path)?.groups ?? {})
    if (fault !== undefined) return fault
  }
  return new NotFound({ what: `route ${asked.slice(0, 128)}` })
}

const isRouteNotFound = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "reason" in error &&
  (error as HttpServerError.HttpServerError).reason._tag === "RouteNotFound" // of the tag, if it has one

/** The first and the last word on every request: a head that is none, no route, or a fault of ours, which is logged and not told. */
const answerAll = HttpRouter.middleware(
  (handle) =>
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const fault = headFault(request)
      if (fault !== undefined) return secured(problemResponse(fault))
      return yield* Effect.catchCause(handle, (cause) => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
        if (isRouteNotFound(Cause.squash(cause))) return Effect.succeed(problemResponse(notFound(request)))
        return Effect.as(
          Effect.logError(`http: ${request.method} failed`, cause),
          problemResponse(new InternalError())
        )
      }).pipe(Effect.map(secured))
    }),
  { global: true }
)

const documents = Layer.unwrap(
  Effect.gen(function* () {
    const { isGuarded } = yield* Authenticator
    const { referencePage } = yield* Effect.promise(() => import("./ReferencePage.ts"))
    const document = openApiDocument(isGuarded)
    return Layer.mergeAll(
      HttpRouter.add("GET", "/openapi.json", jsonResponse(document)),
      HttpRouter.add("GET", "/docs", referencePage(document))
    )
  })
)

/** The routes of the API, over the connections that bound them. */
export const api = Layer.mergeAll(
  HttpApiBuilder.layer(LedgerHttpApi).pipe(
    Layer.provide(Layer.mergeAll(CommandHandlers.layer, QueryHandlers.layer, WebhookHandlers.layer)),
    Layer.provide(AdmitRequests.layer)
  ),
  documents,
  answerAll
)

/** The server cannot listen there, mostly because another process does. */
export class HttpPortUnusable extends Data.TaggedError("HttpPortUnusable")<{
  readonly host: string
  readonly port: number
  readonly reason: string
}> {
  override get message() {
    return `cannot listen on port ${this.port} of ${this.host} (${this.reason}): free it, or set CHRONICLE_HTTP_PORT to another`
  }
}

/**
 * Whether a request is taken off HTTP. Of any other protocol, such as the `h2c` that some clients offer with each request, the offer is
 * passed over (RFC 9110, 7.8): once a connection is taken off, Node bounds no time of it and reads no further request.
 */
const isForWebSocket = ({ headers, method, url = "" }: IncomingMessage): boolean =>
  method === "GET" && headers.upgrade?.toLowerCase() === "websocket" && /^\/rpc\/?(\?|$)/i.test(url)

type Listen = Pick<HttpSettings, "host" | "port" | "tls">

/** Node's server with our bounds of time and size, its connections counted. */
const listening = ({ host, port, tls }: Listen, websocketBytesMax: number) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const limits = yield* HttpConfig
      const { watch } = yield* HttpConnections
      const options = {
        noDelay: true,
        headersTimeout: limits.headersMs,
        requestTimeout: limits.requestMs,
        keepAliveTimeout: limits.idleMs,
        connectionsCheckingInterval: 1_000,
        maxHeaderSize: limits.headerBytesMax,
        shouldUpgradeCallback: isForWebSocket,
        // `headFault` asks for it, and so says what is wrong.
        requireHostHeader: false
      }
      const server: Server =
        tls === undefined
          ? createServer(options)
          : createTlsServer({
              ...options,
              cert: tls.cert,
              key: Redacted.value(tls.key),
              // The headers come after it. By itself Node gives it two minutes.
              handshakeTimeout: limits.headersMs
            })
      takeExpecting(server)
      yield* sendLastAnswers(server, tls === undefined ? "connection" : "secureConnection", limits.lingerMs)
      yield* watch(server)
      return NodeHttpServer.layer(() => server, {
        host,
        port,
        backlog: listenBacklog,
        websocket: { maxPayload: websocketBytesMax },
        gracefulShutdownTimeout: Duration.millis(limits.drainMs)
      })
    })
  )

/** Added last, so it runs first at the end: new requests are refused and streams end before the server waits for the rest. */
const closesFirst = Layer.effectDiscard(
  Effect.flatMap(HttpConnections, ({ close }) => Effect.addFinalizer(() => close))
)

/** Serves the API and further routes. `websocketBytesMax`: bytes of one message of a WebSocket. */
export const layer = <R>(
  settings: Listen,
  further: Layer.Layer<never, never, R>,
  { websocketBytesMax }: { readonly websocketBytesMax: number }
) =>
  closesFirst.pipe(
    Layer.provideMerge(
      HttpRouter.serve(Layer.mergeAll(api, further), {
        disableLogger: true,
        disableListenLog: true,
        routerConfig: { maxParamLength }
      })
    ),
    Layer.provide(listening(settings, websocketBytesMax)),
    Layer.provide(HttpConnections.layer),
    Layer.catchTag("ServeError", ({ cause }) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      return Layer.effectDiscard(new HttpPortUnusable({ host: settings.host, port: settings.port, reason }))
    })
  )
