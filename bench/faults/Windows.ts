/** Transfers at one steady rate for as long as something lasts: how long their answers took, and which processor time it all took. */
import { Clock, Effect, Fiber, FiberSet, Schedule } from "effect"
import type { Histogram } from "hdr-histogram-js"
import { elapsedMsUnsafe } from "../../src/infra/config/Elapsed.ts"
import { Ledger } from "../../src/Ledger.ts"
import { makeHistogram, recordMs, summarize } from "../../src/loadtest/Meter.ts"
import { processorSeconds, processSeconds, secondsOfPrograms, waitedSeconds } from "../ProcessThreads.ts"
import { transfer } from "../servedNode.ts"

const warmMs = 2_000
const settleMs = 300

/**
 * Who took processor time; the rest of the node is the thread of the read side and V8's helpers. First, how long the thread of commands was
 * ready to run and had no core.
 */
export const consumers = [
  "commands wait for a core",
  "commands",
  "rest of the node",
  "PostgreSQL",
  "JetStream"
] as const
type Consumer = (typeof consumers)[number]
type Took = Readonly<Record<Consumer, number>>

const perConsumer = (of: (consumer: Consumer) => number): Took =>
  Object.fromEntries(consumers.map((consumer) => [consumer, of(consumer)])) as Took // of all of them

/** What was measured in one or more windows. */
export interface Measured {
  readonly latencies: Histogram
  readonly failed: number
  readonly seconds: number
  /** Processor, in seconds. */
  readonly processor: Took
}

export const pooled = (windows: ReadonlyArray<Measured>): Measured => {
  const latencies = makeHistogram()
  for (const window of windows) latencies.add(window.latencies)
  const sum = (of: (window: Measured) => number) => windows.reduce((total, one) => total + of(one), 0)
  return {
    latencies,
    failed: sum(({ failed }) => failed),
    seconds: sum(({ seconds }) => seconds),
    processor: perConsumer((consumer) => sum(({ processor }) => processor[consumer]))
  }
}

export const p99Of = ({ latencies }: Measured): number => summarize(latencies).p99

const processorNow = (pid: number): Took => {
  const of = secondsOfPrograms(process.pid)
  const { main } = processorSeconds(pid)
  return {
    "commands wait for a core": waitedSeconds(pid),
    commands: main,
    "rest of the node": processSeconds(pid) - main,
    PostgreSQL: of("postgres"),
    JetStream: of("nats-server")
  }
}

const tookSince = (before: Took, after: Took): Took =>
  perConsumer((consumer) => after[consumer] - before[consumer])

/**
 * Sends transfers at the rate while the effect lasts, and a little before, and waits for their answers. The latency of each that was sent
 * meanwhile counts from when it was due, so that a command which waits behind others is not left out. `pid`: of the node.
 */
export const underLoad = Effect.fnUntraced(function* <A>(
  rate: number,
  pid: number,
  meanwhile: Effect.Effect<A>
) {
  const ledger = yield* Ledger
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  const sending = yield* FiberSet.make<void>()
  const run = yield* FiberSet.runtime(sending)<never>()
  let latencies = makeHistogram()
  let [issued, failed] = [0, 0]
  const start = nowMs()
  const send = (dueAt: number, into: Histogram) =>
    Effect.match(ledger.dispatch(transfer()), {
      onFailure: () => {
        failed++
      },
      onSuccess: () => recordMs(into, nowMs() - dueAt)
    })
  const sendDue = Effect.sync(() => {
    for (const due = ((nowMs() - start) / 1_000) * rate; issued < due; issued++)
      run(send(start + (issued * 1_000) / rate, latencies))
  })
  const sender = yield* Effect.forkChild(Effect.repeat(sendDue, Schedule.spaced(1)))
  yield* Effect.sleep(warmMs)
  // Reading the table of processes keeps this process from sending for a while, which is no part of what is measured.
  const [before, begunAt] = [processorNow(pid), nowMs()]
  yield* Effect.sleep(settleMs)
  const measured = makeHistogram()
  latencies = measured
  const answer = yield* meanwhile
  latencies = makeHistogram()
  yield* Effect.sleep(settleMs)
  const seconds = (nowMs() - begunAt) / 1_000
  const processor = tookSince(before, processorNow(pid))
  yield* Fiber.interrupt(sender)
  yield* FiberSet.awaitEmpty(sending)
  return { answer, measured: { latencies: measured, failed, seconds, processor } satisfies Measured }
}, Effect.scoped)
