/**
 * The HTTP endpoints by which an operator or an orchestrator sees how a node is: health, readiness and metrics. From loopback they need
 * no token; from elsewhere the details need the scope `read`, and health and readiness are told by the status alone.
 */
import { Effect, Layer, Option } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Dispatcher } from "../actors/commands/Dispatcher.ts"
import { ReadSideHealth, type ReadSideReport } from "../actors/projections/ReadSideHealth.ts"
import { Ledger } from "../Ledger.ts"
import { metrics } from "./Metrics.ts"
import { isTrusted } from "./TrustedReaders.ts"

/**
 * `GET /health`: how the node is. The write path, the bus, the relay, and each projection by partition: its lag (of what the bus
 * delivers, and in events and milliseconds by the log), parked accounts, last errors and restarts. 200 while the process answers,
 * which is all that other machines are told without a token: a probe of liveness needs no more.
 */
const health = HttpRouter.add(
  "GET",
  "/health",
  Effect.gen(function* () {
    if (!(yield* isTrusted)) return yield* HttpServerResponse.json({ up: true })
    const ledger = yield* Ledger
    const readSide = yield* Effect.flatMap(ReadSideHealth, ({ report }) => report)
    return yield* HttpServerResponse.json({
      write: yield* Effect.catch(ledger.stats, ({ message }) => Effect.succeed({ trouble: message })),
      bus: { connected: readSide.relay.isBusConnected },
      readSide
    })
  })
)

const answer = Effect.fnUntraced(function* (
  reasons: ReadonlyArray<string>,
  { reasons: readSide, alarms }: Pick<ReadSideReport, "reasons" | "alarms">
) {
  const isReady = reasons.length === 0
  const report = (yield* isTrusted) ? { ready: isReady, reasons, readSide, alarms } : { ready: isReady }
  return yield* HttpServerResponse.json(report, { status: isReady ? 200 : 503 })
})

/** Why commands are not taken; `otherwise` of a node of the read side alone. */
const commandTrouble = (otherwise: ReadonlyArray<string>) =>
  Effect.map(
    Effect.serviceOption(Dispatcher),
    Option.match({
      onNone: () => otherwise,
      onSome: (dispatcher) => {
        const { trouble } = dispatcher.stats()
        return trouble === undefined ? [] : [`event store: ${trouble}`]
      }
    })
  )

/**
 * `GET /ready`: 200 while commands are taken and the read side keeps up, else 503 with the reasons: a projection that is behind the
 * bound, a fiber that fails, or a projection that was not compared with the log lately. `alarms` tells what should be looked
 * into although the node is ready: what was mended, and accounts that are parked.
 */
const ready = HttpRouter.add(
  "GET",
  "/ready",
  Effect.gen(function* () {
    const readSide = yield* Effect.flatMap(ReadSideHealth, ({ report }) => report)
    return yield* answer([...(yield* commandTrouble([])), ...readSide.reasons], readSide)
  })
)

/** `GET /ready/commands`: for peers that only send commands, which go on while JetStream or the read model is down. */
const readyForCommands = HttpRouter.add(
  "GET",
  "/ready/commands",
  Effect.gen(function* () {
    const readSide = yield* Effect.flatMap(ReadSideHealth, ({ report }) => report)
    return yield* answer(yield* commandTrouble(["this node runs the read side alone"]), readSide)
  })
)

/** The endpoints that an operator or an orchestrator asks. */
export const routes = Layer.mergeAll(health, ready, readyForCommands, metrics)
