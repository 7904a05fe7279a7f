/** `GET /metrics`: what a node has done and how it is, in Prometheus' text format. */
import { Context, Effect, Layer, Metric, Option } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { Dispatcher } from "../actors/commands/Dispatcher.ts"
import { ReadSideHealth } from "../actors/projections/ReadSideHealth.ts"
import { Webhooks } from "../actors/webhooks/Webhooks.ts"
import {
  httpReadings,
  type Reading,
  readSideReadings,
  webhookReadings,
  writeSideReadings
} from "./Readings.ts"
import { HttpConnections } from "./server/HttpConnections.ts"
import { onlyTrusted } from "./TrustedReaders.ts"

/** Read for each scrape, so that they cost the write path nothing. */
const processReadings = (): ReadonlyArray<Reading> => {
  const { rss, heapUsed } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  return [
    {
      name: "process_resident_memory_bytes",
      help: "Resident memory of the process",
      kind: "gauge",
      value: rss
    },
    {
      name: "process_heap_used_bytes",
      help: "Memory of the objects in the heap",
      kind: "gauge",
      value: heapUsed
    },
    {
      name: "process_cpu_seconds_total",
      help: "Processor time of the process, user and system",
      kind: "counter",
      value: (user + system) / 1e6
    },
    {
      name: "process_uptime_seconds",
      help: "Time since the process started",
      kind: "gauge",
      value: process.uptime()
    }
  ]
}

/** Puts a value into a registry beside the metrics of effect; the registry reads it once, for this scrape. */
const register = ({ name, help, kind, value, labels }: Reading, context: Context.Context<never>): void => {
  const options = { description: help, ...(labels === undefined ? {} : { attributes: labels }) }
  const silent = { update: () => {}, modify: () => {} }
  if (kind === "counter") {
    const state = { count: value, incremental: true }
    Metric.registerUnsafe(Metric.counter(name, options), context, { get: () => state, ...silent })
  } else {
    Metric.registerUnsafe(Metric.gauge(name, options), context, { get: () => ({ value }), ...silent })
  }
}

/** How long a scrape waits for the read model's database, in milliseconds. With 5 s for the connection to go it ends within the 10 s of Prometheus. */
const webhooksMs = 2_000

/** What the read model's database has of them; none while it cannot be reached or does not answer. */
const webhooks = Effect.gen(function* () {
  const summary = yield* Effect.flatMap(Webhooks, (service) => service.summary)
  return webhookReadings(summary, summary.asOf)
}).pipe(
  Effect.timeout(webhooksMs),
  Effect.catch((): Effect.Effect<ReadonlyArray<Reading>> => Effect.succeed([]))
)

/** The text of one scrape: the metrics of the host and of effect, the histograms of the commits, and all readings. */
const scrape = Effect.fnUntraced(function* ({ countsUnsafe }: HttpConnections["Service"]) {
  const dispatcher = yield* Effect.serviceOption(Dispatcher)
  const readSide = yield* Effect.flatMap(ReadSideHealth, ({ report }) => report)
  const registry: Metric.MetricRegistry = new Map(yield* Metric.MetricRegistry)
  const context = Context.make(Metric.MetricRegistry, registry)
  const readings = [
    // A node of the read side alone has none.
    ...Option.match(dispatcher, {
      onNone: () => [],
      onSome: ({ stats, meters, localNode }) => writeSideReadings(stats(), meters(), localNode.leases())
    }),
    ...readSideReadings(readSide),
    ...(yield* webhooks),
    ...httpReadings(countsUnsafe()),
    ...processReadings()
  ]
  for (const reading of readings) register(reading, context)
  return PrometheusMetrics.formatUnsafe(context)
})

export const metrics = Layer.unwrap(
  Effect.map(HttpConnections, (connections) =>
    HttpRouter.add(
      "GET",
      "/metrics",
      onlyTrusted(
        Effect.map(scrape(connections), (text) =>
          HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" })
        )
      )
    )
  )
)
