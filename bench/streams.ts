/**
 * What readers of server-sent events cost commands: single transfers at a fixed rate over RPC, without and with readers, in turn. Half of
 * the readers follow an account each, half a prefix of the feed; one takes nothing of what is sent to it, and comes again when it was
 * ended. The readers are processes of their own, whose processor time is shown beside that of the threads of the node.
 * `npm run bench:streams -- [commands a second] [seconds] [readers] [rounds]`; `--nice` so many steps of the readers' priority
 * below the node's (default 0); `--beside` they read from a node of the read side, a process of its own, which `--nice` is for as well: so both
 * take from commands as little of the cores as another machine would; `--memory` one load with
 * readers alone, and the node's memory after a full collection at each tenth of it.
 */
import { type ChildProcess, fork } from "node:child_process"
import { connect } from "node:net"
import { cpus, setPriority } from "node:os"
import { parseArgs } from "node:util"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Console, Effect, Fiber, Layer, References } from "effect"
import { DevStack, type DevStackService } from "../src/infra/dev/DevStack.ts"
import { loopbackPort } from "../src/infra/dev/LoopbackPort.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { LedgerClient } from "../src/rpc/client/LedgerClient.ts"
import { openInspector } from "./Inspector.ts"
import { type ProcessorSeconds, processorSeconds, residentMib, waitedSeconds } from "./ProcessThreads.ts"
import { accounts, prepare, startNode, transfer } from "./servedNode.ts"
import type { ReadersSeen } from "./streamReaders.ts"

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    nice: { type: "string", default: "0" },
    beside: { type: "boolean", default: false },
    memory: { type: "boolean", default: false }
  }
})
const argument = (index: number, otherwise: number): number => Number(positionals[index] ?? otherwise)
const [commandsPerSecond, seconds] = [argument(0, 1_000), argument(1, 20)]
const [readers, rounds] = [argument(2, 1_000), argument(3, 5)]
const readerProcesses = 2
/** Readers, and what sends, collect on their own thread, as on a machine of their own: V8's helpers would take both cores from the node. */
const collectsAlone = ["--single-threaded-gc"]
/** A load of so long goes before each that is measured: what the opening of a thousand streams leaves is collected in it. */
const settleSeconds = 15

const nowMs = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

/** The latency of each command from the moment at which it should have been sent, in milliseconds. */
const sendAtRate = Effect.fnUntraced(function* (ledger: Ledger["Service"], forSeconds = seconds) {
  const started = yield* nowMs
  const took: Array<number> = []
  yield* Effect.forEach(
    Array.from(
      { length: commandsPerSecond * forSeconds },
      (_, index) => started + (index * 1_000) / commandsPerSecond
    ),
    (due) =>
      Effect.gen(function* () {
        const now = yield* nowMs
        if (due > now) yield* Effect.sleep(due - now)
        yield* ledger.dispatch(transfer())
        took.push((yield* nowMs) - due)
      }),
    // Enough for every command that is under way, and no more than the node takes.
    { concurrency: commandsPerSecond, discard: true }
  )
  return { took, ...quantilesOf(took) }
})

const quantilesOf = (took: ReadonlyArray<number>) => {
  const sorted = took.toSorted((a, b) => a - b)
  const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
}

const ask = (child: ChildProcess) =>
  Effect.callback<ReadersSeen>((resume) => {
    // The reader process answers nothing else.
    child.once("message", (seen) => resume(Effect.succeed(seen as ReadersSeen)))
    child.send("seen")
  })

/** What all readers have had so far. */
const seenBy = (children: ReadonlyArray<ChildProcess>) =>
  Effect.map(Effect.forEach(children, ask), (all) =>
    all.reduce((sum, one) => ({
      open: sum.open + one.open,
      events: sum.events + one.events,
      chunks: sum.chunks + one.chunks,
      ended: sum.ended + one.ended
    }))
  )

