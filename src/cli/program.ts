/**
 * The command line: its commands, how it reports what failed, and its exit codes: 0 done, 1 refused or failed, 2 wrong
 * usage, 130 stopped by Ctrl-C or SIGTERM before it was done.
 *
 * Everything imported here says how commands are called. What they do is loaded when one of them runs (`lazily.ts`).
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Config, Console, Data, Effect, Exit, Layer, Logger, Option, Predicate } from "effect"
import { CliConfig, CliError, CliOutput, Command, Flag, GlobalFlag } from "effect/cli"
import packageJson from "../../package.json" with { type: "json" }
import { HandOver } from "../Bundle.ts"
import { printable } from "../domain/Printable.ts"
import { layerJsonLogs, layerLogs, logFormat } from "../infra/telemetry/Logs.ts"
import { cluster } from "./cluster.ts"
import {
  closeAccount,
  deposit,
  freeze,
  group,
  hold,
  journal,
  open,
  reverse,
  transfer,
  unfreeze,
  update,
  withdraw
} from "./commands.ts"
import { demo } from "./demo.ts"
import { DemoFailed, describeConfigError, isUsageFailure, LoadTestFailed } from "./failures.ts"
import { loadtest } from "./loadtest.ts"
import { dev, migrate, serve } from "./nodes.ts"
import { failureOf, JsonAnswer, printJson } from "./Output.ts"
import { parked } from "./parked.ts"
import { accounts, balance, find, history } from "./queries.ts"
import { rebuild } from "./rebuild.ts"
import { statement, sum, trialBalance } from "./statement.ts"
import { Stopped } from "./stopped.ts"
import { token } from "./token.ts"
import { verify } from "./verify.ts"
import { webhooks } from "./webhooks.ts"

/**
 * `--version` of the program alone: `balance` has one of its own (a version of the account), so effect's, which all
 * commands would share, is not built in.
 */
const chronicle = Command.make(
  "chronicle",
  {
    version: Flag.Boolean("version").pipe(
      Flag.withDescription("Print the version of the program"),
      Flag.withDefault(false)
    )
  },
  ({ version }) =>
    version
      ? Console.log(packageJson.version)
      : new CliError.ShowHelp({ commandPath: ["chronicle"], errors: [] })
).pipe(
  Command.withDescription("An event-sourced ledger: append-only, provable, fast"),
  Command.withSubcommands([
    demo,
    dev,
    serve,
    migrate,
    open,
    deposit,
    withdraw,
    transfer,
    hold,
    reverse,
    journal,
    group,
    update,
    freeze,
    unfreeze,
    closeAccount,
    accounts,
    balance,
    history,
    find,
    statement,
    sum,
    trialBalance,
    verify,
    parked,
    rebuild,
    loadtest,
    token,
    cluster,
    webhooks
  ])
)

const flags = CliConfig.layer({ builtIns: GlobalFlag.BuiltIns.filter((flag) => flag !== GlobalFlag.Version) })

/** The words of the library for a value that is one of several: `"all" | "commands"`. */
const choices = /^"[^"]*"(?: \| "[^"]*")+$/

/** How a fault of a value that was given begins; where none was given the library names its kind alone: `integer`. */
const isFault = (words: string): boolean => /^(?:must|is|has) |^["A-Z]/.test(words)

/** An invalid value as one sentence: `--at "2026-02-30" is no day of the calendar`. */
const describeUsage = (error: CliError.CliError): string => {
  // The library puts its suggestions on lines of their own, and what was typed may have such breaks too.
  if (error._tag === "UnknownSubcommand" || error._tag === "UnrecognizedOption") {
    const [first = ""] = error.message.split("\n\n  Did you mean this?\n")
    return error.suggestions.length === 0 ? first : `${first}; did you mean ${error.suggestions.join(", ")}?`
  }
  if (error._tag !== "InvalidValue") return error.message
  const name = error.kind === "argument" ? `<${error.option}>` : `--${error.option}`
  const fault = error.expected.replace(/^Schema validation failed: /, "")
  if (error.value === "" && error.kind === "flag" && !isFault(fault))
    return `${name} lacks its value: ${fault}`
  if (/^(must|is|has) /.test(fault)) return `${name} "${error.value}" ${fault}`
  const words = choices.test(fault)
    ? `expected ${fault}`
    : `${fault.charAt(0).toLowerCase()}${fault.slice(1)}`
  return `${name} "${error.value}": ${words}`
}

/** What is wrong with the call, in a few lines on stderr; stdout belongs to answers. */
const presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(
          [
            ...event.errors.map((error) => `chronicle: ${printable(describeUsage(error))}`),
            `usage: ${event.helpDoc.usage}; more with ${event.commandPath.join(" ")} --help`
          ].join("\n")
        )
      : CliOutput.defaultPresenter.present(event)
})

