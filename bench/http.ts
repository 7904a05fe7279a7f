/**
 * What HTTP costs beside RPC and beside a ledger in the caller's own process: single transfers by many clients at once and by one alone,
 * and batches, over both doors of one node in turn; then one caller's commands over HTTP and in process, in turn. The node of the doors is
 * a process of its own; the stores are embedded stacks.
 */
import { Agent, request } from "node:http"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Console, Effect, Layer, References } from "effect"
import { DevStack } from "../src/infra/dev/DevStack.ts"
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
const slices = 10

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

/** Of commands one after the other, in milliseconds. */
const latencies = Effect.fnUntraced(function* (send: Effect.Effect<number>, count: number) {
  const took: Array<number> = []
  for (let n = 0; n < count; n++) {
    const started = yield* Clock.currentTimeNanos
    yield* send
    took.push(Number((yield* Clock.currentTimeNanos) - started) / 1e6)
  }
  return took
})

const p50Of = (took: ReadonlyArray<number>): number => took.toSorted((a, b) => a - b)[took.length >> 1] ?? 0

const measure = Effect.fnUntraced(function* ({ name, one, many }: Door) {
  const singles = yield* rate(one, clients)
  const batches = yield* rate(many, 8)
  const p50 = p50Of(yield* latencies(one, alone))
  yield* Console.log(
    `${name.padEnd(6)} ${Math.round(singles).toString().padStart(7)} single transfers/s   ${Math.round(batches).toString().padStart(7)} in batches   one client p50 ${p50.toFixed(2)} ms`
  )
  return { singles, batches, p50 }
})

/** What one command of one caller takes more over HTTP than in process, in milliseconds at p50. Slices of both in turn, since a machine drifts. */
const compareAlone = Effect.fnUntraced(function* (http: Door, inProcess: Door) {
  const took: Record<"http" | "inProcess", Array<number>> = { http: [], inProcess: [] }
  // Until the read sides have nothing left of what was sent before.
  yield* Effect.sleep("15 seconds")
  for (const { one } of [http, inProcess]) yield* latencies(one, alone) // warm both
  for (let slice = 0; slice < slices; slice++) {
    took.http.push(...(yield* latencies(http.one, alone / slices)))
    took.inProcess.push(...(yield* latencies(inProcess.one, alone / slices)))
  }
  const [over, inside] = [p50Of(took.http), p50Of(took.inProcess)]
  yield* Console.log(
    `one client: HTTP p50 ${over.toFixed(2)} ms, in process ${inside.toFixed(2)} ms, in ${slices} slices each in turn: ${(over - inside).toFixed(2)} ms more`
  )
})

/** A node in this process, on stores of its own: beside the other on the same ones it would share its accounts. */
const beside = Layer.unwrap(
  Effect.gen(function* () {
    const stack = yield* DevStack
    yield* LedgerNode.migrate(stack)
    return LedgerNode.layer({ ...stack, nodeName: "in-process" })
  })
).pipe(Layer.provide(DevStack.layer({ dataDir: ".chronicle/bench-http-in-process", fresh: true })))

const program = Effect.gen(function* () {
  const stack = yield* DevStack
  yield* LedgerNode.migrate(stack)
  for (const note of stack.notes) yield* Console.log(`  ${note}`)
  const { http, rpc } = yield* startNode(stack)
  const client = LedgerClient.layer({ urls: [`tcp://127.0.0.1:${rpc}`], limits: { connectMs: 30_000 } })
  yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    const ledger = yield* Ledger
    yield* prepare(ledger)
    const doors = [throughLedger("RPC", ledger), overHttp(http)]
    for (const { many } of doors) yield* rate(many, 8) // warm both
    for (let round = 0; round < rounds; round++) {
      const [first, second] = [yield* measure(throughLedger("RPC", ledger)), yield* measure(overHttp(http))]
      yield* Console.log(
        `HTTP reaches ${(second.singles / first.singles).toFixed(2)} of RPC in single transfers and ${(second.batches / first.batches).toFixed(2)} in batches; one command takes ${(second.p50 - first.p50).toFixed(2)} ms more at p50`
      )
    }
  }).pipe(Effect.provide(client, { local: true }))
  yield* Effect.gen(function* () {
    const ledger = yield* Ledger
    yield* prepare(ledger)
    yield* compareAlone(overHttp(http), throughLedger("", ledger))
  }).pipe(Effect.provide(beside, { local: true }))
}).pipe(
  Effect.scoped,
  Effect.provide(DevStack.layer({ dataDir: ".chronicle/bench-http", fresh: true })),
  Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(References.MinimumLogLevel, "Warn")))
)

tuneCollector()
NodeRuntime.runMain(program)
