/**
 * What HTTP costs beside RPC and beside a ledger in the caller's own process: single transfers by many clients at once and by one alone,
 * and batches, over both doors of one node in turn; before and after them one caller's commands without a door. The node of the doors is
 * a process of its own; the stores are an embedded stack.
 */
import { Agent, request } from "node:http"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Console, Effect, Layer, References } from "effect"
import { DevStack, type DevStackService } from "../src/infra/dev/DevStack.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { LedgerClient } from "../src/rpc/client/LedgerClient.ts"
import { prepare, startNode, transfer } from "./servedNode.ts"

const clients = 128
const batch = 500
const seconds = 5
const alone = 1_000
const rounds = 2

/** How many commands `send` has done. */
type Door = {
  readonly name: string
  readonly one: Effect.Effect<number>
  readonly many: Effect.Effect<number>
}

const agent = new Agent({ keepAlive: true, maxSockets: clients })

/** The body of the answer to a POST, whatever its status. */
const post = (port: number, path: string, type: string, body: string) =>
  Effect.callback<{ readonly status: number; readonly text: string }>((resume) => {
    const sent = request(
      {
        host: "127.0.0.1",
        port,
        path,
        method: "POST",
        agent,
        headers: { "content-type": type, "content-length": Buffer.byteLength(body) }
      },
      (response) => {
        let text = ""
        response.setEncoding("utf8")
        response.on("data", (data: string) => {
          text += data
        })
        response.on("end", () => resume(Effect.succeed({ status: response.statusCode ?? 0, text })))
      }
    )
    sent.on("error", (error) => resume(Effect.die(error)))
    sent.end(body)
  })

const json = (command: ReturnType<typeof transfer>) =>
  JSON.stringify({ ...command, amount: String(command.amount) })

const overHttp = (port: number): Door => ({
  name: "HTTP",
  one: Effect.suspend(() => post(port, "/v1/transfers", "application/json", json(transfer()))).pipe(
    Effect.map(({ status }) => (status === 201 ? 1 : 0))
  ),
  many: Effect.suspend(() =>
    post(
      port,
      "/v1/batch",
      "application/x-ndjson",
      Array.from({ length: batch }, () => json(transfer())).join("\n")
    )
  ).pipe(Effect.map(({ text }) => text.split('"status":201').length - 1))
})

const throughLedger = (name: string, ledger: Ledger["Service"]): Door => ({
  name,
  one: Effect.suspend(() => ledger.dispatch(transfer())).pipe(
    Effect.as(1),
    Effect.orElseSucceed(() => 0)
  ),
  many: Effect.suspend(() => ledger.dispatchMany(Array.from({ length: batch }, transfer))).pipe(
    Effect.map((results) => results.filter(({ _tag }) => _tag === "Success").length),
    Effect.orElseSucceed(() => 0)
  )
})

/** Commands a second, sent by so many loops at once. */
const rate = Effect.fnUntraced(function* (send: Effect.Effect<number>, loops: number) {
  const started = yield* Clock.currentTimeMillis
  let done = 0
  const loop = Effect.gen(function* () {
    while ((yield* Clock.currentTimeMillis) - started < seconds * 1_000) {
      // Not `done += yield* …`, which reads `done` before the wait, while other loops add to it.
      const sent = yield* send
      done += sent
    }
  })
  yield* Effect.all(
    Array.from({ length: loops }, () => loop),
    { concurrency: "unbounded" }
  )
  return (done * 1_000) / ((yield* Clock.currentTimeMillis) - started)
})

/** The median of commands one after the other, in milliseconds. */
const median = Effect.fnUntraced(function* (send: Effect.Effect<number>) {
  const took: Array<number> = []
  for (let n = 0; n < alone; n++) {
    const started = yield* Clock.currentTimeNanos
    yield* send
    took.push(Number((yield* Clock.currentTimeNanos) - started) / 1e6)
  }
  return took.toSorted((a, b) => a - b)[alone >> 1] ?? 0
})

const measure = Effect.fnUntraced(function* ({ name, one, many }: Door) {
  const singles = yield* rate(one, clients)
  const batches = yield* rate(many, 8)
  const p50 = yield* median(one)
  yield* Console.log(
    `${name.padEnd(6)} ${Math.round(singles).toString().padStart(7)} single transfers/s   ${Math.round(batches).toString().padStart(7)} in batches   one client p50 ${p50.toFixed(2)} ms`
  )
  return { singles, batches, p50 }
})

/** One caller's commands to a node in this process, in milliseconds at p50. */
const inProcess = Effect.fnUntraced(function* (stack: DevStackService, nodeName: string) {
  const p50 = yield* Effect.gen(function* () {
    const { one, many } = throughLedger("", yield* Ledger)
    yield* prepare(yield* Ledger)
    yield* rate(many, 8) // warm
    return yield* median(one)
  }).pipe(Effect.provide(LedgerNode.layer({ ...stack, nodeName }), { local: true }))
  yield* Console.log(`in process: one client p50 ${p50.toFixed(2)} ms`)
  return p50
})

/** The medians of one command over HTTP, of the rounds. */
const throughDoors = Effect.fnUntraced(function* (stack: DevStackService) {
  const { http, rpc } = yield* startNode(stack)
  const client = LedgerClient.layer({ urls: [`tcp://127.0.0.1:${rpc}`], limits: { connectMs: 30_000 } })
  return yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    const ledger = yield* Ledger
    yield* prepare(ledger)
    const doors = [throughLedger("RPC", ledger), overHttp(http)]
    for (const { many } of doors) yield* rate(many, 8) // warm both
    const medians: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      const [first, second] = [yield* measure(throughLedger("RPC", ledger)), yield* measure(overHttp(http))]
      medians.push(second.p50)
      yield* Console.log(
        `HTTP reaches ${(second.singles / first.singles).toFixed(2)} of RPC in single transfers and ${(second.batches / first.batches).toFixed(2)} in batches; one command takes ${(second.p50 - first.p50).toFixed(2)} ms more at p50`
      )
    }
    return medians
  }).pipe(Effect.provide(client, { local: true }))
}, Effect.scoped)

const program = Effect.gen(function* () {
  const stack = yield* DevStack
  yield* LedgerNode.migrate(stack)
  for (const note of stack.notes) yield* Console.log(`  ${note}`)
  const before = yield* inProcess(stack, "before")
  const overHttp = yield* throughDoors(stack)
  const after = yield* inProcess(stack, "after")
  const mean = (values: ReadonlyArray<number>) =>
    values.reduce((sum, value) => sum + value, 0) / values.length
  yield* Console.log(
    `one command over HTTP takes ${(mean(overHttp) - mean([before, after])).toFixed(2)} ms more at p50 than in process`
  )
}).pipe(
  Effect.scoped,
  Effect.provide(DevStack.layer({ dataDir: ".chronicle/bench-http", fresh: true })),
  Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(References.MinimumLogLevel, "Warn")))
)

tuneCollector()
NodeRuntime.runMain(program)
