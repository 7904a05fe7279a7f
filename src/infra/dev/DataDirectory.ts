/**
 * Claims the data directory of a development stack: one process at a time, in a layout that this version knows.
 */
import { DatabaseSync } from "node:sqlite"
import { Effect, FileSystem, Option, Path, type PlatformError, Schema, type Scope } from "effect"
import {
  DataDirectoryInUse,
  DataDirectoryNewer,
  DataDirectoryUnusable,
  type DevStackError
} from "./DevStackErrors.ts"
import { makeDirectories } from "./Directories.ts"

/** Raised with every change that an older release would misread. */
export const layoutVersion = 1

/** What `version.json` says. The event store is chosen once: its data would not follow to another one. */
const Version = Schema.Struct({
  layout: Schema.Int,
  eventStore: Schema.Literals(["CockroachDB", "PostgreSQL"])
})
export type EventStoreProduct = (typeof Version.Type)["eventStore"]

/** Of any release, for the one question whether it is newer. */
const AnyVersion = Schema.fromJsonString(Schema.Struct({ layout: Schema.Int }))
const KnownVersion = Schema.fromJsonString(Version)

export interface DataDirectory {
  /** Absolute, without symbolic links: it is how our servers are recognised by their command lines. */
  readonly path: string
  /** None on the first start. */
  readonly eventStore: Option.Option<EventStoreProduct>
  readonly recordEventStore: (product: EventStoreProduct) => Effect.Effect<void, DataDirectoryUnusable>
}

/**
 * An exclusive transaction on an empty SQLite file: a lock of the kernel's that dies with its process, however
 * that dies, and leaves nothing stale. Node has no lock on files of its own.
 */
const lock = (dataDir: string, file: string) =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        const database = new DatabaseSync(file)
        database.exec("PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE")
        return database
      },
      catch: (error) =>
        // SQLite's code 5 is SQLITE_BUSY.
        error instanceof Error && "errcode" in error && error.errcode === 5
          ? new DataDirectoryInUse({ dataDir })
          : new DataDirectoryUnusable({ dataDir, reason: String(error) })
    }),
    (database) => Effect.sync(() => database.close())
  )

const readVersion = Effect.fnUntraced(function* (dataDir: string, file: string) {
  const fs = yield* FileSystem.FileSystem
  if (!(yield* fs.exists(file))) return Option.none<EventStoreProduct>()
  const text = yield* fs.readFileString(file)
  const broken = () => new DataDirectoryUnusable({ dataDir, reason: `${file} is not readable: ${text}` })
  const { layout } = yield* Schema.decodeEffect(AnyVersion)(text).pipe(Effect.mapError(broken))
  if (layout > layoutVersion) {
    return yield* new DataDirectoryNewer({ dataDir, found: layout, supported: layoutVersion })
  }
  const known = yield* Schema.decodeEffect(KnownVersion)(text).pipe(Effect.mapError(broken))
  return Option.some(known.eventStore)
})

/** Held until the scope closes. */
export const openDataDirectory = Effect.fn("DataDirectory.open")(function* (
  wanted: string
): Effect.fn.Return<DataDirectory, DevStackError, Scope.Scope | FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const unusable = (error: PlatformError.PlatformError) =>
    new DataDirectoryUnusable({ dataDir: wanted, reason: error.message })
  // Others may pass through it, because PostgreSQL may have to run as another user; what is in it says more.
  yield* makeDirectories(wanted, 0o711).pipe(Effect.mapError(unusable))
  const path = yield* fs.realPath(wanted).pipe(Effect.mapError(unusable))
  const names = { version: "version.json", lock: "lock" }
  const files = yield* fs.readDirectory(path).pipe(Effect.mapError(unusable))
  if (!files.includes(names.version) && files.some((file) => !file.startsWith(names.lock))) {
    return yield* new DataDirectoryUnusable({
      dataDir: path,
      reason: "it holds files that are not the ledger's"
    })
  }
  yield* lock(path, join(path, names.lock))
  const versionFile = join(path, names.version)
  const eventStore = yield* readVersion(path, versionFile).pipe(
    Effect.catchTag("PlatformError", (error) => Effect.fail(unusable(error)))
  )
  const recordEventStore = Effect.fnUntraced(function* (product: EventStoreProduct) {
    const text = `${JSON.stringify({ layout: layoutVersion, eventStore: product } satisfies typeof Version.Type)}\n`
    yield* fs.writeFileString(`${join(path, names.lock)}.version`, text)
    yield* fs.rename(`${join(path, names.lock)}.version`, versionFile)
  }, Effect.mapError(unusable))
  return { path, eventStore, recordEventStore }
})
