/**
 * Run as a thread by a load test: where the event store is enters; what one client takes there that commits one event
 * after another, while the load is on, leaves. Neither the ledger nor its collector stands in its way.
 */
import { parentPort, workerData } from "node:worker_threads"
import { Effect, Layer, Redacted, References } from "effect"
import { LedgerConfig } from "../infra/config/LedgerConfig.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../infra/eventstore/SqlClients.ts"
import { makeHistogram, recordMs, summarize } from "./Meter.ts"
import { makeStoreClient } from "./Probe.ts"
import { makeRunIds } from "./RunIds.ts"
import type { BaselineWork, FromBaseline } from "./StoreBaseline.ts"

/** The pause after each commit, in milliseconds: to be measured, not to be a load of its own. */
const pauseMs = 20
/** The first ones warm up connection, plan and program, and are not counted. */
const warmUp = 20

const { url, run, commandNumber } = workerData as BaselineWork // given by StoreBaseline.ts
const post = (message: FromBaseline): void => parentPort?.postMessage(message)

let phase: "waiting" | "measuring" | "over" = "waiting"
parentPort?.on("message", (message: "begin" | "end") => {
  phase = message === "begin" ? "measuring" : "over"
})

const program = Effect.gen(function* () {
  const client = yield* makeStoreClient(makeRunIds(run, false), 1, commandNumber)
  const histogram = makeHistogram()
  for (let count = 0; count < warmUp; count++) yield* client.commit
  post({ _tag: "Ready" })
  while (phase !== "over") {
    if (phase === "measuring") recordMs(histogram, yield* client.commit)
    yield* Effect.sleep(pauseMs)
  }
  yield* client.end
  post({ _tag: "Measured", latency: histogram.totalCount === 0 ? null : summarize(histogram) })
}).pipe(
  Effect.provide(EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(Redacted.make(url))))),
  Effect.updateService(LedgerConfig, (limits) => ({ ...limits, lanes: 1, storeReaders: 1 })),
  Effect.provideService(References.MinimumLogLevel, "None"),
  Effect.ensuring(Effect.sync(() => parentPort?.close()))
)

Effect.runFork(program)
