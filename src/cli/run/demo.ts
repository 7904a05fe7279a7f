/** `chronicle demo`: plays a bank's day on an embedded stack from end to end, and proves that the books are right. */
import { fileURLToPath } from "node:url"
import { Effect, Layer, Option, Path, References, Stream } from "effect"
import { GlobalFlag } from "effect/cli"
import { Audit } from "../../actors/audit/Audit.ts"
import { type HttpSettings, httpUrlOf, readHttpSettings } from "../../http/server/HttpSettings.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { DevStack } from "../../infra/dev/DevStack.ts"
import { tuneCollector } from "../../infra/telemetry/Collector.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { type RpcSettings, readRpcSettings } from "../../rpc/server/RpcSettings.ts"
import { readDayFile } from "../DayFile.ts"
import { printBalances, printHold, printPlay, printTimeTravel, printVerdicts } from "../DemoOutput.ts"
import { type DemoOptions, type DemoResult, runDemo } from "../DemoRun.ts"
import type { DemoFlags } from "../demo.ts"
import { DemoFailed } from "../failures.ts"
import { makeOutput, type Output, printJson } from "../Output.ts"
import { Stopped } from "../stopped.ts"
import { rpcUrlOf, servers } from "./servers.ts"

const dayFile = fileURLToPath(new URL("../../../examples/day.csv", import.meta.url))

/** Hides a node's log below warnings, unless `--log-level` asks for it: the demo's own output is to be read. */
const quietly = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(GlobalFlag.LogLevel, (asked) =>
    Option.isSome(asked) ? self : Effect.provideService(self, References.MinimumLogLevel, "Warn")
  )

/** Where the node of the demo is reached, where it is to stay up. */
interface Doors {
  readonly rpc: RpcSettings
  readonly http: HttpSettings
}

/** From before the day begins, so that it can be watched, and a port that is taken is told at once. */
const serveDay = Effect.fnUntraced(function* ({ rpc, http }: Doors, output: Output) {
  yield* Layer.build(servers(rpc, http))
  yield* output.line(`The console shows the day as it is played: ${httpUrlOf(http)}/console`)
})

/** Until Ctrl-C or SIGTERM, which is its normal end. */
const stayUp = Effect.fnUntraced(function* ({ http }: Doors, output: Output) {
  yield* output.line()
  yield* output.line(`Console: ${httpUrlOf(http)}/console`)
  yield* output.line(`Reference: ${httpUrlOf(http)}/docs`)
  yield* output.line("Ctrl-C ends it; the data stay.")
  ;(yield* Stopped).code = 0
  return yield* Effect.never
})

type Asked = Omit<DemoFlags, "file"> & { readonly file: string }

/** Starts the services, plays the file on a node of its own, and tells what happened, chapter by chapter. */
const playOnStack = Effect.fnUntraced(function* (asked: Asked, doors: Doors | undefined, output: Output) {
  const { file, data, fresh, rate } = asked
  const { join } = yield* Path.Path
  yield* output.line("Chronicle Ledger: a day of a small bank, on real parts.")
  yield* output.line(`Starting PostgreSQL, JetStream and the event store in ${data} …`)
  const played = Effect.gen(function* () {
    const stack = yield* DevStack
    for (const note of stack.notes) yield* output.line(`  ${note}`)
    const migrated = yield* LedgerNode.migrate(stack)
    const isNew = migrated.eventStore.length > 0
    if (!isNew) yield* output.line("  the data directory was used before: what was accepted then is replayed")
    const options: DemoOptions = {
      file,
      journals: join(stack.dataDir, "refusals"),
      rate: Option.getOrUndefined(rate)
    }
    const services = { ...stack, nodeName: "demo" }
    return yield* Effect.gen(function* () {
      if (doors !== undefined) yield* serveDay(doors, output)
      yield* output.line(`Playing ${file} …`)
      const result = yield* runDemo(options)
      yield* printPlay(output, result)
      yield* printBalances(output)
      yield* printHold(output, result)
      const busiest = yield* printTimeTravel(output)
      yield* printVerdicts(output, result.verdicts)
      yield* conclude(asked, { ...result, busiest }, doors, output)
      if (doors !== undefined) yield* stayUp(doors, output)
    }).pipe(
      Effect.scoped,
      Effect.provide(Audit.layer.pipe(Layer.provideMerge(LedgerNode.layer(services)))),
      quietly
    )
  }).pipe(Effect.provide(DevStack.layer({ dataDir: data, fresh })))
  return yield* played.pipe(Effect.provide(limitsFromEnvironment))
})

