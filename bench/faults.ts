/**
 * `npm run bench:faults`: what commands notice of a read side in trouble. Transfers at one steady rate through a node whose thread of
 * the read side is killed, frozen for 20 seconds, out of memory, and has a poison event, in turn, with an undisturbed time before and
 * after each. Prints the p99 of commands while it lasts against the undisturbed times beside it, how soon `/ready` and `/metrics`
 * told of it, and whether the read model is right afterwards: every row is compared with the log. Ends with 1 where it is not.
 */
import { BroadcastChannel } from "node:worker_threads"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import {
  Clock,
  Console,
  Effect,
  Fiber,
  FiberSet,
  Layer,
  Logger,
  Redacted,
  References,
  Schedule
} from "effect"
import { Command, Flag } from "effect/cli"
import type { Histogram } from "hdr-histogram-js"
import monthlyTotals from "../examples/monthly-totals/projection.ts"
import { Audit } from "../src/actors/audit/Audit.ts"
import { ProjectionEngine } from "../src/actors/projections/ProjectionEngine.ts"
import { servers } from "../src/cli/run/servers.ts"
import type { AccountId } from "../src/domain/Ids.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../src/infra/config/ReadSideConfig.ts"
import { loopbackPort } from "../src/infra/dev/LoopbackPort.ts"
import * as Migrations from "../src/infra/postgres/Migrations.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { makeHistogram, recordMs, summarize } from "../src/loadtest/Meter.ts"
import { ownStack, type ServiceUrls } from "../src/loadtest/Services.ts"
import { execute } from "../test/support/databases.ts"
import { type Fault, faultChannel } from "../test/support/faultyProjection.ts"
import { eventually } from "../test/support/waiting.ts"
import { account, accounts, prepare, transfer } from "./servedNode.ts"

interface Sizes {
  /** Commands a second. */
  readonly rate: number
  /** Seconds of an undisturbed time, and the least of a disturbed one. */
  readonly seconds: number
  /** Words in the names of the troubles to be made; none: all of them. */
  readonly only: ReadonlyArray<string>
}

const poisoned = account(accounts - 1) as AccountId // of the characters of an id
const patienceSeconds = 600
/** How late the trouble may be told of, and how much longer commands may take meanwhile. */
const seenMsMax = 2_000
const ratioMax = 1.5
const warmMs = 2_000
/** Of the thread of the read side: small, so that it is full soon. */
const heapMib = 256
const faulty = new URL("../test/support/faultyProjection.ts", import.meta.url).href

/**
 * Sends transfers at the rate while the effect lasts, and a little before, and waits for their answers. The latency of each that was sent
 * meanwhile counts from when it was due, so that a command which waits behind others is not left out.
 */
const underLoad = Effect.fnUntraced(function* <A>(rate: number, meanwhile: Effect.Effect<A>) {
  const ledger = yield* Ledger
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
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
  latencies = makeHistogram()
  const answer = yield* meanwhile
  yield* Fiber.interrupt(sender)
  yield* FiberSet.awaitEmpty(sending)
  return { answer, latency: summarize(latencies), failed }
}, Effect.scoped)

const ask = (port: number, path: string) =>
  Effect.promise(() =>
    fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000) }).then((response) =>
      response.text().then((body) => ({ isReady: response.status === 200, body }))
    )
  )

/** Milliseconds from now until both tell of the trouble. */
const seenAfter = Effect.fnUntraced(function* (port: number, { ready, metrics }: Signs) {
  const since = performance.now()
  const when = (what: string, isTold: Effect.Effect<boolean>) =>
    Effect.map(eventually(`${what} tells of it`, patienceSeconds, isTold), () =>
      Math.round(performance.now() - since)
    )
  return yield* Effect.all(
    {
      ready: when(
        "/ready",
        Effect.map(ask(port, "/ready"), (answer) => ready(answer))
      ),
      metrics: when(
        "/metrics",
        Effect.map(ask(port, "/metrics"), ({ body }) => metrics(body))
      )
    },
    { concurrency: 2 }
  )
})

interface Signs {
  readonly ready: (answer: { readonly isReady: boolean; readonly body: string }) => boolean
  readonly metrics: (body: string) => boolean
}

const threadSigns: Signs = {
  ready: ({ isReady, body }) => !isReady && body.includes("the thread of the read side"),
  metrics: (body) => /^chronicle_read_side_thread_up 0$/m.test(body)
}
const parkedSigns: Signs = {
  ready: ({ body }) => body.includes("parked"),
  metrics: (body) => /^chronicle_parked_accounts\{projection="books_v1"\} 1$/m.test(body)
}

interface Trouble {
  readonly name: string
  readonly strike: Effect.Effect<void>
  readonly signs: Signs
  /** Until it is over. */
  readonly over: Effect.Effect<void>
  /** Puts right what does not heal by itself, once the read model was looked at. */
  readonly mend: Effect.Effect<void>
  /** Accounts that are parked meanwhile. */
  readonly parked: number
}

const strikeThread = (fault: Fault) =>
  Effect.acquireUseRelease(
    Effect.sync(() => new BroadcastChannel(faultChannel)),
    (channel) => Effect.sync(() => channel.postMessage(fault)),
    (channel) => Effect.sync(() => channel.close())
  )

const isReadyAgain = (port: number) =>
  eventually(
    "/ready is 200 again",
    patienceSeconds,
    Effect.map(ask(port, "/ready"), ({ isReady }) => isReady)
  )

