/** Data directories, stacks and their rows for tests of the development stack. */
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { PgClient } from "@effect/sql-pg"
import { inject } from "@effect/vitest"
import { Effect, FileSystem, Option, type Redacted, Schedule } from "effect"
import { ChildProcess } from "effect/process"
import { Reactivity } from "effect/reactivity"
import { layoutVersion } from "../../src/infra/dev/DataDirectory.ts"
import { findCockroach, Programs } from "../../src/infra/dev/Programs.ts"
import { copyPostgresFiles } from "./postgresFiles.ts"
import { until } from "./waiting.ts"

/** A data directory that does not exist yet, removed with the scope. */
export const freshDataDir = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const parent = yield* fs.realPath(yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-stack-" }))
  return `${parent}/data`
})

/** The same with PostgreSQL's files in it, as a first start leaves them: for tests that are of something else than a first start. */
export const preparedDataDir = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const dataDir = yield* freshDataDir
  yield* fs.makeDirectory(dataDir, { mode: 0o711 })
  const eventStore = Option.isSome(yield* findCockroach) ? "CockroachDB" : "PostgreSQL"
  yield* fs.writeFileString(`${dataDir}/version.json`, JSON.stringify({ layout: layoutVersion, eventStore }))
  yield* copyPostgresFiles(inject("postgresFiles"), `${dataDir}/postgres`)
  return dataDir
})

/** Each process id with its command line. */
const processes = (): ReadonlyArray<readonly [pid: number, words: string]> => {
  if (!existsSync("/proc/self/cmdline")) {
    const lines = execFileSync("ps", ["-ww", "-ax", "-o", "pid=,command="], { encoding: "utf8" }).split("\n")
    return lines.map((line) => [Number.parseInt(line, 10), line])
  }
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => {
      try {
        return [Number(entry), readFileSync(`/proc/${entry}/cmdline`, "utf8")]
      } catch {
        // It ended while we looked.
        return [Number(entry), ""]
      }
    })
}

/** The process ids whose command line names the directory or a path below it. */
export const processesOf = (dataDir: string): ReadonlyArray<number> =>
  processes()
    .filter(([pid, words]) => pid !== process.pid && words.includes(dataDir))
    .map(([pid]) => pid)

/** The guard of the directory's run: the one that gets the directory of process ids and no program. */
export const guardsOf = (dataDir: string): ReadonlyArray<number> =>
  processes()
    .filter(([, words]) => words.includes(`${dataDir}/run/`) && words.includes("while read"))
    .map(([pid]) => pid)

/** This machine, with other programs in place of some of its own; those are not fetched either. */
export const withPrograms = (programs: Record<string, Option.Option<string>>) =>
  Effect.updateService(Programs, (real) => ({
    find: (name) => (name in programs ? Effect.succeed(programs[name] ?? Option.none()) : real.find(name)),
    fetch: (name) => (name in programs ? Effect.succeedNone : real.fetch(name))
  }))

/** Tests run the same with and without a CockroachDB on the PATH. */
export const withoutCockroach = withPrograms({ cockroach: Option.none() })

export const nothingRunsOn = (dataDir: string) =>
  until(`nothing runs on ${dataDir}`, () => processesOf(dataDir).length === 0)

/** One statement on a connection of its own. */
export const query = (url: Redacted.Redacted, text: string) =>
  PgClient.makeClient({ url }).pipe(
    Effect.flatMap((sql) => sql.unsafe<Record<string, unknown>>(text)),
    Effect.scoped,
    Effect.provide(Reactivity.layer)
  )

/** Another process that runs a stack on the directory, and writes the row `kept` once it is up. */
export const stackInChild = Effect.fnUntraced(function* (dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  const ready = `${dataDir}.ready`
  yield* fs.remove(ready, { force: true })
  const child = yield* ChildProcess.make(
    process.execPath,
    [`${import.meta.dirname}/devStackMain.ts`, dataDir, ready],
    { stdin: "ignore", stdout: "ignore", stderr: "inherit", forceKillAfter: "60 seconds" }
  )
  yield* fs
    .exists(ready)
    .pipe(
      Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (exists) => exists }),
      Effect.raceFirst(Effect.andThen(child.exitCode, Effect.die("the child ended before its stack was up"))),
      Effect.timeout("120 seconds")
    )
  return child
})
