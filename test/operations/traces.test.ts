/** Traces: the trace of a caller must go from the dispatch of its command to the projected row, and cost nothing without a tracer. */
import { createServer } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Option, Tracer } from "effect"
import type { CommandInput } from "../../src/domain/Command.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { layerTraces, sampling } from "../../src/infra/telemetry/Telemetry.ts"
import { callersOf, parseTraceparent, printTraceparent } from "../../src/infra/telemetry/Tracing.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { deposit, open, readStream, transfer } from "../support/ledgerWorld.ts"
import { eventually } from "../support/readSides.ts"
import { connect, openTcp, quiet } from "../support/rpcWorld.ts"
import { storedEvent } from "../support/storedEvents.ts"

/** Keeps every span of the node and of the test. */
const recording = () => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const inTrace = (traceId: string) => spans.filter((span) => span.traceId === traceId)
  return { spans, inTrace, layer: Layer.succeed(Tracer.Tracer, tracer) }
}

const node = (tracer: Layer.Layer<never>) =>
  LedgerNode.layerMemory.pipe(Layer.provideMerge(Layer.mergeAll(quiet, tracer)))

const contextsOf = (account: string) =>
  Effect.gen(function* () {
    const rows = yield* readStream(yield* EventStore, account)
    return rows.map(({ context }): unknown =>
      context === null ? undefined : JSON.parse(context).traceparent
    )
  })

const isEnded = ({ status }: Tracer.Span) => status._tag === "Ended"

describe("a trace", () => {
  it.live("goes from the span of the caller through commit and relay to the projection of both sides", () => {
    const { spans, inTrace, layer } = recording()
    return Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatchMany([open("traced-a", 10n), open("traced-b")])
      const caller = yield* Effect.useSpan("the caller", (span) =>
        Effect.as(
          Effect.withParentSpan(ledger.dispatch(transfer("traced-a", "traced-b", 3n, "traced-1")), span),
          span
        )
      )
      yield* eventually(
        Effect.sync(() => {
          const ended = spans.filter(isEnded)
          const own = ended.filter(({ traceId }) => traceId === caller.traceId).map(({ name }) => name)
          for (const name of ["Ledger.dispatch", "commit", "relay", "project"]) assert.include(own, name)
          // The batch that did the work has a trace of its own.
          for (const { links } of inTrace(caller.traceId))
            for (const { span } of links) assert.isTrue(ended.some(({ spanId }) => spanId === span.spanId))
        })
      )
      const own = inTrace(caller.traceId)
      const dispatch = own.find(({ name }) => name === "Ledger.dispatch")
      assert.strictEqual(dispatch && Option.getOrThrow(dispatch.parent).spanId, caller.spanId)
      for (const name of ["commit", "relay", "project"]) {
        const span = own.find((one) => one.name === name)
        assert.strictEqual(span && Option.getOrThrow(span.parent).spanId, dispatch?.spanId, name)
        assert.strictEqual(span?.attributes.get("chronicle.command_id"), "traced-1")
        // With links in both directions.
        const batch = spans.find(({ spanId }) => spanId === span?.links[0]?.span.spanId)
        assert.strictEqual(batch?.name, `${name} batch`)
        assert.isTrue(batch?.links.some((link) => link.span.traceId === caller.traceId))
      }
      // The events in the log carry the trace, on both sides.
      const traceparent = dispatch && printTraceparent(dispatch)
      for (const account of ["traced-a", "traced-b"])
        assert.strictEqual((yield* contextsOf(account)).at(-1), traceparent)
    }).pipe(Effect.provide(node(layer)))
  })

  it.live("is the one that the caller names, and is stored unchanged", () => {
    const { inTrace, layer } = recording()
    const traceId = "0af7651916cd43dd8448eb211c80319c"
    const traceparent = `00-${traceId}-b7ad6b7169203331-01`
    const command: CommandInput = {
      _tag: "OpenAccount",
      account: "named",
      asset: "USD/2",
      owner: "Ada",
      context: { traceparent }
    }
    return Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatch(command)
      assert.deepEqual(yield* contextsOf("named"), [traceparent])
      yield* eventually(
        Effect.sync(() => {
          const names = inTrace(traceId).map(({ name }) => name)
          for (const name of ["Ledger.dispatch", "commit", "relay", "project"]) assert.include(names, name)
        })
      )
    }).pipe(Effect.provide(node(layer)))
  })

  it.live("is carried by a call over RPC", () => {
    const { inTrace, layer } = recording()
    return Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* openTcp()
        const { ledger } = yield* connect({ urls: [url] })
        const caller = yield* Effect.useSpan("the peer", (span) =>
          Effect.as(Effect.withParentSpan(ledger.dispatch(open("remote")), span), span)
        )
        const [stored] = yield* contextsOf("remote")
        assert.strictEqual(parseTraceparent(String(stored))?.traceId, caller.traceId)
        yield* eventually(
          Effect.sync(() =>
            assert.include(
              inTrace(caller.traceId).map(({ name }) => name),
              "project"
            )
          )
        )
      })
    ).pipe(Effect.provide(node(layer)))
  })

  it.live("leaves nothing in the log without a tracer", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* Effect.withSpan(ledger.dispatch(open("untraced")), "nobody listens")
      yield* ledger.dispatchMany([deposit("untraced", 1n)])
      assert.deepEqual(yield* contextsOf("untraced"), [undefined, undefined])
    }).pipe(Effect.provide(node(Layer.empty)))
  )
})

