/** `dev` and `serve` as processes: other commands query beside them, and what keeps them from starting is reported. */
import { execFile } from "node:child_process"
import { createServer } from "node:net"
import { promisify } from "node:util"
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Schedule, Schema } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { jsonOf, printed, type Running, run, start } from "../support/chronicle.ts"
import { freshDataDir, preparedDataDir, processesOf } from "../support/devStacks.ts"
import { freePorts, ownPort } from "../support/ports.ts"
import { tellingThreads } from "../support/threadEntries.ts"

/** What the lines `export NAME=value` would set in a shell. */
const exported = ({ stdout }: Running): Record<string, string> =>
  Object.fromEntries([...stdout().matchAll(/^export (\w+)=(\S+)$/gm)].map(([, name, value]) => [name, value]))

const Ready = Schema.Struct({ ready: Schema.Boolean, reasons: Schema.Array(Schema.String) })

const get = (port: string | undefined, path: string) =>
  Effect.gen(function* () {
    const response = yield* HttpClient.get(`http://127.0.0.1:${port}${path}`)
    return { status: response.status, body: yield* response.json }
  }).pipe(Effect.provide(FetchHttpClient.layer))

/** Listens until the scope ends. */
const taken = Effect.fnUntraced(function* (port: number) {
  yield* Effect.acquireRelease(
    Effect.callback<() => void>((resume) => {
      const server = createServer().listen(port, "127.0.0.1", () =>
        resume(Effect.succeed(() => server.close()))
      )
    }),
    (close) => Effect.sync(close)
  )
})

layer(NodeServices.layer, { excludeTestServices: true })("a node in the foreground", (it) => {
  it.effect(
    "prints the variables that other processes need, and stops at SIGTERM",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* preparedDataDir
        const dev = yield* start(["dev", "--data", dataDir], {
          env: { ...(yield* freePorts), ...tellingThreads }
        })
        yield* printed(dev, /Ctrl-C ends it/)
        // Its thread is of the bundle too.
        const [thread = ""] = yield* Effect.sync(() => /^thread .*$/m.exec(dev.stderr()) ?? []).pipe(
          Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: ([line]) => line !== undefined })
        )
        assert.match(thread, /\/node_modules\/\.cache\/chronicle-ledger\/front-\w+\/readSideMain\.mjs$/)
        const env = exported(dev)
        assert.includeMembers(Object.keys(env), [
          "CHRONICLE_EVENT_STORE_URL",
          "CHRONICLE_READ_MODEL_URL",
          "CHRONICLE_NATS_URL"
        ])
        const verified = yield* run(["verify", "--json"], { env })
        assert.deepInclude(jsonOf(verified), { accounts: 0, ok: true })
        const nobody = yield* run(["balance", "nobody"], { env })
        assert.deepInclude(nobody, { code: 1, stderr: "chronicle: account nobody does not exist\n" })

        // The line for a shell that it prints, as a person would paste it; and the console.
        const [line = ""] = /^curl .*$/m.exec(dev.stdout()) ?? []
        const opened = yield* Effect.promise(() => promisify(execFile)("bash", ["-c", line]))
        assert.include(opened.stdout, '"readToken":"alice@1"')
        const [consoleUrl = ""] = /(?<=^Console: )\S+$/m.exec(dev.stdout()) ?? []
        const page = yield* Effect.promise(() => fetch(consoleUrl))
        assert.deepEqual([page.status, page.headers.get("content-type")], [200, "text/html; charset=utf-8"])

        const ports = yield* freePorts
        const served = { ...env, ...ports, CHRONICLE_NODE_NAME: "second" }
        const serve = yield* start(["serve"], { env: served })
        yield* printed(serve, /ready/)
        const commands = yield* get(ports.CHRONICLE_HTTP_PORT, "/ready/commands")
        assert.strictEqual(commands.status, 200)
        // The thread of the read side starts beside it.
        const ready = yield* get(ports.CHRONICLE_HTTP_PORT, "/ready").pipe(
          Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: ({ status }) => status === 200 })
        )
        assert.deepInclude(Schema.decodeUnknownSync(Ready)(ready.body), { ready: true, reasons: [] })
        const health = yield* get(ports.CHRONICLE_HTTP_PORT, "/health")
        assert.strictEqual(health.status, 200)
        assert.include(JSON.stringify(health.body), '"connected":true')

        // A third finds the port taken; the data directory is the first one's alone.
        const third = yield* run(["serve"], { env: served })
        assert.deepInclude(third, { code: 1, stdout: "" })
        assert.match(
          third.stderr,
          /cannot listen on port \d+ of 127\.0\.0\.1 .*set CHRONICLE_\w+_PORT to another/
        )
        const other = yield* run(["demo", "--data", dataDir])
        assert.strictEqual(other.code, 1)
        assert.match(other.stderr, /^chronicle: .* is in use by another process of the ledger: .*\n$/)

        yield* serve.signal("SIGTERM")
        const { code, stdout } = yield* serve.ended
        assert.deepEqual({ code, stdout }, { code: 0, stdout: "" })
        yield* dev.signal("SIGTERM")
        assert.strictEqual((yield* dev.ended).code, 0)
        assert.deepEqual(processesOf(dataDir), [])
      }),
    420_000
  )

  it.effect("does not start on a port in use, and leaves no service behind", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const port = yield* ownPort
      yield* taken(port)
      const env = { ...(yield* freePorts), CHRONICLE_HTTP_PORT: String(port) }
      const dev = yield* run(["dev", "--data", dataDir], { env })
      assert.strictEqual(dev.code, 1)
      assert.include(dev.stderr, `cannot listen on port ${port} of 127.0.0.1`)
      assert.include(dev.stderr, "set CHRONICLE_HTTP_PORT to another")
      assert.deepEqual(processesOf(dataDir), [])
    })
  )

  it.effect("refuses a data directory of a newer release without changing it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* freshDataDir
      yield* fs.makeDirectory(dataDir)
      yield* fs.writeFileString(`${dataDir}/version.json`, '{"layout":99}')
      for (const args of [["dev"], ["demo"], ["balance", "alice"]]) {
        const refused = yield* run([...args, "--data", dataDir])
        assert.strictEqual(refused.code, 1)
        assert.match(
          refused.stderr,
          /^chronicle: .* has layout 99, this release knows up to \d+: use a newer release/
        )
      }
      assert.strictEqual(yield* fs.readFileString(`${dataDir}/version.json`), '{"layout":99}')
    })
  )

  it.effect("serves without NATS, and logs the address that it tries", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const dev = yield* start(["dev", "--data", dataDir], { env: yield* freePorts })
      yield* printed(dev, /Ctrl-C ends it/)
      const env = { ...exported(dev), ...(yield* freePorts), CHRONICLE_NATS_URL: "nats://127.0.0.1:1" }
      const serve = yield* start(["serve"], { env })
      yield* printed(serve, /bus: no connection to 127\.0\.0\.1:1: /)
      yield* printed(serve, /ready/)
      const health = yield* get(env.CHRONICLE_HTTP_PORT, "/health")
      assert.include(JSON.stringify(health.body), '"connected":false')
      yield* serve.signal("SIGTERM")
      assert.strictEqual((yield* serve.ended).code, 0)
    })
  )
})
