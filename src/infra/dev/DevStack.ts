/**
 * The three services that the ledger needs, started on this machine in a data directory and ended with the scope: for
 * `dev`, `demo`, the load test and tests. The machine needs Node and, for JetStream, nats-server.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Context, Effect, FileSystem, Layer, Option, Path, type Redacted, type Scope } from "effect"
import { startCockroach } from "./CockroachServer.ts"
import { type DataDirectory, type EventStoreProduct, openDataDirectory } from "./DataDirectory.ts"
import { DataDirectoryUnusable, type DevStackError, ProgramMissing } from "./DevStackErrors.ts"
import { makeDirectories } from "./Directories.ts"
import { startPostgres } from "./EmbeddedPostgres.ts"
import { type NatsServer, startNats } from "./NatsServer.ts"
import { endOrphans, guardOrphans } from "./OrphanGuard.ts"
import { newPassword } from "./Password.ts"
import { findCockroach } from "./Programs.ts"

interface DevStackOptions {
  /** `.chronicle` of the working directory by default. */
  readonly dataDir?: string | undefined
  /** Ports of 127.0.0.1; free ones are chosen by default. */
  readonly postgresPort?: number | undefined
  readonly natsPort?: number | undefined
  readonly cockroachPort?: number | undefined
  /** Delete everything in the data directory first, if it is one of ours and not in use. */
  readonly fresh?: boolean | undefined
  /** False in tests only: PostgreSQL then syncs nothing to disk. */
  readonly durable?: boolean | undefined
}

export interface DevStackService {
  /** Absolute. */
  readonly dataDir: string
  /** `CHRONICLE_EVENT_STORE_URL`. */
  readonly eventStoreUrl: Redacted.Redacted
  /** `CHRONICLE_READ_MODEL_URL`. */
  readonly readModelUrl: Redacted.Redacted
  /** `CHRONICLE_NATS_URL`. */
  readonly natsUrl: string
  readonly eventStore: EventStoreProduct
  /** What runs, and what is weaker than in production: sentences for the terminal. */
  readonly notes: ReadonlyArray<string>
  /** Kills, starts and empties JetStream under the feet of its users. */
  readonly nats: NatsServer
}

const databases = { events: "chronicle_events", readModel: "chronicle_read_model" }

/** The event store of a data directory never changes: its events would stay behind. */
const chooseEventStore = Effect.fnUntraced(function* (directory: DataDirectory) {
  const cockroach = yield* findCockroach
  if (Option.isNone(directory.eventStore)) {
    yield* directory.recordEventStore(Option.isSome(cockroach) ? "CockroachDB" : "PostgreSQL")
    return cockroach
  }
  if (directory.eventStore.value === "PostgreSQL") return Option.none<string>()
  if (Option.isSome(cockroach)) return cockroach
  return yield* new ProgramMissing({
    program: "cockroach",
    advice: `The events of ${directory.path} are in CockroachDB: put \`cockroach\` on the PATH again, or name another data directory.`
  })
})

const jetStreamNote = (nats: NatsServer) =>
  nats.syncsAlways
    ? `JetStream: nats-server ${nats.version}, each message is synced to disk`
    : `JetStream: nats-server ${nats.version}, which cannot sync each message to disk (2.10 can); what it may lose comes again from the event store`

/** All but what says that the directory is ours. */
const emptyDataDirectory = Effect.fnUntraced(function* (dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  for (const file of yield* fs.readDirectory(dataDir)) {
    if (file !== "version.json" && !file.startsWith("lock")) {
      yield* fs.remove(join(dataDir, file), { recursive: true })
    }
  }
})

/**
 * Where a server keeps its files, by its name. The ids of processes stand in a directory of this run alone: the guard of
 * a run that was killed must never see those of the next.
 */
const makeFiles = Effect.fnUntraced(function* (dataDir: string, runs: string) {
  const { join } = yield* Path.Path
  const run = join(runs, `${process.pid}-${yield* Clock.currentTimeMillis}`)
  const logs = join(dataDir, "logs")
  for (const made of [run, logs]) yield* makeDirectories(made)
  yield* guardOrphans(run)
  return (name: string) => ({
    directory: join(dataDir, name),
    pidFile: join(run, `${name}.pid`),
    logFile: join(logs, `${name}.log`)
  })
})

/** Starts everything in the scope, in this order, and ends it in the opposite order. */
export const startDevStack = Effect.fn("DevStack.start")(function* (
  options: DevStackOptions = {}
): Effect.fn.Return<DevStackService, DevStackError, Scope.Scope | NodeServices.NodeServices> {
  const { join } = yield* Path.Path
  const directory = yield* openDataDirectory(options.dataDir ?? ".chronicle")
  const dataDir = directory.path
  const runs = join(dataDir, "run")
  yield* endOrphans(runs, dataDir)
  if (options.fresh === true) {
    yield* emptyDataDirectory(dataDir).pipe(
      Effect.mapError((error) => new DataDirectoryUnusable({ dataDir, reason: error.message }))
    )
  }
  const cockroach = yield* chooseEventStore(
    options.fresh === true ? { ...directory, eventStore: Option.none() } : directory
  )
  const filesOf = yield* makeFiles(dataDir, runs).pipe(
    Effect.mapError((error) => new DataDirectoryUnusable({ dataDir, reason: error.message }))
  )
  const [nats, postgres, events] = yield* Effect.all(
    [
      startNats({ ...filesOf("nats"), port: options.natsPort, password: newPassword() }),
      startPostgres({
        ...filesOf("postgres"),
        port: options.postgresPort,
        durable: options.durable ?? true,
        databases: Object.values(databases)
      }),
      Option.isSome(cockroach)
        ? Effect.asSome(
            startCockroach({
              ...filesOf("cockroach"),
              program: cockroach.value,
              port: options.cockroachPort,
              database: databases.events
            })
          )
        : Effect.succeedNone
    ],
    { concurrency: "unbounded" }
  )
  return {
    dataDir,
    eventStoreUrl: Option.isSome(events) ? events.value.url : postgres.urlOf(databases.events),
    readModelUrl: postgres.urlOf(databases.readModel),
    natsUrl: nats.url,
    eventStore: Option.isSome(events) ? "CockroachDB" : "PostgreSQL",
    notes: [
      Option.isSome(events)
        ? "event store: CockroachDB, one node, found on the PATH"
        : "event store: the embedded PostgreSQL stands in for CockroachDB",
      "read model: the embedded PostgreSQL",
      jetStreamNote(nats)
    ],
    nats
  }
})

export class DevStack extends Context.Service<DevStack, DevStackService>()("chronicle/infra/dev/DevStack") {
  static readonly layer = (options: DevStackOptions = {}) =>
    Layer.effect(DevStack, startDevStack(options)).pipe(Layer.provide(NodeServices.layer))
}
