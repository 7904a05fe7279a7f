/** What RPC costs: transfers in process and over RPC on one stack, in batches and one by one, in turn. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, Layer, References } from "effect"
import { DevStack } from "../src/infra/dev/DevStack.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { LedgerClient } from "../src/rpc/client/LedgerClient.ts"
import { prepare, startNode, transfer } from "./servedNode.ts"

const batch = 500
const loops = 8
const seconds = 5
const singles = 2_000

type Service = Ledger["Service"]

/** Transfers a second, of batches in several loops at once. */
const many = Effect.fnUntraced(function* (ledger: Service) {
  const started = yield* Clock.currentTimeMillis
  let done = 0
  const loop = Effect.gen(function* () {
    while ((yield* Clock.currentTimeMillis) - started < seconds * 1_000) {
      const results = yield* ledger.dispatchMany(Array.from({ length: batch }, transfer))
      for (const result of results) if (result._tag === "Success") done++
    }
  })
  yield* Effect.all(
    Array.from({ length: loops }, () => loop),
    { concurrency: "unbounded" }
  )
  return (done * 1_000) / ((yield* Clock.currentTimeMillis) - started)
})

/** Milliseconds of single commands, one after the other: p50 and p99. */
const single = Effect.fnUntraced(function* (ledger: Service) {
  const took: Array<number> = []
  for (let n = 0; n < singles; n++) {
    const started = yield* Clock.currentTimeNanos
    yield* ledger.dispatch(transfer())
    took.push(Number((yield* Clock.currentTimeNanos) - started) / 1e6)
  }
  took.sort((a, b) => a - b)
  return { p50: took[singles >> 1] ?? 0, p99: took[Math.floor(singles * 0.99)] ?? 0 }
})

const measure = Effect.fnUntraced(function* (way: string) {
  const ledger = yield* Ledger
  yield* prepare(ledger)
  yield* many(ledger)
  const perSecond = yield* many(ledger)
  const { p50, p99 } = yield* single(ledger)
  yield* Console.log(
    `${way.padEnd(28)} ${Math.round(perSecond).toString().padStart(8)} transfers/s   single p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`
  )
  return { perSecond, p50 }
})

const program = Effect.gen(function* () {
  const stack = yield* DevStack
  yield* LedgerNode.migrate(stack)
  for (const note of stack.notes) yield* Console.log(`  ${note}`)
  const inside = yield* measure("in process").pipe(
    Effect.provide(LedgerNode.layer({ ...stack, nodeName: "inside" }), { local: true })
  )
  const { rpc } = yield* startNode(stack)
  const client = LedgerClient.layer({
    urls: [`tcp://127.0.0.1:${rpc}`],
    format: process.env.CHRONICLE_RPC_FORMAT === "ndjson" ? "ndjson" : "binary",
    limits: { connectMs: 20_000 }
  })
  const outside = yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    return yield* measure(`over RPC, ${process.env.CHRONICLE_RPC_FORMAT ?? "binary"}`)
  }).pipe(Effect.provide(client, { local: true }))
  yield* Console.log(
    `dispatchMany over RPC reaches ${(outside.perSecond / inside.perSecond).toFixed(2)} of in process; a single command takes ${(outside.p50 - inside.p50).toFixed(2)} ms more at p50`
  )
}).pipe(
  Effect.scoped,
  Effect.provide(DevStack.layer({ dataDir: ".chronicle/bench-rpc", fresh: true })),
  Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(References.MinimumLogLevel, "Warn")))
)

tuneCollector()
NodeRuntime.runMain(program)