/** How the user runs the program: in a working copy by npm's script, from the package by its command. */
const program = import.meta.url.endsWith(".ts") ? "npm run -s chronicle --" : "npx chronicle"

/** The last lines: the verdict, and commands to try on the data that are left. */
const printEnd = Effect.fnUntraced(function* (
  output: Output,
  data: string,
  doors: Doors | undefined,
  busiest: Option.Option<string>,
  ok: boolean
) {
  yield* output.line()
  if (!ok) return yield* output.line("AN INVARIANT IS BROKEN: see above.")
  yield* output.line(
    `Every invariant holds. The data are kept in ${data}: play again, and all is replayed; or ask them:`
  )
  // The data directory is its node's alone as long as that stays up; then the node is asked.
  const where = doors === undefined ? ` --data ${data}` : ""
  if (doors !== undefined) yield* output.line(`  export CHRONICLE_RPC_URL=${rpcUrlOf(doors.rpc)}`)
  if (Option.isSome(busiest))
    for (const command of ["balance", "statement"])
      yield* output.line(`  ${program} ${command} ${busiest.value}${where}`)
  yield* output.line(`  ${program} verify${where}`)
  if (doors === undefined)
    yield* output.line(`  ${program} demo --keep --data ${data}   (and look at them in a browser)`)
})

/** Prints the outcome, and fails where the day must not end well. */
const conclude = Effect.fnUntraced(function* (
  { data, strict, json }: Asked,
  { played: counts, verdicts, busiest }: DemoResult & { readonly busiest: Option.Option<string> },
  doors: Doors | undefined,
  output: Output
) {
  const ok = Object.values(verdicts.invariants).every(Boolean)
  yield* printEnd(output, data, doors, busiest, ok)
  if (json) {
    yield* printJson({
      commands: counts.commands,
      accepted: counts.accepted,
      refused: counts.refused,
      replayed: counts.replayed,
      refusals: counts.refusals,
      faults: counts.faulty,
      faultLines: counts.faults,
      skipped: counts.skipped,
      assertions: counts.assertions,
      failedAssertions: counts.failedAssertions,
      accounts: verdicts.accounts,
      events: verdicts.events,
      seconds: counts.seconds,
      invariants: verdicts.invariants,
      ok
    })
  }
  if (!ok) return yield* new DemoFailed({ findings: verdicts.faults })
  if (counts.failedAssertionCount > 0) {
    const finding = `${counts.failedAssertionCount} of ${counts.assertions} assertions of the day do not hold`
    return yield* new DemoFailed({ findings: [finding] })
  }
  if (strict && counts.refusedCount + counts.faultCount > 0) {
    const finding = `--strict: ${counts.refusedCount} lines were refused, ${counts.faultCount} are at fault`
    return yield* new DemoFailed({ findings: [finding] })
  }
})

export const demo = Effect.fnUntraced(function* (flags: DemoFlags) {
  const file = Option.getOrElse(flags.file, () => dayFile)
  tuneCollector()
  const output = makeOutput(flags.json)
  const doors: Doors | undefined = flags.keep
    ? { rpc: yield* readRpcSettings, http: yield* readHttpSettings }
    : undefined
  // A file without the right header is refused before any service is started.
  yield* readDayFile(file).pipe(Stream.take(1), Stream.runDrain)
  yield* playOnStack({ ...flags, file }, doors, output)
})
