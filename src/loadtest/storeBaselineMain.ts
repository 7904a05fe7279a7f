/** The thread that `StoreBaseline.ts` starts: commits one event after another while the load is on, and reports the latency. */
import { parentPort, workerData } from "node:worker_threads"
import { Effect, Layer, Redacted, References, Schedule } from "effect"
import { LedgerConfig } from "../infra/config/LedgerConfig.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../infra/eventstore/SqlClients.ts"
import { makeHistogram, recordMs, summarize } from "./Meter.ts"
import { makeStoreClient } from "./Probe.ts"
import { makeRunIds } from "./RunIds.ts"
import type { BaselineWork, FromBaseline } from "./StoreBaseline.ts"

/** The pause after each commit, in milliseconds, so that the client is no load of its own. */
const pauseMs = 20
/** The first commits warm up connection, plan and program, and are not counted. */
const warmUp = 20

const { url, run, commandNumber } = workerData as BaselineWork // sent by StoreBaseline.ts
const post = (message: FromBaseline): void => parentPort?.postMessage(message)

let phase: "waiting" | "measuring" | "over" = "waiting"
parentPort?.on("message", (message: "begin" | "end") => {
  phase = message === "begin" ? "measuring" : "over"
})

const program = Effect.gen(function* () {
  const client = yield* makeStoreClient(makeRunIds(run, false), 1, commandNumber)
  const histogram = makeHistogram()
  yield* Effect.replicateEffect(client.commit, warmUp, { discard: true })
  post({ _tag: "Ready" })
  const measure = Effect.suspend(() =>
    phase === "measuring" ? Effect.map(client.commit, (tookMs) => recordMs(histogram, tookMs)) : Effect.void
  )
  yield* Effect.repeat(measure, { schedule: Schedule.spaced(pauseMs), while: () => phase !== "over" })
  yield* client.end
  post({ _tag: "Measured", latency: histogram.totalCount === 0 ? null : summarize(histogram) })
}).pipe(
  Effect.provide(EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(Redacted.make(url))))),
  Effect.updateService(LedgerConfig, (limits) => ({ ...limits, lanes: 1, storeReaders: 1 })),
  Effect.provideService(References.MinimumLogLevel, "None"),
  Effect.ensuring(Effect.sync(() => parentPort?.close()))
)

Effect.runFork(program)
