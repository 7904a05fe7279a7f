/** Runs the program as a process of its own, and tells what it printed and how it ended. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert } from "@effect/vitest"
import { Deferred, Effect, FileSystem, Layer, Option, Redacted, Schedule, Stream } from "effect"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { runDemo } from "../../src/cli/DemoRun.ts"
import { type DevStackService, startDevStack } from "../../src/infra/dev/DevStack.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { preparedDataDir } from "./devStacks.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Ended {
  /** None where a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly pid: number
  readonly stdout: () => string
  readonly stderr: () => string
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

export interface Options {
  /** Variables of the ledger; none of this process's are passed on. */
  readonly env?: Readonly<Record<string, string>>
  /** What is run; the program's command line by default. */
  readonly file?: string
  /** Its stderr is a pipe that is closed at the other end. */
  readonly isUnread?: boolean
  /** Its stdout: a pipe that is closed at the other end, or this file descriptor, in place of a pipe that is read. */
  readonly stdout?: "closed" | number
}

const environment = (given: Readonly<Record<string, string>> = {}) => {
  const rest = Object.entries(process.env).filter(([name]) => !name.startsWith("CHRONICLE_"))
  // A question finds no node of this machine that a test did not start.
  return { ...Object.fromEntries(rest), CHRONICLE_RPC_PORT: "1", NO_COLOR: "1", ...given }
}

/** How long a process may take to end in order before it is killed: its services go with it. */
const endsWithin = "20 seconds"

/** Ended with the scope if it still runs by then. */
export const start = Effect.fnUntraced(function* (args: ReadonlyArray<string>, options: Options = {}) {
  const done = yield* Deferred.make<Ended>()
  const written = { stdout: "", stderr: "" }
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const spawned = spawn(
        process.execPath,
        [...process.execArgv, options.file ?? "src/cli/main.ts", ...args],
        {
          cwd: root,
          env: environment(options.env),
          stdio: ["ignore", typeof options.stdout === "number" ? options.stdout : "pipe", "pipe"]
        }
      )
      for (const name of ["stdout", "stderr"] as const) {
        spawned[name]?.setEncoding("utf8").on("data", (text: string) => {
          written[name] += text
        })
      }
      if (options.isUnread === true) spawned.stderr?.destroy()
      if (options.stdout === "closed") spawned.stdout?.destroy()
      spawned.once("close", (code, signal) => {
        Deferred.doneUnsafe(done, Effect.succeed({ code, signal, ...written }))
      })
      return spawned
    }),
    (spawned) =>
      Effect.gen(function* () {
        spawned.kill("SIGTERM")
        const orderly = yield* Effect.timeoutOption(Deferred.await(done), endsWithin)
        if (Option.isSome(orderly)) return
        spawned.kill("SIGKILL")
        yield* Deferred.await(done)
      })
  )
  return {
    pid: child.pid ?? 0,
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    signal: (name) => Effect.sync(() => void child.kill(name)),
    ended: Deferred.await(done)
  } satisfies Running
})

const longest = "2 minutes"

/** From its start to its end. */
export const run = (args: ReadonlyArray<string>, options?: Options): Effect.Effect<Ended> =>
  Effect.scoped(
    Effect.gen(function* () {
      const running = yield* start(args, options)
      return yield* running.ended.pipe(
        Effect.timeoutOrElse({
          duration: longest,
          orElse: () =>
            Effect.die(
              `"${args.join(" ")}" has not ended in ${longest}:\n${running.stdout()}\n${running.stderr()}`
            )
        })
      )
    })
  )

/** Waits until it has printed that; dies when it ends before. */
export const printed = (running: Running, words: RegExp): Effect.Effect<void> =>
  Effect.sync(() => words.test(running.stdout()) || words.test(running.stderr())).pipe(
    Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (found) => found }),
    Effect.raceFirst(
      Effect.flatMap(running.ended, (ended) =>
        words.test(ended.stdout) || words.test(ended.stderr)
          ? Effect.void
          : Effect.die(`ended without "${words}": ${JSON.stringify(ended)}`)
      )
    ),
    Effect.timeoutOrElse({
      duration: longest,
      orElse: () => Effect.die(`in vain waited for "${words}":\n${running.stdout()}\n${running.stderr()}`)
    }),
    Effect.asVoid
  )

/** The one line of `--json`; nothing else may be on stdout. */
export const jsonOf = (ended: Ended): Record<string, unknown> => {
  assert.match(ended.stdout, /^[^\n]+\n$/, `stdout is no single line; stderr is ${ended.stderr}`)
  const value: unknown = JSON.parse(ended.stdout)
  assert.isObject(value)
  // An object that was just parsed has string keys, and its values are looked at one by one.
  return value as Record<string, unknown>
}

/** The variables that lead a command to the services of a stack. */
export const variablesOf = (stack: DevStackService): Readonly<Record<string, string>> => ({
  CHRONICLE_EVENT_STORE_URL: Redacted.value(stack.eventStoreUrl),
  CHRONICLE_READ_MODEL_URL: Redacted.value(stack.readModelUrl),
  CHRONICLE_NATS_URL: stack.natsUrl
})

const shortHeader = "time,command_id,kind,account,counterparty,asset,amount,legs,owner,overdraft,note"

/** A day of the format of examples/README.md in a file that goes with the scope. */
export const dayFile = Effect.fnUntraced(function* (lines: ReadonlyArray<string>, header = shortHeader) {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-day-" })}/day.csv`
  yield* fs.writeFileString(file, `${[header, ...lines].join("\n")}\n`)
  return file
})

/** A file with the first lines of the day that is shipped. */
export const beginningOfDay = Effect.fnUntraced(function* (count: number) {
  const fs = yield* FileSystem.FileSystem
  const [header, ...lines] = yield* fs
    .stream(`${root}/examples/day.csv`)
    .pipe(Stream.decodeText, Stream.splitLines, Stream.take(count + 1), Stream.runCollect)
  return yield* dayFile(lines, header)
})

/** A running stack on which a day was played; the node that did it has ended. */
export const playedStack = Effect.fnUntraced(function* (day: ReadonlyArray<string>) {
  const stack = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
  yield* LedgerNode.migrate(stack)
  const file = yield* dayFile(day)
  const { verdicts } = yield* runDemo({ file, journals: `${stack.dataDir}/refusals` }).pipe(
    Effect.provide(Audit.layer.pipe(Layer.provideMerge(LedgerNode.layer({ ...stack, nodeName: "demo" }))))
  )
  assert.deepEqual(verdicts.faults, [])
  return stack
})
