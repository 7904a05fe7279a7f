/**
 * What a thousand readers of server-sent events cost commands: single transfers at a fixed rate over RPC, without and with readers, in
 * turn. Half of the readers follow an account each, half a prefix of the feed; one takes nothing of what is sent to it.
 * `npm run bench:streams -- [commands a second] [seconds] [readers]`.
 */
import { readFileSync } from "node:fs"
import { request } from "node:http"
import { connect } from "node:net"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Console, Effect, Layer, References } from "effect"
import { DevStack } from "../src/infra/dev/DevStack.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { LedgerClient } from "../src/rpc/client/LedgerClient.ts"
import { account, accounts, prepare, startNode, transfer } from "./servedNode.ts"

const argument = (index: number, otherwise: number): number => Number(process.argv[index + 2] ?? otherwise)
const [commandsPerSecond, seconds, readers] = [argument(0, 1_000), argument(1, 20), argument(2, 1_000)]

const residentMib = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024)

/** The latency of each command from the moment at which it should have been sent, in milliseconds. */
const sendAtRate = Effect.fnUntraced(function* (ledger: Ledger["Service"]) {
  const started = yield* Clock.currentTimeMillis
  const took: Array<number> = []
  yield* Effect.forEach(
    Array.from(
      { length: commandsPerSecond * seconds },
      (_, index) => started + (index * 1_000) / commandsPerSecond
    ),
    (due) =>
      Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        if (due > now) yield* Effect.sleep(due - now)
        yield* ledger.dispatch(transfer())
        const done = yield* Clock.currentTimeMillis
        took.push(done - due)
      }),
    // Enough for every command that is under way, and no more than the node takes.
    { concurrency: commandsPerSecond, discard: true }
  )
  took.sort((a, b) => a - b)
  const at = (part: number): number => took[Math.floor(took.length * part)] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
})

/** Opens the streams; answers how many events came so far. */
const openReaders = Effect.fnUntraced(function* (port: number) {
  let [open, events] = [0, 0]
  const paths = Array.from({ length: readers - 1 }, (_, index) => {
    const id = account(index * 7)
    return index % 2 === 0 ? `/v1/accounts/${id}/events` : `/v1/feed?accountPrefix=${id}&after=now`
  })
  const streams = paths.map((path) =>
    request({ port, path, headers: { accept: "text/event-stream" } }, (response) => {
      open++
      response.on("data", (chunk: Buffer) => {
        events += chunk.toString("latin1").split("\nid: ").length - 1
      })
    }).on("error", () => {})
  )
  for (const [index, stream] of streams.entries()) {
    stream.end()
    // So that the node's queue of new connections does not overflow.
    if (index % 50 === 49) yield* Effect.sleep("100 millis")
  }
  // One that never reads: its socket is paused as soon as it has asked.
  const silent = connect(port, "127.0.0.1", () =>
    silent.write("GET /v1/feed HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
  )
  silent.pause().on("error", () => {})
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      silent.destroy()
      for (const stream of streams) stream.destroy()
    })
  )
  while (open < paths.length) yield* Effect.sleep("50 millis")
  // Until they have read what there is: what is measured are readers that follow.
  for (let before = -1; before < events; ) {
    before = events
    yield* Effect.sleep("3 seconds")
  }
  return () => events
})

const program = Effect.gen(function* () {
  const stack = yield* DevStack
  yield* LedgerNode.migrate(stack)
  for (const note of stack.notes) yield* Console.log(`  ${note}`)
  const { http, rpc, pid } = yield* startNode(stack)
  const client = LedgerClient.layer({ urls: [`tcp://127.0.0.1:${rpc}`], limits: { connectMs: 30_000 } })
  yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    const ledger = yield* Ledger
    yield* prepare(ledger)
    yield* sendAtRate(ledger) // warm
    yield* Console.log(
      `${commandsPerSecond} transfers a second over ${accounts} accounts for ${seconds} s, in turn:`
    )
    for (let round = 0; round < 2; round++) {
      const without = yield* sendAtRate(ledger)
      yield* Console.log(
        `without readers       p50 ${without.p50} ms  p99 ${without.p99} ms  resident ${residentMib(pid)} MiB`
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const eventsUnsafe = yield* openReaders(http)
          const before = [eventsUnsafe(), residentMib(pid)] as const
          const beside = yield* sendAtRate(ledger)
          yield* Console.log(
            `with ${readers} readers     p50 ${beside.p50} ms  p99 ${beside.p99} ms  resident ${before[1]} to ${residentMib(pid)} MiB, ` +
              `${eventsUnsafe() - before[0]} events; p99 ${(beside.p99 / without.p99).toFixed(2)} of without`
          )
        })
      )
    }
  }).pipe(Effect.provide(client, { local: true }))
}).pipe(
  Effect.scoped,
  Effect.provide(DevStack.layer({ dataDir: ".chronicle/bench-streams", fresh: true })),
  Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(References.MinimumLogLevel, "Warn")))
)

tuneCollector()
NodeRuntime.runMain(program)