/** What failed, as a sentence. */
const messageOf = (error: unknown): string => {
  if (error instanceof Config.ConfigError) return describeConfigError(error)
  const message = Predicate.hasProperty(error, "message") ? String(error.message) : ""
  return message === "" ? String(error) : message
}

/** For a person on stderr, and as the value of `--json` where the command has printed none. */
const report = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.void
  const error = Cause.squash(cause)
  if (CliError.isCliError(error)) return Effect.void // reported already, with the usage
  if (error instanceof HandOver) return Effect.void
  return Effect.gen(function* () {
    yield* reportLines(linesOf(cause, error))
    const { isAsked, isPrinted } = yield* JsonAnswer
    if (isAsked && !isPrinted) yield* printJson(failureOf(error, messageOf(error)))
  })
}

/** One line a person can act on, or one a finding; a defect keeps its trace. */
const linesOf = (cause: Cause.Cause<unknown>, error: unknown): ReadonlyArray<string> => {
  if (Cause.hasDies(cause)) return Cause.pretty(cause).split("\n")
  if (error instanceof DemoFailed || error instanceof LoadTestFailed) {
    const [first = error.message, ...further] = error.findings
    return [`chronicle: ${first}`, ...further]
  }
  return [`chronicle: ${messageOf(error)}`]
}

/** On stderr, as one object of JSON where logs are JSON: then nothing else may stand there. */
const reportLines = (lines: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.flatMap(Effect.option(logFormat), (format) =>
    Option.contains(format, "json")
      ? Effect.logFatal(lines.join("\n")).pipe(Effect.provide(layerJsonLogs))
      : Console.error(lines.map(printable).join("\n"))
  )

const stopped = { code: 130 }

const isHelp = (error: unknown): boolean =>
  CliError.isCliError(error) && error._tag === "ShowHelp" && error.errors.length === 0

/** The command is done, and stdout did not take all that it had to say. */
class OutputLost extends Data.TaggedError("OutputLost")<{ readonly reason: string }> {
  override get message() {
    return `what was done is not all told, because stdout cannot be written to: ${this.reason}`
  }
}

/** What stdout said of the first thing that it did not take. */
let stdoutFault: NodeJS.ErrnoException | undefined

const noteStdoutFault = (error: NodeJS.ErrnoException): void => {
  stdoutFault ??= error
}

/** Waits until stdout has taken all, or said why not. A pipe whose reader has seen enough, as `head` has, is no failure. */
const stdoutWritten = Effect.callback<void>((resume) => {
  process.stdout.write("", () => resume(Effect.void))
}).pipe(
  // What was written before says why it failed within the same turn, and perhaps behind this.
  Effect.andThen(Effect.yieldNow),
  Effect.andThen(
    Effect.suspend(() =>
      stdoutFault === undefined || stdoutFault.code === "EPIPE"
        ? Effect.void
        : Effect.fail(new OutputLost({ reason: stdoutFault.message }))
    )
  )
)

const program = Command.run(chronicle, { version: packageJson.version }).pipe(
  Effect.scoped,
  Effect.provide(layerLogs),
  Effect.catchIf(isHelp, () => Effect.void),
  Effect.andThen(stdoutWritten),
  Effect.tapCause(report),
  Effect.provide(
    Layer.mergeAll(
      NodeServices.layer,
      flags,
      presenter,
      Layer.succeed(Logger.LogToStderr, true),
      Layer.succeed(Stopped, stopped),
      Layer.succeed(JsonAnswer, { isAsked: false, isPrinted: false })
    )
  )
)

/** Reads the arguments of the process and does what they say. `handedOver` is called where this is the front, and cannot. */
export const run = (handedOver?: () => void): void => {
  // A command goes on to its end where its stderr is closed, as behind `2>&1 | head`, and with it all that it tells of its progress.
  process.stderr.on("error", () => {})
  // So it does where its stdout takes nothing, because it may be moving money; `stdoutWritten` tells of that at its end.
  process.stdout.on("error", noteStdoutFault)
  NodeRuntime.runMain(program, {
    disableErrorReporting: true,
    teardown: (exit, onExit) => {
      if (Exit.isSuccess(exit)) return onExit(0)
      if (Cause.hasInterruptsOnly(exit.cause)) return onExit(stopped.code)
      const error = Cause.squash(exit.cause)
      if (error instanceof HandOver && handedOver !== undefined) return handedOver()
      return onExit(isUsageFailure(error) ? 2 : 1)
    }
  })
}
