/**
 * Runs a server in the background and ends it with the scope, so that no server outlives the program that started it.
 */
import { Effect, FileSystem, Schedule, type Scope } from "effect"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"
import { ServiceFailed } from "./DevStackErrors.ts"

interface DaemonSpec {
  readonly service: string
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly env?: Record<string, string>
  /** Holds its process id while it runs, for the guard and for the next start. */
  readonly pidFile: string
  /** What it writes to its terminal is appended here. */
  readonly logFile: string
  /** Asks it to end; it is killed when it has not within `stopWithinMs`. */
  readonly stopSignal: "SIGINT" | "SIGTERM"
  readonly stopWithinMs: number
  readonly startWithinMs: number
  /** Whether it serves already; `output` is what it wrote since this start. */
  readonly isReady: (daemon: { readonly pid: number; readonly output: string }) => Effect.Effect<boolean>
}

export interface Daemon {
  readonly pid: number
  readonly isRunning: Effect.Effect<boolean>
  /** Ends it as a crash of the machine would: SIGKILL. */
  readonly kill: Effect.Effect<void>
}

const logTailCharacters = 2_000

/** A log longer than this is begun anew at the next start. */
const logBytesMax = 8_000_000

/** Notes its own process id, sends its output to the log, and becomes the server: the process id stays. */
const launcher = 'echo $$ >"$1" && exec >>"$2" 2>&1 && shift 2 && exec "$@"'

/** Output goes to a file and not through us, so that the server outlives no pipe and blocks on none. */
const spawn = (spec: DaemonSpec) =>
  ChildProcess.make(
    "/bin/sh",
    ["-c", launcher, "sh", spec.pidFile, spec.logFile, spec.program, ...spec.args],
    {
      env: { ...spec.env },
      extendEnv: true,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
      killSignal: spec.stopSignal,
      forceKillAfter: spec.stopWithinMs
    }
  )

/** Answers once the server serves; fails when it ends before, or takes too long. */
export const startDaemon = Effect.fn("Daemon.start")(function* (
  spec: DaemonSpec
): Effect.fn.Return<
  Daemon,
  ServiceFailed,
  Scope.Scope | FileSystem.FileSystem | ChildProcessSpawner.ChildProcessSpawner
> {
  const fs = yield* FileSystem.FileSystem
  const written = yield* fs.stat(spec.logFile).pipe(
    Effect.map(({ size }) => Number(size)),
    Effect.orElseSucceed(() => 0)
  )
  if (written > logBytesMax) yield* fs.truncate(spec.logFile).pipe(Effect.ignore)
  const before = written > logBytesMax ? 0 : written
  const output = fs.readFile(spec.logFile).pipe(
    Effect.map((bytes) => new TextDecoder().decode(bytes.subarray(before))),
    Effect.orElseSucceed(() => "")
  )
  const failed = (reason: string) =>
    Effect.flatMap(output, (log) =>
      Effect.fail(
        new ServiceFailed({
          service: spec.service,
          reason,
          logFile: spec.logFile,
          log: log.slice(-logTailCharacters).trimEnd()
        })
      )
    )
  yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(spec.pidFile, { force: true })))
  const handle = yield* spawn(spec).pipe(Effect.catch((error) => failed(`did not start: ${error.message}`)))
  const isRunning = handle.isRunning.pipe(Effect.orElseSucceed(() => false))
  const waitReady = Effect.flatMap(output, (text) => spec.isReady({ pid: handle.pid, output: text })).pipe(
    Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (ready) => ready })
  )
  const ended = Effect.exit(handle.exitCode).pipe(
    Effect.flatMap((exit) =>
      failed(exit._tag === "Success" ? `ended with exit code ${exit.value}` : "was ended by a signal")
    )
  )
  yield* Effect.raceFirst(waitReady, ended).pipe(
    Effect.timeoutOrElse({
      duration: spec.startWithinMs,
      orElse: () => failed(`did not answer within ${spec.startWithinMs} ms`)
    })
  )
  return {
    pid: handle.pid,
    isRunning,
    kill: Effect.ignore(handle.kill({ killSignal: "SIGKILL" }))
  }
})
