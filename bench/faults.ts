/**
 * `npm run bench:faults`: what commands notice of a read side in trouble. Transfers at one steady rate over RPC to a node as shipped, whose
 * thread of the read side is killed, frozen for 20 seconds, out of memory, and has a poison event, in turn, with an undisturbed time before
 * and after each, in rounds. One window says little, since a pause of a collector decides its p99: the latencies of all windows of a trouble
 * are put together, and so are those of the undisturbed ones beside them. Prints both p99 and their ratio, how far it differs by round, the processor
 * time, how soon `/ready` and `/metrics` told of it, and whether the read model was right afterwards: every row is compared with the log. Ends with 1
 * where a bar is missed.
 */
import { join } from "node:path"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Fiber, FileSystem, Logger, References } from "effect"
import { Command, Flag } from "effect/cli"
import { Audit } from "../src/actors/audit/Audit.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { Ledger } from "../src/Ledger.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { summarize } from "../src/loadtest/Meter.ts"
import { ownStack, type ServiceUrls } from "../src/loadtest/Services.ts"
import { LedgerClient } from "../src/rpc/client/LedgerClient.ts"
import { eventually } from "../test/support/waiting.ts"
import { type Trouble, troublesOf } from "./faults/Troubles.ts"
import { answersOf, watchAnswers } from "./faults/Watch.ts"
import { consumers, type Measured, p99Of, pooled, underLoad } from "./faults/Windows.ts"
import { accounts, prepare, startNode } from "./servedNode.ts"

interface Sizes {
  /** Commands a second. */
  readonly rate: number
  /** Seconds of an undisturbed time, and the least of a disturbed one. */
  readonly seconds: number
  readonly rounds: number
  /** Words in the names of the troubles to be made; none: all of them. */
  readonly only: ReadonlyArray<string>
}

interface Node {
  readonly pid: number
  readonly http: number
}

const patienceSeconds = 600
/** How late the trouble may be told of, and how much longer commands may take meanwhile. */
const seenMsMax = 2_000
const ratioMax = 1.5
/** Of the thread of the read side: small, so that it is full soon. */
const heapMib = 256

/** Once the read model has caught up with what was sent: what of it is not as the log says. */
const wrongRows = (services: ServiceUrls, parked: number) =>
  Effect.gen(function* () {
    const audit = yield* Audit
    let report = yield* Effect.orDie(audit.verify())
    yield* eventually(
      "the read model has caught up",
      Effect.suspend(() => {
        if (report.behind <= parked) return Effect.succeed(true)
        return Effect.map(Effect.orDie(audit.verify()), (next) => {
          report = next
          return false
        })
      }),
      patienceSeconds
    )
    return [
      ...report.findings.map((finding) => JSON.stringify(finding)),
      ...(report.parked.length === parked
        ? []
        : [`${report.parked.length} accounts are parked, not ${parked}`])
    ]
  }).pipe(Effect.provide(LedgerNode.layerReader(services)), Effect.scoped)

/** Strikes, and waits until it was told of, is over, and so many seconds have passed; answers when each told of it, in milliseconds. */
const inTrouble = Effect.fnUntraced(function* (
  { http }: Node,
  { strike, signs, heals }: Trouble,
  seconds: number
) {
  const least = yield* Effect.forkChild(Effect.sleep(seconds * 1_000))
  const { until } = yield* watchAnswers(http)
  yield* strike
  const since = performance.now()
  const told = (what: keyof typeof signs) =>
    Effect.map(until(`/${what} tells of it`, patienceSeconds, signs[what]), () =>
      Math.round(performance.now() - since)
    )
  const seen = yield* Effect.all({ ready: told("ready"), metrics: told("metrics") }, { concurrency: 2 })
  if (heals) yield* until("/ready is 200 again", patienceSeconds, ({ isReady }) => isReady)
  yield* Fiber.join(least)
  return seen
}, Effect.scoped)

interface Outcome {
  readonly before: Measured
  readonly during: Measured
  readonly after: Measured
  readonly seenMs: { readonly ready: number; readonly metrics: number }
  readonly wrong: ReadonlyArray<string>
}

const ratioOf = ({ before, during, after }: Outcome): number => p99Of(during) / p99Of(pooled([before, after]))

/** One trouble between two undisturbed times. */
const strikeOnce = Effect.fnUntraced(function* (
  node: Node,
  services: ServiceUrls,
  trouble: Trouble,
  { rate, seconds }: Sizes
) {
  const undisturbed = Effect.map(
    underLoad(
      rate,
      node.pid,
      Effect.scoped(Effect.andThen(watchAnswers(node.http), Effect.sleep(seconds * 1_000)))
    ),
    ({ measured }) => measured
  )
  yield* trouble.prepare
  const before = yield* undisturbed
  const { answer, measured } = yield* underLoad(rate, node.pid, inTrouble(node, trouble, seconds))
  const wrong = [...(yield* wrongRows(services, trouble.parked))]
  yield* trouble.mend
  if (trouble.parked > 0) wrong.push(...(yield* wrongRows(services, 0)))
  const after = yield* undisturbed
  return { before, during: measured, after, seenMs: answer, wrong } satisfies Outcome
})

