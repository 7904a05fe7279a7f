/**
 * Continues a caller's trace from the dispatch of a command to its projected rows. Costs nothing where no tracer is set.
 */
import { Clock, Effect, Option, Result, Schema, type Tracer } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import { CommandContext } from "../../domain/Command.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { isTraced } from "./Logs.ts"

/** Callers of one batch whose traces are continued: a batch of thousands would be mostly spans otherwise. */
const callersMax = 64

/** The span that a W3C `traceparent` names; undefined where the text is none. */
export const parseTraceparent = (traceparent: string | undefined): Tracer.ExternalSpan | undefined =>
  traceparent === undefined
    ? undefined
    : Option.getOrUndefined(HttpTraceContext.w3c(Headers.fromRecordUnsafe({ traceparent })))

export const printTraceparent = ({ traceId, spanId, sampled }: Tracer.AnySpan): string =>
  `00-${traceId.padStart(32, "0")}-${spanId}-${sampled ? "01" : "00"}`

const decodeContext = Schema.decodeUnknownResult(Schema.fromJsonString(CommandContext))

const traceparentOf = ({ context }: StoredEvent): string | undefined => {
  if (context === null || !context.includes('"traceparent"')) return undefined
  const decoded = decodeContext(context)
  return Result.isSuccess(decoded) ? decoded.success.traceparent : undefined
}

interface Caller {
  readonly span: Tracer.ExternalSpan
  readonly commandId: string
}

/** Who is to be told what became of these rows: each sampled trace once, and the first of its commands. */
export const callersOf = (rows: ReadonlyArray<StoredEvent>): ReadonlyArray<Caller> => {
  const callers = new Map<string, Caller>()
  for (const row of rows) {
    const traceparent = traceparentOf(row)
    if (traceparent === undefined || callers.has(traceparent)) continue
    const span = parseTraceparent(traceparent)
    if (span?.sampled === true) callers.set(traceparent, { span, commandId: row.commandId })
    if (callers.size === callersMax) break
  }
  return [...callers.values()]
}

interface Continuation {
  readonly name: string
  readonly kind: Tracer.SpanKind
  readonly rows: () => ReadonlyArray<StoredEvent>
  readonly attributes: Readonly<Record<string, unknown>>
}

/**
 * Does a batch's work under one span of its own, and under a span in the trace of each of its callers, linked with
 * the batch's in both directions: many traces meet in one batch, and a span has one parent.
 */
export const continued =
  ({ name, kind, rows, attributes }: Continuation) =>
  <A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) => {
      if (!isTraced(fiber)) return work
      const callers = callersOf(rows())
      if (callers.length === 0) return work
      const links = callers.map(({ span }) => ({ span, attributes: {} }))
      return Effect.useSpan(`${name} batch`, { root: true, kind, attributes, links }, (batch) =>
        Effect.gen(function* () {
          const clock = yield* Clock.Clock
          const spans = yield* Effect.forEach(callers, ({ span, commandId }) =>
            Effect.makeSpan(name, {
              parent: span,
              kind,
              attributes: { ...attributes, "chronicle.command_id": commandId },
              links: [{ span: batch, attributes: {} }]
            })
          )
          return yield* Effect.onExit(work, (exit) =>
            Effect.sync(() => {
              for (const span of spans) span.end(clock.currentTimeNanosUnsafe(), exit)
            })
          )
        })
      )
    })
