/** A ledger in memory behind its HTTP API: in memory by web requests, or on loopback as `serve` starts it. */
import { Clock, Context, Effect, Layer, type Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { Authenticator } from "../../src/access/Authenticator.ts"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import type { ServerTls } from "../../src/access/ServerSettings.ts"
import type { Token } from "../../src/access/Tokens.ts"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import * as Health from "../../src/http/Health.ts"
import { HttpConnections } from "../../src/http/server/HttpConnections.ts"
import { HttpConfig, httpLimits } from "../../src/http/server/HttpLimits.ts"
import * as LedgerHttpServer from "../../src/http/server/LedgerHttpServer.ts"
import { defaultLimits, LedgerConfig, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { Ledger } from "../../src/Ledger.ts"

type Limits = typeof httpLimits.schema.Type

export interface HttpOptions {
  readonly tokens?: ReadonlyArray<Token>
  readonly limits?: Partial<Limits>
  readonly ledgerLimits?: Partial<LedgerLimits>
  readonly ratePerSecond?: number
  readonly tls?: ServerTls
  /** Served instead of the world's. */
  readonly ledger?: Ledger["Service"]
  /** By which the API in memory tells how long something takes. */
  readonly clock?: Clock.Clock
}

const guardOf = ({ tokens = [], ratePerSecond = 200_000 }: HttpOptions) =>
  Layer.mergeAll(Authenticator.layer(tokens, ratePerSecond), RefusalLog.layer(20))

const limitsOf = ({ limits, ledgerLimits }: HttpOptions) =>
  Layer.mergeAll(
    Layer.succeed(HttpConfig, { ...httpLimits.defaults, ...limits }),
    Layer.succeed(LedgerConfig, { ...defaultLimits, ...ledgerLimits })
  )

const clockOf = ({ clock }: HttpOptions) =>
  clock === undefined ? Layer.empty : Layer.succeed(Clock.Clock, clock)

const ledgerOf = ({ ledger }: HttpOptions) =>
  ledger === undefined ? Layer.empty : Layer.succeed(Ledger, ledger)

/** The server with health and metrics, and what is served beside them, at a port of loopback. */
export const openHttpLayer = <R = never>(
  port: number,
  options: HttpOptions = {},
  beside: Layer.Layer<never, never, R> = Layer.empty
) =>
  LedgerHttpServer.layer(
    { host: "127.0.0.1", port, tls: options.tls },
    Layer.mergeAll(Health.routes, beside),
    {
      websocketBytesMax: 65_536
    }
  ).pipe(Layer.provide(Layer.mergeAll(guardOf(options), limitsOf(options))), Layer.provide(ledgerOf(options)))

export type Send = (path: string, init?: RequestInit & { readonly json?: unknown }) => Promise<Response>

/** The API without a socket: each request is a web request, its answer a web response. */
export const sendInMemory = Effect.fnUntraced(function* (
  options: HttpOptions = {}
): Effect.fn.Return<Send, never, Ledger | Subscriptions | Webhooks | Scope.Scope> {
  const ledger = options.ledger ?? (yield* Ledger)
  const webhooks = yield* Webhooks
  const subscriptions = yield* Subscriptions
  const { handler, dispose } = HttpRouter.toWebHandler(
    LedgerHttpServer.api.pipe(
      Layer.provide(HttpConnections.layer),
      Layer.provide(Layer.mergeAll(guardOf(options), limitsOf(options), Layer.succeed(Ledger, ledger))),
      Layer.provide(clockOf(options)),
      Layer.provide(
        Layer.mergeAll(Layer.succeed(Webhooks, webhooks), Layer.succeed(Subscriptions, subscriptions))
      ),
      Layer.provide(HttpServer.layerServices)
    ),
    { disableLogger: true, routerConfig: { maxParamLength: 512 } }
  )
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  return (path, { json, headers, ...init } = {}) =>
    handler(
      new Request(`http://127.0.0.1${path}`, {
        ...init,
        headers: {
          host: "127.0.0.1",
          ...(json === undefined ? {} : { "content-type": "application/json" }),
          ...(headers as Record<string, string> | undefined) // the tests give plain objects
        },
        ...(json === undefined ? {} : { method: init.method ?? "POST", body: JSON.stringify(json) })
      }),
      Context.empty() as never // the layer has everything that a request needs
    )
})