/** One that never reads: its socket is paused as soon as it has asked. */
const keepSilentReader = (port: number) => {
  let isOver = false
  let times = 0
  let socket = connect(port, "127.0.0.1")
  const open = (): void => {
    if (isOver) return
    times++
    socket = connect(port, "127.0.0.1", () =>
      socket.write("GET /v1/feed HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
    )
    socket
      .pause()
      .on("error", () => {})
      .on("close", open)
  }
  socket.destroy()
  open()
  return {
    times: () => times,
    end: (): void => {
      isOver = true
      socket.destroy()
    }
  }
}

/** Opens the streams, and waits until they have read what there is: what is measured are readers that follow. */
const openReaders = Effect.fnUntraced(function* (port: number) {
  const each = Math.ceil((readers - 1) / readerProcesses)
  const children = yield* Effect.forEach(
    Array.from({ length: readerProcesses }, (_, index) => index * each),
    (first) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const count = Math.min(each, readers - 1 - first)
          const args = [String(port), String(first), String(count)]
          const child = fork(new URL("streamReaders.ts", import.meta.url), args, { execArgv: collectsAlone })
          setPriority(child.pid ?? 0, Number(flags.nice))
          return child
        }),
        (child) => Effect.sync(() => child.disconnect())
      )
  )
  const silent = yield* Effect.acquireRelease(
    Effect.sync(() => keepSilentReader(port)),
    ({ end }) => Effect.sync(end)
  )
  const seen = seenBy(children)
  yield* Effect.repeat(Effect.andThen(Effect.sleep("100 millis"), seen), {
    until: ({ open }) => open === readers - 1
  })
  for (let before = -1, now = 0; before < now; ) {
    before = now
    yield* Effect.sleep("2 seconds")
    now = (yield* seen).events
  }
  return {
    seen,
    silentTimes: silent.times,
    processor: () => children.reduce((sum, { pid = 0 }) => sum + totalOf(processorSeconds(pid)), 0)
  }
})

const totalOf = ({ main, readSide, others }: ProcessorSeconds): number => main + readSide + others

const percent = (part: number): string => `${Math.round((part * 100) / seconds)} %`

interface Used {
  readonly node: ProcessorSeconds
  /** How long the thread of commands was ready to run and had no core, in seconds. */
  readonly waited: number
  /** All cores of the machine: PostgreSQL, JetStream, those that send and those that read are on them too. */
  readonly machine: { readonly idleMs: number; readonly totalMs: number }
}

const usedNow = (pid: number): Used => {
  const cores = cpus().map(({ times }) => times)
  const totalMs = cores.reduce((sum, core) => sum + Object.values(core).reduce((all, ms) => all + ms, 0), 0)
  const idleMs = cores.reduce((sum, { idle }) => sum + idle, 0)
  return { node: processorSeconds(pid), waited: waitedSeconds(pid), machine: { idleMs, totalMs } }
}

/** While the load ran. */
const shares = (before: Used, after: Used): string => {
  const [{ main, readSide, others }, earlier] = [after.node, before.node]
  const idle =
    (after.machine.idleMs - before.machine.idleMs) / (after.machine.totalMs - before.machine.totalMs)
  return (
    `commands' thread ${percent(main - earlier.main)} of a core, and waited for one ${percent(after.waited - before.waited)}; ` +
    `read side's ${percent(readSide - earlier.readSide)}, others ${percent(others - earlier.others)}; the machine was busy ${Math.round(100 - idle * 100)} %`
  )
}

const measured = Effect.fnUntraced(function* (ledger: Ledger["Service"], pid: number) {
  // A full collection of the program that sends holds it up for as long as the p99 of a load, and is not the node's.
  globalThis.gc?.()
  const before = usedNow(pid)
  const took = yield* sendAtRate(ledger)
  return { ...took, shares: shares(before, usedNow(pid)) }
})

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

interface Node {
  readonly pid: number
  /** Where the readers read. */
  readonly http: number
}

const inTurn = Effect.fnUntraced(function* (ledger: Ledger["Service"], node: Node) {
  yield* sendAtRate(ledger) // warm
  yield* Console.log(
    `${commandsPerSecond} transfers a second over ${accounts} accounts for ${seconds} s, in turn, ${rounds} rounds; readers at nice ${flags.nice}${flags.beside ? " read from a node of the read side" : ""}:`
  )
  const ratios: Array<readonly [p50: number, p99: number]> = []
  const [allWithout, allBeside]: [Array<number>, Array<number>] = [[], []]
  for (let round = 0; round < rounds; round++) {
    yield* sendAtRate(ledger, settleSeconds)
    const without = yield* measured(ledger, node.pid)
    yield* Console.log(
      `without readers    p50 ${without.p50.toFixed(2)} ms  p99 ${without.p99.toFixed(1)} ms  ${without.shares}`
    )
    yield* Effect.scoped(
      Effect.gen(function* () {
        const open = yield* openReaders(node.http)
        yield* sendAtRate(ledger, settleSeconds)
        const [before, processor] = [yield* open.seen, open.processor()]
        const beside = yield* measured(ledger, node.pid)
        const seen = yield* open.seen
        ratios.push([beside.p50 / without.p50, beside.p99 / without.p99])
        allWithout.push(...without.took)
        allBeside.push(...beside.took)
        yield* Console.log(
          `with ${readers} readers  p50 ${beside.p50.toFixed(2)} ms  p99 ${beside.p99.toFixed(1)} ms  ${beside.shares}; ` +
            `${seen.events - before.events} events in ${seen.chunks - before.chunks} chunks, ${seen.ended} ended, ` +
            `readers ${percent(open.processor() - processor)}; p99 ${(beside.p99 / without.p99).toFixed(2)} of without`
        )
      })
    )
    // A thousand streams that end at once are not what the next load is to be measured beside.
    yield* Effect.sleep("5 seconds")
  }
  yield* Console.log(
    `medians: p50 ${median(ratios.map(([p50]) => p50)).toFixed(2)} of without, p99 ${median(ratios.map(([, p99]) => p99)).toFixed(2)} of without`
  )
  // A pause of the collector decides the p99 of a short load: what all rounds say together differs less from run to run.
  const [without, beside] = [quantilesOf(allWithout), quantilesOf(allBeside)]
  yield* Console.log(
    `all rounds: p50 ${without.p50.toFixed(2)} and ${beside.p50.toFixed(2)} ms, p99 ${without.p99.toFixed(1)} and ${beside.p99.toFixed(1)} ms, so ${(beside.p50 / without.p50).toFixed(2)} and ${(beside.p99 / without.p99).toFixed(2)} of without`
  )
})