const troubles = (ledger: Ledger["Service"], services: ServiceUrls, port: number): ReadonlyArray<Trouble> => {
  const ofThread = (name: string, fault: Fault): Trouble => ({
    name,
    strike: strikeThread(fault),
    signs: threadSigns,
    over: isReadyAgain(port),
    mend: Effect.void,
    parked: 0
  })
  const readModel = Redacted.value(services.readModelUrl)
  const retry = Effect.flatMap(ProjectionEngine, (engine) => engine.retryParked([poisoned])).pipe(
    Effect.provide(ProjectionEngine.layer),
    Effect.provide(LedgerNode.layerReader(services)),
    Effect.scoped
  )
  return [
    ofThread("killed", "exit"),
    ofThread("frozen for 20 s", "stall"),
    ofThread("out of memory", "fill"),
    {
      name: "a poison event",
      strike: ledger
        .dispatch({
          _tag: "Deposit",
          account: poisoned,
          amount: 1n,
          description: "poison",
          commandId: "poison"
        })
        .pipe(Effect.orDie, Effect.asVoid),
      signs: parkedSigns,
      over: Effect.void,
      mend: execute(readModel, "ALTER TABLE books_v1_statement_lines DROP CONSTRAINT poison").pipe(
        Effect.andThen(Effect.orDie(retry))
      ),
      parked: 1
    }
  ]
}

/** Once the read model has caught up with what was sent: what of it is not as the log says. */
const wrongRows = Effect.fnUntraced(function* (parked: number) {
  const audit = yield* Audit
  let report = yield* Effect.orDie(audit.verify())
  yield* eventually(
    "the read model has caught up",
    patienceSeconds,
    Effect.suspend(() => {
      if (report.behind <= parked) return Effect.succeed(true)
      return Effect.map(Effect.orDie(audit.verify()), (next) => {
        report = next
        return false
      })
    })
  )
  return [
    ...report.findings.map((finding) => JSON.stringify(finding)),
    ...(report.parked.length === parked ? [] : [`${report.parked.length} accounts are parked, not ${parked}`])
  ]
})

const main = Effect.fnUntraced(function* ({ rate, seconds, only }: Sizes) {
  const stack = yield* ownStack
  yield* LedgerNode.migrate(stack)
  const { migrations } = monthlyTotals
  if (migrations !== undefined)
    yield* Migrations.migrate("projection monthly_totals", stack.readModelUrl, migrations)
  yield* execute(
    Redacted.value(stack.readModelUrl),
    "ALTER TABLE books_v1_statement_lines ADD CONSTRAINT poison CHECK (description IS DISTINCT FROM 'poison')"
  )
  const port = yield* loopbackPort("HTTP")
  const at = { host: "127.0.0.1", tls: undefined, tokens: [] }
  const doors = servers({ ...at, port: yield* loopbackPort("RPC"), format: "binary" }, { ...at, port })
  const node = LedgerNode.layer({ ...stack, nodeName: "faults" }, { projections: [faulty] })
  const limits = Layer.succeed(ReadSideConfig, {
    ...defaultReadSideLimits,
    readSideHeapMib: heapMib
  })
  yield* Effect.gen(function* () {
    const ledger = yield* Ledger
    yield* prepare(ledger)
    yield* isReadyAgain(port)
    const undisturbed = Effect.map(underLoad(rate, Effect.sleep(seconds * 1_000)), ({ latency }) => latency)
    yield* undisturbed // warm
    yield* Console.log(`${rate} transfers a second over ${accounts} accounts`)
    yield* Console.log(
      "\n| | p99 ms, undisturbed before and after | p99 ms | ratio | longest ms | not accepted | in /ready, ms | in metrics, ms | wrong rows |\n|---|---|---|---|---|---|---|---|---|"
    )
    let before = yield* undisturbed
    const wanted = troubles(ledger, stack, port).filter(
      ({ name }) => only.length === 0 || only.some((word) => name.includes(word))
    )
    for (const { name, strike, signs, over, mend, parked } of wanted) {
      const trouble = Effect.gen(function* () {
        const least = yield* Effect.forkChild(Effect.sleep(seconds * 1_000))
        yield* strike
        const seen = yield* seenAfter(port, signs)
        yield* over
        yield* Fiber.join(least)
        return seen
      })
      const { answer: seen, latency, failed } = yield* underLoad(rate, trouble)
      const wrong = [...(yield* wrongRows(parked))]
      yield* mend
      if (parked > 0) wrong.push(...(yield* wrongRows(0)))
      const after = yield* undisturbed
      const ratio = latency.p99 / Math.sqrt(before.p99 * after.p99)
      yield* Console.log(
        `| ${name} | ${before.p99} and ${after.p99} | ${latency.p99} | ${ratio.toFixed(2)} | ${latency.max} | ${failed} | ${seen.ready} | ${seen.metrics} | ${wrong.length} |`
      )
      for (const one of wrong) yield* Console.error(one)
      const isSeen = Math.max(seen.ready, seen.metrics) <= seenMsMax
      if (wrong.length > 0 || !isSeen || ratio > ratioMax) process.exitCode = 1
      before = after
    }
  }).pipe(Effect.provide(Layer.provideMerge(doors, node)), Effect.provide(limits))
}, Effect.scoped)

const flags = {
  rate: Flag.Int("rate").pipe(Flag.withDescription("Commands a second; default 500"), Flag.withDefault(500)),
  seconds: Flag.Int("seconds").pipe(
    Flag.withDescription("Of an undisturbed time, and the least of a disturbed one; default 15"),
    Flag.withDefault(15)
  ),
  only: Flag.String("only").pipe(
    Flag.withDescription(
      "Only troubles with this word in their name: killed, frozen, memory, poison; may be given again"
    ),
    Flag.atLeast(0)
  )
}

tuneCollector()
Command.make("bench:faults", flags, main).pipe(
  Command.run({ version: "1" }),
  Effect.provide(NodeServices.layer),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Error"),
  NodeRuntime.runMain
)
