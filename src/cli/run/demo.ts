/** `chronicle demo`: plays a bank's day on an embedded stack from end to end, and proves that the books are right. */
import { fileURLToPath } from "node:url"
import { Effect, Layer, Option, Path, References, Stream } from "effect"
import { GlobalFlag } from "effect/cli"
import { Audit } from "../../actors/audit/Audit.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { DevStack } from "../../infra/dev/DevStack.ts"
import { tuneCollector } from "../../infra/telemetry/Collector.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { readDayFile } from "../DayFile.ts"
import { printBalances, printPlay, printTimeTravel, printVerdicts } from "../DemoOutput.ts"
import { type DemoOptions, runDemo } from "../DemoRun.ts"
import type { DemoFlags } from "../demo.ts"
import { DemoFailed } from "../failures.ts"
import { makeOutput, type Output, printJson } from "../Output.ts"

const dayFile = fileURLToPath(new URL("../../../examples/day.csv", import.meta.url))

/** Hides a node's log below warnings, unless `--log-level` asks for it: the demo's own output is to be read. */
const quietly = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(GlobalFlag.LogLevel, (asked) =>
    Option.isSome(asked) ? self : Effect.provideService(self, References.MinimumLogLevel, "Warn")
  )

/** Starts the services, plays the file on a node of its own, and prints what happened, chapter by chapter. */
const playOnStack = Effect.fnUntraced(function* (
  { file, data, fresh, rate }: Omit<DemoFlags, "file"> & { readonly file: string },
  output: Output
) {
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
      yield* output.line(`Playing ${file} …`)
      const result = yield* runDemo(options)
      yield* printPlay(output, result)
      yield* printBalances(output)
      const busiest = yield* printTimeTravel(output)
      yield* printVerdicts(output, result.verdicts)
      return { ...result, busiest }
    }).pipe(Effect.provide(Audit.layer.pipe(Layer.provideMerge(LedgerNode.layer(services)))), quietly)
  }).pipe(Effect.provide(DevStack.layer({ dataDir: data, fresh })))
  return yield* played.pipe(Effect.provide(limitsFromEnvironment))
})

/** How the user runs the program: in a working copy by npm's script, from the package by its command. */
const program = import.meta.url.endsWith(".ts") ? "npm run -s chronicle --" : "npx chronicle"

/** The last lines: the verdict, and commands to try on the data that are left. */
const printEnd = Effect.fnUntraced(function* (
  output: Output,
  data: string,
  busiest: Option.Option<string>,
  ok: boolean
) {
  yield* output.line()
  if (!ok) return yield* output.line("AN INVARIANT IS BROKEN: see above.")
  yield* output.line(
    `Every invariant holds. The data are kept in ${data}: play again, and all is replayed; or ask them:`
  )
  if (Option.isNone(busiest)) return
  for (const command of ["balance", "statement"])
    yield* output.line(`  ${program} ${command} ${busiest.value} --data ${data}`)
  yield* output.line(`  ${program} verify --data ${data}`)
})

export const demo = Effect.fnUntraced(function* (flags: DemoFlags) {
  const { data, strict, json } = flags
  const file = Option.getOrElse(flags.file, () => dayFile)
  tuneCollector()
  const output = makeOutput(json)
  // A file without the right header is refused before any service is started.
  yield* readDayFile(file).pipe(Stream.take(1), Stream.runDrain)
  const { played: counts, verdicts, busiest } = yield* playOnStack({ ...flags, file }, output)
  const ok = Object.values(verdicts.invariants).every(Boolean)
  yield* printEnd(output, data, busiest, ok)
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