const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`

/** The node's memory while readers follow. */
const memory = Effect.fnUntraced(function* (ledger: Ledger["Service"], node: Node, inspectorPort: number) {
  const inspector = yield* openInspector(inspectorPort)
  const print = Effect.fnUntraced(function* (when: string) {
    const { heapUsed, external, arrayBuffers } = yield* inspector.memoryAfterCollection
    yield* Console.log(
      `${when}: heap ${mib(heapUsed)}, external ${mib(external)}, of it buffers ${mib(arrayBuffers)}, resident ${residentMib(node.pid)} MiB`
    )
  })
  yield* print("before the readers")
  yield* Effect.scoped(
    Effect.gen(function* () {
      const open = yield* openReaders(node.http)
      yield* print(`${readers} readers, idle`)
      const load = yield* Effect.forkChild(sendAtRate(ledger))
      for (let part = 1; part <= 10; part++) {
        yield* Effect.sleep(seconds * 100)
        yield* print(`after ${Math.round((part * seconds) / 10)} s`)
      }
      const { p50, p99 } = yield* Fiber.join(load)
      const seen = yield* open.seen
      yield* Console.log(
        `p50 ${p50.toFixed(2)} ms  p99 ${p99.toFixed(1)} ms, ${seen.events} events in ${seen.chunks} chunks, ${seen.ended} readers ended, the one that never reads came ${open.silentTimes()} times`
      )
    })
  )
  yield* Effect.sleep("3 seconds")
  yield* print("the readers have gone")
})

/** Until a node takes commands, which on a busy machine takes a while. */
const awaitReady = (http: number) => {
  const isReady = Effect.promise(() =>
    fetch(`http://127.0.0.1:${http}/health`).then(
      ({ status }) => status === 200,
      () => false
    )
  )
  return Effect.repeat(Effect.andThen(Effect.sleep("200 millis"), isReady), { until: (ready) => ready })
}

const nodeBeside = Effect.fnUntraced(function* (stack: DevStackService) {
  const { http, pid } = yield* startNode(stack, {}, ".", { role: "read-side", name: "beside" })
  setPriority(pid, Number(flags.nice))
  yield* awaitReady(http)
  return http
})

const program = Effect.gen(function* () {
  const stack = yield* DevStack
  yield* LedgerNode.migrate(stack)
  for (const note of stack.notes) yield* Console.log(`  ${note}`)
  const inspectorPort = yield* loopbackPort("INSPECTOR")
  const options = flags.memory ? [`--inspect=127.0.0.1:${inspectorPort}`] : []
  const { http, rpc, pid } = yield* startNode(stack, {}, ".", {
    role: flags.beside ? "commands" : "all",
    options
  })
  yield* awaitReady(http)
  const node = { pid, http: flags.beside ? yield* nodeBeside(stack) : http }
  const client = LedgerClient.layer({ urls: [`tcp://127.0.0.1:${rpc}`], limits: { connectMs: 30_000 } })
  yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    const ledger = yield* Ledger
    yield* prepare(ledger)
    yield* flags.memory ? Effect.scoped(memory(ledger, node, inspectorPort)) : inTurn(ledger, node)
  }).pipe(Effect.provide(client, { local: true }))
}).pipe(
  Effect.scoped,
  Effect.provide(DevStack.layer({ dataDir: ".chronicle/bench-streams", fresh: true })),
  Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(References.MinimumLogLevel, "Warn")))
)

tuneCollector()
NodeRuntime.runMain(program)
