/** What a node exports of its traces, to an OTLP collector, by `CHRONICLE_OTLP_URL` and `CHRONICLE_TRACES_RATIO`. */
import { Config, Effect, Layer, Option, Schema, Tracer } from "effect"
import { FetchHttpClient } from "effect/http"
import { OtlpExporter, OtlpSerialization, OtlpTracer } from "effect/observability"

/**
 * Traces begin with a command or a question: `ratio` of those that have no trace of their own. What a node
 * does for itself (heartbeats, sweeps) begins none, and would be nine tenths of all.
 */
export const sampling =
  (ratio: number) =>
  (tracer: Tracer.Tracer): Tracer.Tracer => {
    let owed = 0
    const isSampled = (options: Parameters<Tracer.Tracer["span"]>[0]): boolean => {
      if (Option.isSome(options.parent) || options.links.length > 0) return options.sampled
      if (options.kind !== "server" || !options.sampled) return false
      owed += ratio
      if (owed < 1) return false
      owed -= 1
      return true
    }
    return Tracer.make({
      ...tracer,
      span: (options) => tracer.span({ ...options, sampled: isSampled(options) })
    })
  }

const Ratio = Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/** The URL of an OpenTelemetry collector (OTLP over HTTP, `http://collector:4318`); no tracing without it. */
const otlpConfig = Config.all({
  url: Config.option(Config.URL("CHRONICLE_OTLP_URL")),
  ratio: Config.schema(Ratio, "CHRONICLE_TRACES_RATIO").pipe(Config.withDefault(1))
})

/** Exports the node's spans where `CHRONICLE_OTLP_URL` says; the last ones at its end. */
export const layerTraces = (nodeName: string) =>
  Layer.unwrap(
    Effect.map(otlpConfig, ({ url, ratio }) => {
      if (Option.isNone(url)) return Layer.empty
      const base = url.value.href.replace(/\/$/, "")
      const tracer = OtlpTracer.make({
        url: `${base}/v1/traces`,
        resource: { serviceName: "chronicle-ledger", attributes: { "service.instance.id": nodeName } }
      })
      return Layer.effect(Tracer.Tracer, Effect.map(tracer, sampling(ratio))).pipe(
        Layer.provide(
          Layer.mergeAll(OtlpExporter.layerFlusher, OtlpSerialization.layerJson, FetchHttpClient.layer)
        )
      )
    })
  )
