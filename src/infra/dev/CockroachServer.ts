/** Runs a single-node CockroachDB on a directory, for development where a `cockroach` is on the PATH. */
import { PgClient } from "@effect/sql-pg"
import { Effect, FileSystem, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { startDaemon } from "./Daemon.ts"
import { ServiceFailed } from "./DevStackErrors.ts"
import { loopbackPort, onLoopbackPort } from "./LoopbackPort.ts"

interface CockroachOptions {
  readonly program: string
  readonly directory: string
  readonly pidFile: string
  readonly logFile: string
  readonly port?: number | undefined
  /** Made where it is missing. */
  readonly database: string
}

const service = "CockroachDB"

/** Insecure, but on loopback only: who can reach it there is on this machine already. */
export const startCockroach = Effect.fn("CockroachServer.start")(function* (options: CockroachOptions) {
  const fs = yield* FileSystem.FileSystem
  const { database, directory, logFile, pidFile, program } = options
  // Written by the server once it serves.
  const readyFile = `${directory}.url`
  const start = Effect.fnUntraced(function* (port: number) {
    const httpPort = yield* loopbackPort(service)
    yield* Effect.ignore(fs.remove(readyFile, { force: true }))
    yield* startDaemon({
      service,
      program,
      args: [
        "start-single-node",
        "--insecure",
        `--listen-addr=127.0.0.1:${port}`,
        `--http-addr=127.0.0.1:${httpPort}`,
        `--store=${directory}`,
        `--listening-url-file=${readyFile}`,
        "--cache=256MiB",
        "--max-sql-memory=256MiB"
      ],
      // Without it the server tells its makers, from a machine of a developer, that it runs.
      env: { COCKROACH_SKIP_ENABLING_DIAGNOSTIC_REPORTING: "true" },
      pidFile,
      logFile,
      stopSignal: "SIGTERM",
      stopWithinMs: 30_000,
      startWithinMs: 90_000,
      isReady: () =>
        fs.stat(readyFile).pipe(
          Effect.map(({ size }) => Number(size) > 0),
          Effect.orElseSucceed(() => false)
        )
    })
    return port
  })
  const port = yield* onLoopbackPort(service, options.port, start)
  const urlOf = (name: string) => Redacted.make(`postgresql://root@127.0.0.1:${port}/${name}?sslmode=disable`)
  yield* PgClient.makeClient({ url: urlOf("defaultdb"), connectTimeout: "10 seconds" }).pipe(
    Effect.flatMap((sql) => sql.unsafe(`CREATE DATABASE IF NOT EXISTS ${database}`)),
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    Effect.mapError(
      (error) =>
        new ServiceFailed({
          service,
          reason: `could not make its database: ${error.message}`,
          logFile,
          log: ""
        })
    )
  )
  return { url: urlOf(database) }
})
