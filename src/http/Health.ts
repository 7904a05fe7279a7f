/** A running node enters; what an operator or an orchestrator asks of it over HTTP, on loopback only, leaves. */
import { createServer } from "node:http"
import { NodeHttpServer } from "@effect/platform-node"
import { Config, Data, Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { ProjectionHealth } from "../actors/ProjectionHealth.ts"
import { Bus } from "../infra/Bus.ts"
import { Ledger } from "../Ledger.ts"

export const httpPort = Config.Port("CHRONICLE_HTTP_PORT").pipe(Config.withDefault(7080))

/** `GET /health`: the process answers, and how it is. Always 200 while it does. */
const health = HttpRouter.add(
  "GET",
  "/health",
  Effect.gen(function* () {
    const ledger = yield* Ledger
    const projections = yield* ProjectionHealth
    const bus = yield* Bus
    const partitions = projections.partitionsUnsafe()
    return yield* HttpServerResponse.json({
      write: yield* ledger.stats,
      bus: { connected: bus.isConnectedUnsafe() },
      projection: { lagMs: projections.lagMsUnsafe(), partitions }
    })
  })
)

/** `GET /ready`: 200 while commands can be taken and no projector is failing, else 503 with the reasons. */
const ready = HttpRouter.add(
  "GET",
  "/ready",
  Effect.gen(function* () {
    const ledger = yield* Ledger
    const projections = yield* ProjectionHealth
    const { trouble } = yield* ledger.stats
    const reasons = [
      ...(trouble === undefined ? [] : [`event store: ${trouble}`]),
      ...projections
        .partitionsUnsafe()
        .flatMap(({ partition, lastError }) =>
          lastError === undefined ? [] : [`projection of partition ${partition}: ${lastError}`]
        )
    ]
    return yield* HttpServerResponse.json(
      { ready: reasons.length === 0, reasons },
      { status: reasons.length === 0 ? 200 : 503 }
    )
  })
)

/** Nobody can be answered on the port; mostly because somebody else listens there. */
export class HttpPortUnusable extends Data.TaggedError("HttpPortUnusable")<{
  readonly port: number
  readonly reason: string
}> {
  override get message() {
    return `cannot listen on port ${this.port} of ${host} (${this.reason}): free it, or set CHRONICLE_HTTP_PORT to another`
  }
}

const host = "127.0.0.1"

export const urlOf = (port: number): string => `http://${host}:${port}`

/** Serves both, and further routes, at `CHRONICLE_HTTP_PORT` (default 7080) of 127.0.0.1. */
export const layerWith = <R>(
  routes: Layer.Layer<never, never, R>,
  { messageBytesMax }: { readonly messageBytesMax: number }
) =>
  Layer.unwrap(
    Effect.map(httpPort, (port) =>
      HttpRouter.serve(Layer.mergeAll(health, ready, routes), { disableLogger: true }).pipe(
        Layer.provide(
          NodeHttpServer.layer(createServer, { port, host, websocket: { maxPayload: messageBytesMax } })
        ),
        Layer.catchTag("ServeError", ({ cause }) => {
          const reason = cause instanceof Error ? cause.message : String(cause)
          return Layer.effectDiscard(new HttpPortUnusable({ port, reason }))
        })
      )
    )
  )

/** Health alone. */
export const layer = layerWith(Layer.empty, { messageBytesMax: 65_536 })
