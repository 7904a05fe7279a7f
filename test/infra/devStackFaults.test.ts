/** A development stack that is killed, refused or broken says so, and none of its servers outlives it. */
import { createServer } from "node:net"
import { NodeServices } from "@effect/platform-node"
import { expect, layer } from "@effect/vitest"
import { Effect, FileSystem, Option } from "effect"
import { layoutVersion } from "../../src/infra/dev/DataDirectory.ts"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import {
  freshDataDir,
  guardsOf,
  nothingRunsOn,
  preparedDataDir,
  processesOf,
  query,
  stackInChild,
  withoutCockroach,
  withPrograms
} from "../support/devStacks.ts"

const refused = (dataDir: string, options = {}) =>
  Effect.flip(Effect.scoped(startDevStack({ dataDir, durable: false, ...options })))

/** A listener on 127.0.0.1, closed with the scope. */
const takenPort = Effect.acquireRelease(
  Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = address !== null && typeof address === "object" ? address.port : 0
      resume(Effect.succeed({ port, close: () => server.close() }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

layer(NodeServices.layer, { excludeTestServices: true })("development stack in trouble", (it) => {
  it.effect("ends every service when its process gets SIGTERM", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const child = yield* stackInChild(dataDir)
      expect(processesOf(dataDir).length).toBeGreaterThanOrEqual(4)
      yield* Effect.ignore(child.kill({ killSignal: "SIGTERM" }))
      expect(processesOf(dataDir)).toEqual([])
    })
  )

  it.effect("leaves no service alive when its process is killed with SIGKILL", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const child = yield* stackInChild(dataDir)
      yield* Effect.ignore(child.kill({ killSignal: "SIGKILL" }))
      yield* nothingRunsOn(dataDir)
    })
  )

  it.effect("starts at once on the directory of a process killed with SIGKILL, with its data", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const child = yield* stackInChild(dataDir)
      yield* Effect.ignore(child.kill({ killSignal: "SIGKILL" }))
      const stack = yield* startDevStack({ dataDir })
      expect(yield* query(stack.eventStoreUrl, "SELECT count(*)::text AS rows FROM kept")).toEqual([
        { rows: "1" }
      ])
    })
  )

  it.effect("ends the services that even their guard could not end, and starts with their data", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const child = yield* stackInChild(dataDir)
      const guards = guardsOf(dataDir)
      expect(guards.length).toBe(1)
      for (const pid of guards) process.kill(pid, "SIGKILL")
      yield* Effect.ignore(child.kill({ killSignal: "SIGKILL" }))
      const orphans = processesOf(dataDir)
      expect(orphans.length).toBeGreaterThanOrEqual(2)
      const stack = yield* startDevStack({ dataDir })
      expect(processesOf(dataDir).filter((pid) => orphans.includes(pid))).toEqual([])
      expect(yield* query(stack.eventStoreUrl, "SELECT count(*)::text AS rows FROM kept")).toEqual([
        { rows: "1" }
      ])
    })
  )

  it.effect("never signals a process that only has the id of an old one", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* preparedDataDir
      yield* Effect.scoped(startDevStack({ dataDir, durable: false }))
      // The process of this test stands for the stranger; ending it would end the test run.
      yield* fs.makeDirectory(`${dataDir}/run/old`, { recursive: true })
      yield* fs.writeFileString(`${dataDir}/run/old/nats.pid`, `${process.pid}\n`)
      yield* fs.writeFileString(`${dataDir}/postgres/data/postmaster.pid`, `${process.pid}\n${dataDir}\n`)
      const stack = yield* startDevStack({ dataDir, durable: false })
      expect(yield* query(stack.readModelUrl, "SELECT 1 AS one")).toEqual([{ one: 1 }])
      expect(yield* fs.exists(`${dataDir}/run/old`)).toBe(false)
    }).pipe(withoutCockroach)
  )

  it.effect("refuses the data directory of a newer release and leaves it as it is", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* freshDataDir
      yield* fs.makeDirectory(dataDir)
      const version = JSON.stringify({ layout: layoutVersion + 1, somethingNew: true })
      yield* fs.writeFileString(`${dataDir}/version.json`, version)
      const error = yield* refused(dataDir)
      expect(error).toMatchObject({ _tag: "DataDirectoryNewer", dataDir, found: layoutVersion + 1 })
      expect(error.message).toContain(dataDir)
      expect(yield* fs.readFileString(`${dataDir}/version.json`)).toBe(version)
      expect(yield* fs.readDirectory(dataDir)).not.toContain("postgres")
    })
  )

  it.effect("refuses a directory with files that are not the ledger's", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* freshDataDir
      yield* fs.makeDirectory(dataDir)
      yield* fs.writeFileString(`${dataDir}/thesis.txt`, "years of work")
      expect((yield* refused(dataDir))._tag).toBe("DataDirectoryUnusable")
      expect(yield* fs.readDirectory(dataDir)).toEqual(["thesis.txt"])
    })
  )

  it.effect("says how to get nats-server where there is none, and ends what it had started", () =>
    Effect.gen(function* () {
      const dataDir = yield* freshDataDir
      const error = yield* refused(dataDir)
      expect(error).toMatchObject({ _tag: "ProgramMissing", program: "nats-server" })
      for (const way of ["brew install nats-server", "apt-get install nats-server", "docker run"]) {
        expect(error.message).toContain(way)
      }
      expect(processesOf(dataDir)).toEqual([])
    }).pipe(withPrograms({ "nats-server": Option.none(), cockroach: Option.none() }))
  )

  it.effect("shows the log of a service that ends during the start, and ends the others", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* freshDataDir
      const broken = `${dataDir}-nats-server`
      const script =
        '#!/bin/sh\n[ "$1" = --version ] && echo "nats-server: v2.12.3" && exit\necho "disk on fire" >&2\nexit 3\n'
      yield* fs.writeFileString(broken, script, { mode: 0o755 })
      const error = yield* refused(dataDir).pipe(
        withPrograms({ "nats-server": Option.some(broken), cockroach: Option.none() })
      )
      expect(error).toMatchObject({ _tag: "ServiceFailed", service: "nats-server", log: "disk on fire" })
      expect(error.message).toContain("ended with exit code 3")
      expect(yield* fs.readFileString(`${dataDir}/nats/nats.conf`)).toContain('"sync_interval": "always"')
      expect(processesOf(dataDir)).toEqual([])
    })
  )

  it.effect("says which port is taken when one was asked for", () =>
    Effect.gen(function* () {
      const { port } = yield* takenPort
      const dataDir = yield* preparedDataDir
      expect(yield* refused(dataDir, { natsPort: port })).toMatchObject({
        _tag: "PortInUse",
        service: "nats-server",
        port
      })
      expect(yield* refused(dataDir, { postgresPort: port })).toMatchObject({
        _tag: "PortInUse",
        service: "PostgreSQL",
        port
      })
      expect(processesOf(dataDir)).toEqual([])
    }).pipe(withoutCockroach)
  )

  it.effect("does not start without the CockroachDB that holds the events", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* freshDataDir
      yield* fs.makeDirectory(dataDir)
      yield* fs.writeFileString(
        `${dataDir}/version.json`,
        JSON.stringify({ layout: layoutVersion, eventStore: "CockroachDB" })
      )
      expect(yield* refused(dataDir)).toMatchObject({ _tag: "ProgramMissing", program: "cockroach" })
    }).pipe(withoutCockroach)
  )
})
