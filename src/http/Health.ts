/** The HTTP endpoints by which an operator or an orchestrator sees how a node is: health, readiness and metrics, on loopback only. */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Config, Data, Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { ReadSideHealth, type ReadSideReport } from "../actors/projections/ReadSideHealth.ts"
import { Bus } from "../infra/bus/Bus.ts"
import { Ledger } from "../Ledger.ts"
import { metrics } from "./Metrics.ts"

export const httpPort = Config.Port("CHRONICLE_HTTP_PORT").pipe(Config.withDefault(7080))

/**
 * `GET /health`: how the node is. The write path, the bus, the relay, and each projection by partition: its lag (of what the bus
 * delivers, and in events and milliseconds by the log), parked accounts, last errors and restarts. 200 while the process answers.
 */
const health = HttpRouter.add(
  "GET",
  "/health",
  Effect.gen(function* () {
    const ledger = yield* Ledger
    const readSide = yield* ReadSideHealth
    const bus = yield* Bus
    return yield* HttpServerResponse.json({
      write: yield* Effect.catch(ledger.stats, ({ message }) => Effect.succeed({ trouble: message })),
      bus: { connected: bus.isConnectedUnsafe() },
      readSide: yield* readSide.report
    })
  })
)

const answer = (
  reasons: ReadonlyArray<string>,
  { reasons: readSide, alarms }: Pick<ReadSideReport, "reasons" | "alarms">
) =>
  HttpServerResponse.json(
    { ready: reasons.length === 0, reasons, readSide, alarms },
    { status: reasons.length === 0 ? 200 : 503 }
  )

const commandTrouble = Effect.gen(function* () {
  const ledger = yield* Ledger
  const { trouble } = yield* Effect.catch(ledger.stats, ({ message }) => Effect.succeed({ trouble: message }))
  return trouble === undefined ? [] : [`event store: ${trouble}`]
})

/**
 * `GET /ready`: 200 while commands are taken and the read side keeps up, else 503 with the reasons: a projection that is behind the
 * bound, a fiber that fails, or a projection that was not compared with the log lately. `alarms` tells what was
 * mended and should be looked into.
 */
const ready = HttpRouter.add(
  "GET",
  "/ready",
  Effect.gen(function* () {
    const readSide = yield* Effect.flatMap(ReadSideHealth, ({ report }) => report)
    return yield* answer([...(yield* commandTrouble), ...readSide.reasons], readSide)
  })
)

/** `GET /ready/commands`: for peers that only send commands, which go on while JetStream or the read model is down. */
const readyForCommands = HttpRouter.add(
  "GET",
  "/ready/commands",
  Effect.gen(function* () {
    const readSide = yield* Effect.flatMap(ReadSideHealth, ({ report }) => report)
    return yield* answer(yield* commandTrouble, readSide)
  })
)

/** The node cannot listen on its HTTP port, most often because another process does. */
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

/** Serves these endpoints, and further routes, at `CHRONICLE_HTTP_PORT` (default 7080) of 127.0.0.1. */
export const layerWith = <R>(
  routes: Layer.Layer<never, never, R>,
  { messageBytesMax }: { readonly messageBytesMax: number }
) =>
  Layer.unwrap(
    Effect.map(httpPort, (port) =>
      HttpRouter.serve(Layer.mergeAll(health, ready, readyForCommands, metrics, routes), {
        disableLogger: true
      }).pipe(
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

/** These endpoints alone. */
export const layer = layerWith(Layer.empty, { messageBytesMax: 65_536 })
