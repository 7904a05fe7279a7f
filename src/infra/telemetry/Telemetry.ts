/**
 * What a node tells of itself: logs as text or JSON, and traces to an OTLP collector, by `CHRONICLE_LOG_FORMAT`,
 * `CHRONICLE_OTLP_URL` and `CHRONICLE_TRACES_RATIO`.
 */
import { Cause, Config, Effect, Formatter, Layer, Logger, Option, References, Schema, Tracer } from "effect"
import { FetchHttpClient } from "effect/http"
import { OtlpExporter, OtlpSerialization, OtlpTracer } from "effect/observability"
import { printable, printableJson } from "../../domain/Printable.ts"
import { isTraced } from "./Tracing.ts"

/** `text` for people (the default), `json` for machines: one object a line. */
export const logFormat = Config.Literals(["text", "json"], "CHRONICLE_LOG_FORMAT").pipe(
  Config.withDefault("text" as const)
)

/** As `Logger.formatJson`, and with the trace and the span that the line belongs to, where there are any. */
const jsonLogger = Logger.make<unknown, string>((options) => {
  const { span } = options.fiber.cache
  const trace =
    span !== undefined && isTraced(options.fiber) ? { traceId: span.traceId, spanId: span.spanId } : {}
  return printableJson(Formatter.formatJson({ ...Logger.formatStructured.log(options), ...trace }))
})

export const layerJsonLogs = Logger.layer([Logger.withConsoleError(jsonLogger), Logger.tracerLogger])

/**
 * Logs for people: `[09:15:00.000] WARN (#7): message`. Unlike effect's own, an entry begins in the first column and its
 * further lines (of a trace) do not, and nothing that a peer sent can begin a line or reach the terminal raw.
 */
const textLogger = Logger.make<unknown, string>(({ cause, date, fiber, logLevel, message }) => {
  const parts: Array<unknown> = Array.isArray(message) ? [...message] : [message]
  if (cause.reasons.length > 0) parts.push(cause)
  const annotations = fiber.getRef(References.CurrentLogAnnotations)
  if (Object.keys(annotations).length > 0) parts.push(annotations)
  const two = (value: number, digits = 2) => String(value).padStart(digits, "0")
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  const head = `[${time}.${two(date.getMilliseconds(), 3)}] ${logLevel.toUpperCase()} (#${fiber.id})`
  return `${head}: ${parts.map(textOf).join(" ")}`
})

/** A text in one line; a failure with its trace, one line below the other. */
const textOf = (part: unknown): string => {
  if (typeof part === "string") return printable(part)
  const trace = Cause.isCause(part) ? Cause.pretty(part) : part instanceof Error ? part.stack : undefined
  if (trace === undefined) return printable(Formatter.format(part))
  return trace.split("\n").map(printable).join("\n  ")
}

export const layerTextLogs = Logger.layer([Logger.withConsoleError(textLogger), Logger.tracerLogger])

/** Logs in the format that is asked for, on stderr. */
export const layerLogs = Layer.unwrap(
  Effect.map(logFormat, (format) => (format === "json" ? layerJsonLogs : layerTextLogs))
)

/**
 * Traces begin where somebody asked for something: `ratio` of those that have no trace of their own. What a node
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
