/** The log as JSON: one object a line, with the trace that it belongs to, and without secrets. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Console, Effect, Layer, Redacted, Tracer } from "effect"
import { layerJsonLogs, layerTextLogs } from "../../src/infra/telemetry/Logs.ts"
import { run } from "../support/chronicle.ts"

/** What an effect logs, entry by entry. */
const entriesOf = Effect.fnUntraced(function* (logs: Effect.Effect<void>, layer: Layer.Layer<never>) {
  const lines: Array<string> = []
  const console: Console.Console = {
    ...(yield* Console.Console),
    log: () => assert.fail("stdout belongs to answers"),
    error: (line: unknown) => void lines.push(String(line))
  }
  yield* logs.pipe(Effect.provide(layer), Effect.provideService(Console.Console, console))
  return lines
})

const linesOf = (logs: Effect.Effect<void>) =>
  Effect.map(entriesOf(logs, layerJsonLogs), (lines) =>
    lines.map((line): Record<string, unknown> => JSON.parse(line))
  )

const otherTracer = Layer.succeed(
  Tracer.Tracer,
  Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
)

describe("logs as JSON", () => {
  it.effect("are one object a line on stderr, with annotations as fields", () =>
    Effect.gen(function* () {
      const [line, ...more] = yield* linesOf(
        Effect.logWarning("split\nbrain", ["alice"]).pipe(Effect.annotateLogs({ commandIds: ["order-1"] }))
      )
      assert.deepEqual(more, [])
      assert.strictEqual(line?.level, "WARN")
      assert.deepEqual(line?.message, ["split\nbrain", ["alice"]])
      assert.deepEqual(line?.annotations, { commandIds: ["order-1"] })
      assert.match(String(line?.timestamp), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      assert.notProperty(line, "traceId")
    })
  )

  it.effect("name the trace and span that they belong to, with a tracer", () =>
    Effect.gen(function* () {
      const [line] = yield* linesOf(
        Effect.useSpan("work", (span) =>
          Effect.withParentSpan(Effect.logInfo(span.traceId, span.spanId), span)
        ).pipe(Effect.provide(otherTracer))
      )
      assert.deepEqual([line?.traceId, line?.spanId], line?.message)
    })
  )

  it.effect("never contain a secret", () =>
    Effect.gen(function* () {
      const url = Redacted.make("postgresql://root:hunter2@host/ledger")
      const lines = yield* linesOf(Effect.logError("no connection", { url }, url))
      assert.notInclude(JSON.stringify(lines), "hunter2")
      assert.include(JSON.stringify(lines), "redacted")
    })
  )
})

describe("logs as text", () => {
  it.effect("are one line an entry, whatever a peer put into it", () =>
    Effect.gen(function* () {
      const forged = "a\n[09:00:00.000] INFO (#1): all is well\r\u001b[2K\u202e"
      const entries = yield* entriesOf(
        Effect.logWarning(`no account ${forged}`, { account: forged }).pipe(
          Effect.annotateLogs({ commandIds: [forged] })
        ),
        layerTextLogs
      )
      assert.lengthOf(entries, 1)
      assert.match(
        entries[0] ?? "",
        /^\[[\d:.]+\] WARN \(#\d+\): no account a\\n\[09:00:00.000\] INFO \(#1\): all is well\\r\\x1b\[2K\\u\{202e\} /
      )
      assert.notMatch(entries[0] ?? "", /[\p{Cc}\u202e]/u)
    })
  )

  it.effect("indent the lines of a trace, so that none of them looks like an entry", () =>
    Effect.gen(function* () {
      const defect = new Error("lost\n[09:00:00.000] INFO (#1): all is well")
      for (const logs of [Effect.logError("failed", defect), Effect.logError("failed", Cause.die(defect))]) {
        const [entry = ""] = yield* entriesOf(logs, layerTextLogs)
        assert.match(entry, /^\[[\d:.]+\] ERROR \(#\d+\): failed/)
        assert.match(entry, /\n +at /)
        for (const line of entry.split("\n").slice(1)) assert.match(line, /^ {2}/)
      }
    })
  )

  it.effect("never hold a secret", () =>
    Effect.gen(function* () {
      const url = Redacted.make("postgresql://root:hunter2@host/ledger")
      const entries = yield* entriesOf(Effect.logError("no connection", { url }, url), layerTextLogs)
      assert.notInclude(entries.join(), "hunter2")
      assert.include(entries.join(), "redacted")
    })
  )
})

describe("the command line", () => {
  it.live(
    "writes only JSON to stderr with CHRONICLE_LOG_FORMAT=json, even the reason why it ends",
    () =>
      Effect.gen(function* () {
        const nowhere = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"
        const { code, stderr, stdout } = yield* run(["serve"], {
          env: {
            CHRONICLE_LOG_FORMAT: "json",
            CHRONICLE_EVENT_STORE_URL: nowhere,
            CHRONICLE_READ_MODEL_URL: nowhere,
            CHRONICLE_NATS_URL: "nats://127.0.0.1:1"
          }
        })
        assert.strictEqual(code, 1)
        assert.strictEqual(stdout, "")
        const lines = stderr
          .trimEnd()
          .split("\n")
          .map((line): Record<string, unknown> => JSON.parse(line))
        assert.match(
          String(lines[0]?.message),
          /^node [\w-]+-[0-9a-f]{8}: event store postgresql:\/\/127\.0\.0\.1:1/
        )
        assert.strictEqual(lines.at(-1)?.level, "FATAL")
        assert.notInclude(stderr, "hunter2")
      }),
    420_000
  )

  it.live("refuses an unknown log format, and names the variable", () =>
    Effect.gen(function* () {
      const { code, stderr } = yield* run(["migrate"], { env: { CHRONICLE_LOG_FORMAT: "xml" } })
      assert.strictEqual(code, 2)
      assert.include(stderr, "CHRONICLE_LOG_FORMAT")
    })
  )
})
