/** The development stack's nats-server with JetStream, and the means to break it on purpose. */
import { Effect, Exit, FileSystem, Path, Scope, SynchronizedRef } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { knowsSyncInterval } from "../bus/BusDoubts.ts"
import { type Daemon, startDaemon } from "./Daemon.ts"
import { ServiceFailed } from "./DevStackErrors.ts"
import { makeDirectories } from "./Directories.ts"
import { onLoopbackPort } from "./LoopbackPort.ts"
import { findNatsServer } from "./Programs.ts"

interface NatsOptions {
  /** Holds the configuration and, below `jetstream`, the streams. */
  readonly directory: string
  readonly pidFile: string
  readonly logFile: string
  readonly port?: number | undefined
  /** Asked of everybody who connects, as the user `chronicle`; without one anybody on this machine may publish. */
  readonly password?: string | undefined
}

/** Breaks and mends the server while others use it, as faults would. */
export interface NatsServer {
  /** With the password, if there is one. */
  readonly url: string
  readonly version: string
  /** Whether JetStream syncs each message to disk before it acknowledges: from 2.10 on. */
  readonly syncsAlways: boolean
  readonly isRunning: Effect.Effect<boolean>
  /** Ends it with SIGKILL; nothing where it does not run. */
  readonly kill: Effect.Effect<void>
  /** Starts it again on the same port with the same streams; nothing where it runs. */
  readonly start: Effect.Effect<void, ServiceFailed>
  /** Loses every stream and consumer: kills it where it runs, and leaves it stopped. */
  readonly deleteJetStream: Effect.Effect<void, ServiceFailed>
}

const service = "nats-server"
const user = "chronicle"

const readVersion = Effect.fnUntraced(function* (program: string, logFile: string) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const text = yield* spawner
    .string(ChildProcess.make(program, ["--version"]))
    .pipe(Effect.orElseSucceed(() => ""))
  const version = /v(\d+\.\d+\.\d+)/.exec(text)?.[1]
  return version === undefined
    ? yield* new ServiceFailed({
        service,
        reason: `${program} does not tell its version`,
        logFile,
        log: text
      })
    : version
})

/** The program that this machine has; `syncsAlways` as of `NatsServer`. */
export const findNats = Effect.fnUntraced(function* (logFile: string) {
  const program = yield* findNatsServer
  const version = yield* readVersion(program, logFile)
  return { program, version, syncsAlways: knowsSyncInterval(version) }
})

/** nats-server reads JSON as its own format. */
const configuration = (
  port: number,
  storeDir: string,
  syncsAlways: boolean,
  password: string | undefined
): string =>
  JSON.stringify(
    {
      listen: `127.0.0.1:${port}`,
      ...(password === undefined ? {} : { authorization: { user, password } }),
      jetstream: {
        store_dir: storeDir,
        ...(syncsAlways ? { sync_interval: "always" } : {})
      }
    },
    null,
    2
  )

interface Running {
  readonly daemon: Daemon
  readonly scope: Scope.Closeable
  readonly port: number
}

/** Where a server keeps what, and by which program and settings it runs. */
interface Setup extends NatsOptions {
  readonly program: string
  readonly syncsAlways: boolean
  readonly configFile: string
  readonly storeDir: string
}

const broken = ({ logFile }: NatsOptions) =>
  Effect.catch((error: { readonly message: string }) =>
    Effect.fail(
      new ServiceFailed({ service, reason: `cannot use its files: ${error.message}`, logFile, log: "" })
    )
  )

/** Starts the server on a port. Each run of it has a scope of its own below the stack's. */
const launch = Effect.fnUntraced(function* (setup: Setup, parent: Scope.Scope, port: number) {
  const fs = yield* FileSystem.FileSystem
  const text = configuration(port, setup.storeDir, setup.syncsAlways, setup.password)
  yield* fs.writeFileString(setup.configFile, text, { mode: 0o600 }).pipe(broken(setup))
  const scope = yield* Scope.fork(parent)
  const daemon = yield* startDaemon({
    service,
    program: setup.program,
    args: ["-c", setup.configFile],
    pidFile: setup.pidFile,
    logFile: setup.logFile,
    stopSignal: "SIGTERM",
    stopWithinMs: 10_000,
    startWithinMs: 30_000,
    isReady: ({ output }) => Effect.succeed(output.includes("Server is ready"))
  }).pipe(
    Scope.provide(scope),
    Effect.onExit((exit) => (Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void))
  )
  return { daemon, scope, port } satisfies Running
})

export const startNats = Effect.fn("NatsServer.start")(function* (options: NatsOptions) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const { program, version, syncsAlways } = yield* findNats(options.logFile)
  const setup: Setup = {
    ...options,
    program,
    syncsAlways,
    configFile: join(options.directory, "nats.conf"),
    storeDir: join(options.directory, "jetstream")
  }
  yield* makeDirectories(options.directory, 0o700).pipe(broken(options))

  const parent = yield* Effect.scope
  const context = yield* Effect.context<FileSystem.FileSystem | ChildProcessSpawner.ChildProcessSpawner>()
  const launchAt = (port: number) => Effect.provideContext(launch(setup, parent, port), context)
  const first = yield* onLoopbackPort(service, options.port, launchAt)
  const current = yield* SynchronizedRef.make<Running>(first)
  const killed = Effect.fnUntraced(function* (running: Running) {
    yield* running.daemon.kill
    yield* Scope.close(running.scope, Exit.void)
    return running
  })
  return {
    url:
      options.password === undefined
        ? `nats://127.0.0.1:${first.port}`
        : `nats://${user}:${options.password}@127.0.0.1:${first.port}`,
    version,
    syncsAlways,
    isRunning: Effect.flatMap(SynchronizedRef.get(current), ({ daemon }) => daemon.isRunning),
    kill: SynchronizedRef.updateEffect(current, killed),
    start: SynchronizedRef.updateEffect(current, (running) =>
      Effect.flatMap(running.daemon.isRunning, (runs) =>
        runs
          ? Effect.succeed(running)
          : Effect.andThen(Scope.close(running.scope, Exit.void), launchAt(first.port))
      )
    ),
    deleteJetStream: SynchronizedRef.updateEffect(current, (running) =>
      killed(running).pipe(
        Effect.tap(fs.remove(setup.storeDir, { recursive: true, force: true }).pipe(broken(options)))
      )
    )
  } satisfies NatsServer
})