/** A collector on loopback, which keeps the bodies that are sent to `/v1/traces`. */
const collector = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly bodies: Array<string>; readonly close: () => void }>(
    (resume) => {
      const bodies: Array<string> = []
      const server = createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8").on("data", (text: string) => {
          body += text
        })
        request.once("end", () => {
          if (request.url === "/v1/traces") bodies.push(body)
          response.end("{}")
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, bodies, close: () => server.close() }))
      })
    }
  ),
  ({ close }) => Effect.sync(close)
)

describe("spans", () => {
  const traces = (env: Readonly<Record<string, string>>) =>
    layerTraces("node-7").pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(env))))

  it.live("are sent to the collector that CHRONICLE_OTLP_URL names before the node has ended", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url, bodies } = yield* collector
        yield* Effect.void.pipe(
          Effect.withSpan("asked", { kind: "server" }),
          Effect.andThen(Effect.void.pipe(Effect.withSpan("housekeeping"))),
          Effect.provide(traces({ CHRONICLE_OTLP_URL: url }))
        )
        const sent = bodies.join()
        assert.include(sent, '"asked"')
        assert.include(sent, "node-7")
        assert.notInclude(sent, "housekeeping")
      })
    )
  )

  it.effect("are not made without CHRONICLE_OTLP_URL", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Tracer.Tracer, Tracer.nativeTracer)
    }).pipe(Effect.provide(traces({})))
  )
})

describe("sampling", () => {
  const rootsOf = (ratio: number, kind: Tracer.SpanKind) => {
    const { spans, layer } = recording()
    return Effect.gen(function* () {
      const tracer = sampling(ratio)(yield* Tracer.Tracer)
      yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => Effect.void.pipe(Effect.withSpan("child"), Effect.withSpan("root", { kind })),
        { discard: true }
      ).pipe(Effect.withTracer(tracer))
      return spans
    }).pipe(Effect.provide(layer))
  }

  it.effect("keeps the given share of the calls with all of their spans, and no housekeeping", () =>
    Effect.gen(function* () {
      const kept = (spans: ReadonlyArray<Tracer.Span>, name: string) =>
        spans.filter((span) => span.sampled && span.name === name).length
      for (const [ratio, count] of [
        [0, 0],
        [0.25, 25],
        [1, 100]
      ] as const) {
        const spans = yield* rootsOf(ratio, "server")
        assert.deepEqual([kept(spans, "root"), kept(spans, "child")], [count, count], String(ratio))
      }
      assert.strictEqual(kept(yield* rootsOf(1, "client"), "root"), 0)
    })
  )
})

describe("callers of a batch", () => {
  const row = (traceparent: string | null) =>
    storedEvent({
      account: "a",
      version: 1,
      ...(traceparent === null ? {} : { context: JSON.stringify({ caller: "shop", traceparent }) })
    })
  const trace = (nth: number) => `00-${String(nth).padStart(32, "a")}-b7ad6b7169203331-01`

  it("are linked once each, unless they are not sampled or have no trace", () => {
    const rows = [
      row(trace(1)),
      row(trace(1)),
      row(null),
      row(trace(2)),
      row(trace(3).replace(/01$/, "00")),
      row("?")
    ]
    assert.deepEqual(
      callersOf(rows).map(({ span }) => span.traceId),
      [trace(1), trace(2)].map((traceparent) => traceparent.slice(3, 35))
    )
  })

  it("are linked up to a bound", () => {
    const rows = Array.from({ length: 1_000 }, (_, nth) => row(trace(nth)))
    assert.strictEqual(callersOf(rows).length, 64)
  })
})
