/** The files of the development stack's PostgreSQL, made by `initdb` once, and the password of its one user. */
import { Effect, FileSystem, Option, Path } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { ServiceFailed } from "./DevStackErrors.ts"
import { makeDirectories } from "./Directories.ts"
import { newPassword } from "./Password.ts"
import type { ServerUser } from "./ServerUser.ts"

export const postgresUser = "chronicle"

/** Appends what a program writes to a log, so that nothing of ours stands between them. */
const toLog = 'exec >>"$1" 2>&1 && shift && exec "$@"'

/** Made beside and renamed when complete: a start that was broken off leaves no half database. */
export const openPostgresFiles = Effect.fn("PostgresFiles.open")(
  function* (options: {
    readonly initdb: string
    readonly directory: string
    readonly logFile: string
    readonly durable: boolean
    readonly as: ServerUser
  }) {
    const fs = yield* FileSystem.FileSystem
    const { join } = yield* Path.Path
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const { as, directory, logFile } = options
    const files = { data: join(directory, "data"), password: join(directory, "password") }
    const read = Effect.map(fs.readFileString(files.password), (password) => ({ data: files.data, password }))
    if (yield* fs.exists(join(files.data, "PG_VERSION"))) return yield* read
    const give = (file: string) =>
      Option.isNone(as.owner) ? Effect.void : fs.chown(file, as.owner.value.uid, as.owner.value.gid)
    yield* makeDirectories(directory, 0o700)
    yield* fs.writeFileString(files.password, newPassword(), { mode: 0o600 })
    yield* Effect.forEach([directory, files.password], give)
    const fresh = `${files.data}.new`
    yield* fs.remove(fresh, { recursive: true, force: true })
    const flags = [
      "--auth=scram-sha-256",
      `--pwfile=${files.password}`,
      "--encoding=UTF8",
      "--locale=C",
      ...(options.durable ? [] : ["--no-sync"])
    ]
    const words = [logFile, ...as.prefix, options.initdb, "-D", fresh, "-U", postgresUser, ...flags]
    const code = yield* spawner.exitCode(
      ChildProcess.make("/bin/sh", ["-c", toLog, "sh", ...words], {
        env: { LC_ALL: "C" },
        extendEnv: true,
        stdin: "ignore",
        killSignal: "SIGINT",
        forceKillAfter: "5 seconds"
      })
    )
    if (code !== 0) {
      const log = yield* fs.readFileString(logFile)
      return yield* new ServiceFailed({
        service: "PostgreSQL",
        reason: `could not make its files: initdb ended with exit code ${code}`,
        logFile,
        log: log.slice(-2_000).trimEnd()
      })
    }
    yield* fs.rename(fresh, files.data)
    return yield* read
  },
  (effect, { logFile }) =>
    Effect.catchTag(effect, "PlatformError", (error) =>
      Effect.fail(
        new ServiceFailed({
          service: "PostgreSQL",
          reason: `cannot use its files: ${error.message}`,
          logFile,
          log: ""
        })
      )
    )
)