const range = (values: ReadonlyArray<number>, digits: number): string =>
  `${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)}`

/** Prints what came of a trouble in all rounds; answers whether every bar is met. */
const report = Effect.fnUntraced(function* ({ name }: Trouble, outcomes: ReadonlyArray<Outcome>) {
  const undisturbed = pooled(outcomes.flatMap(({ before, after }) => [before, after]))
  const disturbed = pooled(outcomes.map(({ during }) => during))
  const ratio = p99Of(disturbed) / p99Of(undisturbed)
  const seen = outcomes.map(({ seenMs }) => Math.max(seenMs.ready, seenMs.metrics))
  const wrong = outcomes.reduce((sum, outcome) => sum + outcome.wrong.length, 0)
  const cells = [
    name,
    `${p99Of(undisturbed).toFixed(1)} (${range(
      outcomes.flatMap(({ before, after }) => [p99Of(before), p99Of(after)]),
      1
    )})`,
    `${p99Of(disturbed).toFixed(1)} (${range(
      outcomes.map(({ during }) => p99Of(during)),
      1
    )})`,
    `${ratio.toFixed(2)} (${range(outcomes.map(ratioOf), 2)})`,
    summarize(disturbed.latencies).max,
    disturbed.failed,
    range(seen, 0),
    wrong,
    ...consumers.map((who) => {
      const cores = ({ processor, seconds }: Measured) => (processor[who] / seconds).toFixed(3)
      return `${cores(undisturbed)}, ${cores(disturbed)}`
    })
  ]
  yield* Console.log(`| ${cells.join(" | ")} |`)
  return ratio <= ratioMax && wrong === 0 && Math.max(...seen) <= seenMsMax
})

const rounds = Effect.fnUntraced(function* (
  node: Node,
  services: ServiceUrls,
  faultFile: string,
  sizes: Sizes
) {
  const ledger = yield* Ledger
  yield* prepare(ledger)
  yield* eventually(
    "the node is ready",
    Effect.map(answersOf(node.http), ({ isReady }) => isReady),
    patienceSeconds
  )
  yield* underLoad(sizes.rate, node.pid, Effect.sleep(sizes.seconds * 1_000)) // warm
  const troubles = troublesOf({ pid: node.pid, faultFile, ledger, services }).filter(
    ({ name }) => sizes.only.length === 0 || sizes.only.some((word) => name.includes(word))
  )
  const outcomes = new Map(troubles.map((trouble) => [trouble, [] as Outcome[]]))
  for (let round = 1; round <= sizes.rounds; round++) {
    for (const trouble of troubles) {
      const outcome = yield* strikeOnce(node, services, trouble, sizes)
      outcomes.get(trouble)?.push(outcome)
      const { before, during, after, wrong } = outcome
      yield* Console.error(
        `round ${round}, ${trouble.name}: p99 ${[before, during, after].map((one) => p99Of(one).toFixed(1)).join(", ")} ms, ratio ${ratioOf(outcome).toFixed(2)}`
      )
      for (const one of wrong) yield* Console.error(one)
    }
  }
  yield* Console.log(
    `${sizes.rate} transfers a second over ${accounts} accounts, ${sizes.rounds} rounds; p99 of all windows together (of single ones), cores undisturbed and meanwhile\n`
  )
  const headings = [
    "",
    "p99 ms, undisturbed",
    "p99 ms",
    "ratio (by round)",
    "longest ms",
    "not accepted",
    "told of after, ms",
    "wrong rows",
    ...consumers
  ]
  yield* Console.log(`| ${headings.join(" | ")} |\n|${"---|".repeat(headings.length)}`)
  for (const [trouble, found] of outcomes) if (!(yield* report(trouble, found))) process.exitCode = 1
})

const main = Effect.fnUntraced(function* (sizes: Sizes) {
  const fs = yield* FileSystem.FileSystem
  const stack = yield* ownStack
  yield* LedgerNode.migrate(stack)
  const faultFile = join(yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-bench-faults-" }), "fault")
  const { http, rpc, pid } = yield* startNode(
    stack,
    { CHRONICLE_READ_SIDE_HEAP_MIB: String(heapMib), CHRONICLE_BENCH_FAULT: faultFile },
    ".",
    { options: ["--import", new URL("faults/striking.ts", import.meta.url).pathname] }
  )
  const client = LedgerClient.layer({ urls: [`tcp://127.0.0.1:${rpc}`], limits: { connectMs: 60_000 } })
  yield* Effect.gen(function* () {
    yield* (yield* LedgerClient).awaitConnected
    yield* rounds({ pid, http }, stack, faultFile, sizes)
  }).pipe(Effect.provide(client, { local: true }))
}, Effect.scoped)

const flags = {
  rate: Flag.Int("rate").pipe(Flag.withDescription("Commands a second; default 500"), Flag.withDefault(500)),
  seconds: Flag.Int("seconds").pipe(
    Flag.withDescription("Of an undisturbed time, and the least of a disturbed one; default 6"),
    Flag.withDefault(6)
  ),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("Default 4"), Flag.withDefault(4)),
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
