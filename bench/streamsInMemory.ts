/**
 * The processor time that readers of server-sent events take from the thread of the commands, on a node in this process's memory: no
 * database shares the cores, and a machine that is busy with something else makes it slower but no dearer. The readers are a process of
 * their own. `node_modules/.bin/node bench/streamsInMemory.ts [commands a second] [seconds] [readers] [rounds]`.
 */
import { type ChildProcess, fork } from "node:child_process"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Clock, Console, Effect, Layer } from "effect"
import { loopbackPort } from "../src/infra/dev/LoopbackPort.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import { memoryLedger } from "../test/support/callers.ts"
import { openHttpLayer } from "../test/support/httpWorld.ts"
import { prepare, transfer } from "./servedNode.ts"
import type { ReadersSeen } from "./streamReaders.ts"

const argument = (index: number, otherwise: number): number => Number(process.argv[index + 2] ?? otherwise)
const [commandsPerSecond, seconds, readers, rounds] = [
  argument(0, 300),
  argument(1, 10),
  argument(2, 1_000),
  argument(3, 5)
]
/** Commands that are sent at once. */
const together = 10

/** Processor time of this thread for each command, in milliseconds, and of all threads of the process. */
const load = Effect.fnUntraced(function* (ledger: Ledger["Service"]) {
  const [thread, all] = [process.threadCpuUsage(), process.cpuUsage()]
  const started = yield* Clock.currentTimeMillis
  const commands = commandsPerSecond * seconds
  for (let sent = 0; sent < commands; sent += together) {
    const due = started + (sent * 1_000) / commandsPerSecond
    const now = yield* Clock.currentTimeMillis
    if (due > now) yield* Effect.sleep(due - now)
    const some = Array.from({ length: together }, () => transfer())
    yield* Effect.forEach(some, ledger.dispatch, { concurrency: together, discard: true })
  }
  const [ofThread, ofAll] = [process.threadCpuUsage(thread), process.cpuUsage(all)]
  const milliseconds = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1_000 / commands
  return { thread: milliseconds(ofThread), all: milliseconds(ofAll) }
})

const words = ({ thread, all }: Effect.Success<ReturnType<typeof load>>): string =>
  `${thread.toFixed(3)} ms a command in the thread of the commands, ${all.toFixed(3)} in all`

const seenBy = (child: ChildProcess) =>
  Effect.callback<ReadersSeen>((resume) => {
    // The reader process answers nothing else.
    child.once("message", (seen) => resume(Effect.succeed(seen as ReadersSeen)))
    child.send("seen")
  })

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

const program = Effect.gen(function* () {
  const ledger = yield* Ledger
  yield* prepare(ledger)
  const port = yield* loopbackPort("HTTP")
  yield* Layer.build(Layer.fresh(openHttpLayer(port)))
  yield* load(ledger) // warm
  const further: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    const without = yield* load(ledger)
    yield* Console.log(`without readers   ${words(without)}`)
    const child = fork(new URL("streamReaders.ts", import.meta.url), [String(port), "0", String(readers)])
    const isOpen = Effect.map(seenBy(child), ({ open }) => open === readers)
    yield* Effect.repeat(Effect.andThen(Effect.sleep("200 millis"), isOpen), { until: (open) => open })
    yield* Effect.sleep("3 seconds")
    const before = yield* seenBy(child)
    const beside = yield* load(ledger)
    const seen = yield* seenBy(child)
    const events = seen.events - before.events
    further.push(beside.thread - without.thread)
    yield* Console.log(
      `with ${readers} readers ${words(beside)}; ${events} events in ${seen.chunks - before.chunks} chunks, ${seen.ended} ended`
    )
    child.disconnect()
    yield* Effect.sleep("1 second")
  }
  yield* Console.log(`the readers take ${median(further).toFixed(3)} ms a command of that thread (median)`)
})

tuneCollector()
NodeRuntime.runMain(Effect.scoped(Effect.provide(program, memoryLedger)))
