/**
 * Finds a program on this machine, or says how to install it; nats-server is unpacked from Debian's package where possible.
 */
import { Context, Effect, FileSystem, Option, Path, Schedule } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { ProgramMissing } from "./DevStackErrors.ts"
import { makeDirectories } from "./Directories.ts"

type Needs = FileSystem.FileSystem | Path.Path | ChildProcessSpawner.ChildProcessSpawner

/** Where servers are often installed without these being on a user's PATH. */
const usualDirectories = ["/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/opt/homebrew/bin"]

const natsAdvice = `Install it with
  macOS   brew install nats-server
  Debian  sudo apt-get install nats-server
  others  the archive of your platform from https://github.com/nats-io/nats-server/releases, unpacked on the PATH
or run it in Docker (docker run -p 127.0.0.1:4222:4222 nats:2.12 -js) and use \`serve\` with CHRONICLE_NATS_URL.`

const isProgram = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.stat(file).pipe(
    Effect.map(({ mode, type }) => type === "File" && (mode & 0o111) !== 0),
    Effect.orElseSucceed(() => false)
  )
})

const findProgram = Effect.fnUntraced(function* (name: string) {
  const { join } = yield* Path.Path
  const onPath = (process.env.PATH ?? "").split(":").filter((directory) => directory !== "")
  const files = [...onPath, ...usualDirectories].map((directory) => join(directory, name))
  return yield* Effect.findFirst(files, isProgram)
})

/** The name of a program enters, where it was unpacked leaves; none where Debian's packages are not to be had. */
const unpackDebianPackage = Effect.fnUntraced(
  function* (name: string) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const home = process.env.XDG_CACHE_HOME ?? path.join(process.env.HOME ?? "/var/cache", ".cache")
    const cache = path.join(home, "chronicle-ledger", name)
    const file = path.join(cache, "usr", "sbin", name)
    if (yield* isProgram(file)) return Option.some(file)
    const [aptGet, dpkg] = yield* Effect.all([findProgram("apt-get"), findProgram("dpkg-deb")])
    if (Option.isNone(aptGet) || Option.isNone(dpkg)) return Option.none<string>()
    yield* Effect.logInfo(
      `${name} is not installed: fetching Debian's package of it into ${cache} (apt-get download; the system stays as it is)`
    )
    const run = (command: string, args: ReadonlyArray<string>, cwd: string) =>
      spawner.exitCode(ChildProcess.make(command, args, { cwd, stdout: "ignore", stderr: "ignore" })).pipe(
        Effect.map((code) => code === 0),
        Effect.timeoutOrElse({ duration: "2 minutes", orElse: () => Effect.succeed(false) })
      )
    yield* makeDirectories(cache)
    const work = yield* fs.makeTempDirectoryScoped({ directory: cache })
    const download = run(aptGet.value, ["download", name], work)
    // Fresh machines have no lists of packages yet, and only root may fetch them.
    const updated = Effect.suspend(() => run(aptGet.value, ["update", "-q"], work))
    const fetched = Effect.gen(function* () {
      return (yield* download) || (process.getuid?.() === 0 && (yield* updated) && (yield* download))
    })
    // A mirror that fails, or another program that holds the lists, is asked again.
    const got = yield* fetched.pipe(
      Effect.tap((isThere) => (isThere ? Effect.void : Effect.logWarning(`${name} could not be fetched`))),
      Effect.repeat({ schedule: Schedule.spaced("4 seconds"), times: 3, until: (isThere) => isThere })
    )
    const packages = (yield* fs.readDirectory(work)).filter((entry) => entry.endsWith(".deb"))
    if (!got || packages[0] === undefined) return Option.none<string>()
    const unpacked = path.join(work, "unpacked")
    yield* run(dpkg.value, ["-x", path.join(work, packages[0]), unpacked], work)
    // Renamed when complete, so that half a program is never taken for the whole.
    yield* Effect.ignore(fs.rename(path.join(unpacked, "usr"), path.join(cache, "usr")))
    return (yield* isProgram(file)) ? Option.some(file) : Option.none<string>()
  },
  Effect.scoped,
  Effect.orElseSucceed(() => Option.none<string>())
)

/** How programs are found; a reference, so that tests can say what this machine has. */
export const Programs = Context.Reference<{
  readonly find: (name: string) => Effect.Effect<Option.Option<string>, never, Needs>
  readonly fetch: (name: string) => Effect.Effect<Option.Option<string>, never, Needs>
}>("chronicle/infra/dev/Programs", {
  defaultValue: () => ({ find: findProgram, fetch: unpackDebianPackage })
})

export const findNatsServer = Effect.gen(function* () {
  const { fetch, find } = yield* Programs
  const found = yield* find("nats-server")
  const program = Option.isSome(found) ? found : yield* fetch("nats-server")
  if (Option.isNone(program)) {
    return yield* new ProgramMissing({ program: "nats-server", advice: natsAdvice })
  }
  return program.value
})

export const findCockroach = Effect.flatMap(Programs, ({ find }) => find("cockroach"))
