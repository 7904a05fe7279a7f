/** The log on stderr: lines for people, or JSON for machines, by `CHRONICLE_LOG_FORMAT`. */
import { Cause, Config, Effect, type Fiber, Formatter, Layer, Logger, References, Tracer } from "effect"
import { printable, printableJson } from "../../domain/Printable.ts"

/** `text` for people (the default), `json` for machines: one object a line. */
export const logFormat = Config.Literals(["text", "json"], "CHRONICLE_LOG_FORMAT").pipe(
  Config.withDefault("text" as const)
)

/** Whether a tracer is installed that tells others of its spans. */
export const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>): boolean =>
  cache.tracer !== undefined && cache.tracer !== Tracer.nativeTracer

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
