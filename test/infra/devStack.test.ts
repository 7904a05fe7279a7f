/** What the development stack promises about its data directory and its servers, on real servers. */
import { NodeServices } from "@effect/platform-node"
import { expect, layer } from "@effect/vitest"
import { Effect, Exit, FileSystem, Redacted } from "effect"
import { connect } from "nats"
import { layoutVersion } from "../../src/infra/dev/DataDirectory.ts"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import { freshDataDir, preparedDataDir, processesOf, query, withoutCockroach } from "../support/devStacks.ts"

const withNats = <A>(url: string, use: (client: Awaited<ReturnType<typeof connect>>) => Promise<A>) =>
  Effect.acquireUseRelease(
    Effect.promise(() => {
      const { host, username, password } = new URL(url)
      return connect({ servers: host, user: username, pass: password })
    }),
    (client) => Effect.promise(() => use(client)),
    (client) => Effect.promise(() => client.close())
  )

const streamsOf = (url: string) =>
  withNats(url, async (client) => {
    const streams = await (await client.jetstreamManager()).streams.list().next()
    return streams.map(({ config }) => config.name)
  })

layer(NodeServices.layer, { excludeTestServices: true })("development stack", (it) => {
  it.effect("starts three services that answer, and leaves no process behind", () =>
    Effect.gen(function* () {
      const dataDir = yield* freshDataDir
      yield* Effect.gen(function* () {
        const stack = yield* startDevStack({ dataDir })
        expect(stack.dataDir).toBe(dataDir)
        expect(stack.eventStore).toBe("PostgreSQL")
        expect(yield* query(stack.eventStoreUrl, "SHOW fsync")).toEqual([{ fsync: "on" }])
        expect(yield* query(stack.readModelUrl, "SELECT current_database() AS name")).toEqual([
          { name: "chronicle_read_model" }
        ])
        expect(yield* streamsOf(stack.natsUrl)).toEqual([])
        expect(processesOf(dataDir).length).toBeGreaterThanOrEqual(3)
      }).pipe(Effect.scoped)
      expect(processesOf(dataDir)).toEqual([])
    }).pipe(withoutCockroach)
  )

  it.effect("keeps its data from one start to the next", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      yield* startDevStack({ dataDir, durable: false }).pipe(
        Effect.flatMap(({ readModelUrl }) => query(readModelUrl, "CREATE TABLE kept AS SELECT 42 AS answer")),
        Effect.scoped
      )
      const rows = yield* startDevStack({ dataDir, durable: false }).pipe(
        Effect.flatMap(({ readModelUrl }) => query(readModelUrl, "SELECT answer FROM kept")),
        Effect.scoped
      )
      expect(rows).toEqual([{ answer: 42 }])
    }).pipe(withoutCockroach)
  )

  it.effect("forgets everything when asked for a fresh start, even which database held the events", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* preparedDataDir
      yield* startDevStack({ dataDir, durable: false }).pipe(
        Effect.flatMap(({ readModelUrl }) => query(readModelUrl, "CREATE TABLE kept (id INT)")),
        Effect.scoped
      )
      yield* fs.writeFileString(
        `${dataDir}/version.json`,
        JSON.stringify({ layout: layoutVersion, eventStore: "CockroachDB" })
      )
      const stack = yield* startDevStack({ dataDir, durable: false, fresh: true })
      expect(stack.eventStore).toBe("PostgreSQL")
      expect(yield* query(stack.readModelUrl, "SELECT to_regclass('kept') AS kept")).toEqual([{ kept: null }])
    }).pipe(withoutCockroach)
  )

  it.effect("asks PostgreSQL's users for the password", () =>
    Effect.gen(function* () {
      const { readModelUrl } = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
      const wrong = new URL(Redacted.value(readModelUrl))
      wrong.password = "wrong"
      const exit = yield* Effect.exit(query(Redacted.make(wrong.toString()), "SELECT 1"))
      expect(Exit.isFailure(exit)).toBe(true)
    }).pipe(withoutCockroach)
  )

  it.effect("refuses a connection to JetStream without the password", () =>
    Effect.gen(function* () {
      const { natsUrl } = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
      const { host, password } = new URL(natsUrl)
      expect(password).not.toBe("")
      for (const credentials of [{}, { user: "chronicle", pass: "wrong" }]) {
        const refused = yield* Effect.promise(() =>
          connect({ servers: host, reconnect: false, ...credentials }).then(
            () => "let in",
            (error: unknown) => String(error)
          )
        )
        expect(refused).toContain("Authorization Violation")
      }
    }).pipe(withoutCockroach)
  )

  it.effect("refuses a data directory that another run holds, and leaves that run alone", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const stack = yield* startDevStack({ dataDir, durable: false })
      const error = yield* Effect.flip(Effect.scoped(startDevStack({ dataDir, durable: false })))
      expect(error._tag).toBe("DataDirectoryInUse")
      expect(error.message).toContain(dataDir)
      expect(yield* query(stack.readModelUrl, "SELECT 1 AS one")).toEqual([{ one: 1 }])
    }).pipe(withoutCockroach)
  )

  it.effect("keeps the URL of JetStream over a kill, a start and a loss of its streams", () =>
    Effect.gen(function* () {
      const { nats, natsUrl } = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
      yield* withNats(natsUrl, async (client) => {
        await (await client.jetstreamManager()).streams.add({ name: "kept", subjects: ["kept"] })
      })
      yield* nats.kill
      expect(yield* nats.isRunning).toBe(false)
      yield* nats.start
      yield* nats.start
      expect(yield* streamsOf(natsUrl)).toEqual(["kept"])
      yield* nats.deleteJetStream
      expect(yield* nats.isRunning).toBe(false)
      yield* nats.start
      expect(yield* streamsOf(natsUrl)).toEqual([])
    }).pipe(withoutCockroach)
  )
})
