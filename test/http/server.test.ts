/** The HTTP server over real sockets: slow and silent peers, streams that are resumed, the end of a node, and where it may listen. */
import { readFileSync } from "node:fs"
import { get } from "node:https"
import { connect as connectSocket } from "node:net"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, layer, it as plain } from "@effect/vitest"
import {
  Clock,
  ConfigProvider,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Redacted,
  References,
  Scope,
  Stream
} from "effect"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { Unavailable } from "../../src/domain/Errors.ts"
import { readHttpSettings } from "../../src/http/server/HttpSettings.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerRpcServer from "../../src/rpc/server/LedgerRpcServer.ts"
import { defaultRpcLimits, RpcConfig } from "../../src/rpc/server/RpcLimits.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { type HttpOptions, openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"
import { settable } from "../support/settableClock.ts"
import { until } from "../support/waiting.ts"

/** A server at a port of its own; `stop` ends it as the end of its process would. */
const open = Effect.fnUntraced(function* (options: HttpOptions = {}) {
  const port = yield* ownPort
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Layer.buildWithScope(Layer.fresh(openHttpLayer(port, options)), scope)
  return { port, url: `http://127.0.0.1:${port}`, stop: Scope.close(scope, Exit.void) }
})

/** Sends bytes, and answers what came back once the server has closed the connection. */
const sendRaw = (port: number, bytes: string) =>
  Effect.callback<string>((resume) => {
    let received = ""
    const socket = connectSocket(port, "127.0.0.1", () => socket.write(bytes))
    socket.on("data", (data) => {
      received += String(data)
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => socket.destroy())
  })

/** Sends each once the one before it is answered, and tells all that came back until the server closed the connection. */
const sendInTurn = (port: number, requests: ReadonlyArray<string>) =>
  Effect.callback<string>((resume) => {
    let received = ""
    let sent = 0
    const sendNext = (): void => {
      const next = requests[sent++]
      if (next !== undefined) socket.write(next)
    }
    const socket = connectSocket(port, "127.0.0.1", sendNext)
    socket.on("data", (data) => {
      received += String(data)
      if (statusesOf(received).length === sent) sendNext()
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => socket.destroy())
  })

const statusesOf = (text: string) =>
  [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))

const getStatus = (url: string) => Effect.promise(async () => (await fetch(url)).status)

let made = 0
const funded = Effect.fnUntraced(function* (deposits: number) {
  const ledger = yield* Ledger
  const account = `s-${made++}`
  yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
  for (let left = deposits; left > 0; left -= 5_000)
    yield* ledger.dispatchMany(
      Array.from({ length: Math.min(left, 5_000) }, () => ({
        _tag: "Deposit" as const,
        account,
        amount: 1n,
        description: "x".repeat(200)
      }))
    )
  return account
})

/** Server-sent events with an id, as they come, until the stream ends. */
const events = (url: string, headers: Readonly<Record<string, string>> = {}) =>
  Stream.unwrap(
    Effect.promise(async () => {
      const response = await fetch(url, { headers: { accept: "text/event-stream", ...headers } })
      assert.strictEqual(response.status, 200)
      const { body } = response
      assert.isNotNull(body)
      return Stream.fromReadableStream({ evaluate: () => body ?? new ReadableStream(), onError: String })
    })
  ).pipe(
    Stream.decodeText(),
    Stream.mapAccum(
      () => "",
      (before, text) => {
        const blocks = `${before}${text}`.split("\n\n")
        return [blocks.at(-1) ?? "", blocks.slice(0, -1)] as const
      }
    ),
    Stream.filter((block) => block.startsWith("id: ")),
    Stream.map((block) => {
      const [id = "", data = ""] = block.split("\n")
      return { id: id.slice(4), data: JSON.parse(data.slice(6)) as { readonly version: number } } // of an event
    })
  )

layer(memoryLedger, { excludeTestServices: true })("an HTTP server", (it) => {
  it.effect("closes connections that send a request slowly or not at all, and goes on serving others", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port, url } = yield* open({ limits: { headersMs: 1_500, requestMs: 2_000 } })
        const slow = [
          "GET /v1/stats HTTP/1.1\r\nhost: 127.0.0.1\r\n",
          "POST /v1/transfers HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
          'POST /v1/batch HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"a":'
        ]
        const [answers, statuses] = yield* Effect.all(
          [
            Effect.forEach(slow, (bytes) => sendRaw(port, bytes), { concurrency: "unbounded" }),
            Effect.forEach(Array.from({ length: 20 }), () => getStatus(`${url}/v1/stats`))
          ],
          { concurrency: 2 }
        )
        for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 (400|408)/)
        assert.deepEqual(new Set(statuses), new Set([200]))
      })
    )
  )

  it.effect(
    "carries out so many requests of a connection at once that were sent without a wait for their answers",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          const account = yield* funded(0)
          const gate = yield* Deferred.make<void>()
          let asked = 0
          const ledger: Ledger["Service"] = {
            ...inside,
            strongBalance: (id) => {
              asked++
              return Effect.andThen(Deferred.await(gate), inside.strongBalance(id))
            }
          }
          const { port, url } = yield* open({ ledger, limits: { inFlightPerConnectionMax: 3 } })
          const request = (last: boolean) =>
            `GET /v1/accounts/${account}?consistency=strong HTTP/1.1\r\nhost: 127.0.0.1\r\n${last ? "connection: close\r\n" : ""}\r\n`
          const answers = yield* Effect.forkChild(
            sendRaw(port, [false, false, false, false, true].map(request).join("")),
            { startImmediately: true }
          )
          yield* until("as many as may be are asked", () => asked === 3)
          yield* Deferred.succeed(gate, undefined)
          const received = yield* Fiber.join(answers)
          assert.deepEqual(statusesOf(received), [200, 200, 200, 429, 429])
          assert.include(received, "this connection is full")
          assert.strictEqual(asked, 3)
          const metrics = yield* Effect.promise(async () => (await fetch(`${url}/metrics`)).text())
          assert.match(metrics, /^chronicle_http_refused_total\{bound="requests"\} 2$/m)
          assert.match(metrics, /^chronicle_http_refused_total\{bound="bodies"\} 0$/m)
        })
      )
  )

  it.effect(
    "asks for a WebSocket at /rpc where the connection is not taken off HTTP, and logs no error",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const lines: Array<string> = []
          const logger = Logger.make(({ message }) => {
            lines.push(String(message))
          })
          const port = yield* ownPort
          const options = { tokens: [token("both", ["read", "command"])] }
          const { layerWebSocket } = LedgerRpcServer
          yield* Layer.build(
            Layer.fresh(openHttpLayer(port, options, layerWebSocket)).pipe(
              Layer.provide(Layer.succeed(RpcConfig, defaultRpcLimits))
            )
          ).pipe(
            Effect.provideService(Logger.CurrentLoggers, new Set([logger])),
            Effect.provideService(References.MinimumLogLevel, "Info")
          )
          const key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
          for (const line of ["GET /rpc", "GET //rpc", "GET /%72pc", "GET /rpc;x", "HEAD /rpc"])
            for (const connection of ["close", "upgrade, close"]) {
              // Of a right handshake at /rpc nothing ends the connection.
              if (line === "GET /rpc" && connection !== "close") continue
              const head = `host: 127.0.0.1\r\nconnection: ${connection}\r\nupgrade: websocket\r\n${key}`
              const answer = yield* sendRaw(port, `${line} HTTP/1.1\r\n${head}\r\n`)
              assert.match(answer, /^HTTP\/1\.1 426 /, `${line}, ${connection}`)
            }
          assert.deepEqual(lines, [])
        })
      )
  )

  it.effect(
    "passes over the offer of another protocol, and bounds the time of a request that makes one",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { port } = yield* open({ limits: { headersMs: 1_500, requestMs: 2_000 } })
          const body = '{"account":"upgraded","asset":"USD/2","owner":"Ann"}'
          const head = (method: string, path: string, further: string) =>
            `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${further}`
          const offer = (protocol: string) => `connection: upgrade\r\nupgrade: ${protocol}\r\n`
          const json = "content-type: application/json\r\n"
          const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
          for (const protocol of ["h2c", "websocket", "any"]) {
            const offering = [
              head(
                "POST",
                "/v1/accounts",
                `${offer(protocol)}${json}transfer-encoding: chunked\r\n\r\n${chunks}`
              ),
              head(
                "POST",
                "/v1/accounts",
                `${offer(protocol)}${json}content-length: ${body.length}\r\n\r\n${body}`
              ),
              head("GET", "/v1/stats", `${offer(protocol)}\r\n`)
            ]
            // The connection goes on after each of them.
            const last = head("GET", "/v1/stats", "connection: close\r\n\r\n")
            const got = statusesOf(yield* sendInTurn(port, [...offering, last]))
            assert.deepEqual(
              got.map((status) => (status === 201 || status === 409 ? "done" : status)),
              ["done", "done", 200, 200],
              protocol
            )
            const unsent = head(
              "POST",
              "/v1/accounts",
              `${offer(protocol)}${json}content-length: 100\r\n\r\n{`
            )
            assert.deepEqual(statusesOf(yield* sendRaw(port, unsent)), [408], protocol)
          }
        })
      )
  )

  it.effect("serves clients of HTTP/1.0, which name no host", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port } = yield* open()
        for (const host of ["", "host: 127.0.0.1\r\n"]) {
          const answer = yield* sendRaw(port, `GET /v1/stats HTTP/1.0\r\n${host}\r\n`)
          assert.match(answer, /^HTTP\/1\.1 200[\s\S]*\r\nconnection: close\r\n[\s\S]*"committed"/i)
        }
        const other = yield* sendRaw(port, "GET /v1/stats HTTP/1.0\r\nhost: evil.example\r\n\r\n")
        assert.match(other, /^HTTP\/1\.1 403/)
      })
    )
  )

  it.effect("answers bytes that are no request with 400, and headers above the bound with 431", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port, url } = yield* open({ limits: { headerBytesMax: 2_000 } })
        const garbage = [
          "\u0000\u0001\u0002\r\n\r\n",
          "GET\r\n\r\n",
          "x".repeat(3_000),
          "GET / HTTP/9.9\r\n\r\n"
        ]
        const answers = yield* Effect.forEach(garbage, (bytes) => sendRaw(port, bytes), {
          concurrency: "unbounded"
        })
        for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 4\d\d/)
        const large = yield* sendRaw(
          port,
          `GET /v1/stats HTTP/1.1\r\nhost: 127.0.0.1\r\nx-large: ${"y".repeat(3_000)}\r\n\r\n`
        )
        assert.match(large, /^HTTP\/1\.1 431/)
        assert.strictEqual(yield* getStatus(`${url}/v1/stats`), 200)
      })
    )
  )

  it.effect("has no more connections of a peer than the limit, and takes new ones once some end", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port, url } = yield* open({ limits: { connectionsPerPeerMax: 3 } })
        const sockets = yield* Effect.forEach(Array.from({ length: 3 }), () =>
          Effect.callback<ReturnType<typeof connectSocket>>((resume) => {
            const socket = connectSocket(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
          })
        )
        assert.strictEqual(yield* sendRaw(port, "GET /v1/stats HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"), "")
        for (const socket of sockets) socket.destroy()
        const again = yield* Effect.eventually(Effect.tryPromise(() => fetch(`${url}/v1/stats`)))
        assert.strictEqual(again.status, 200)
      })
    )
  )

  it.effect(
    "resumes the events of an account after the last that was received, without loss or repetition",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* open()
          const account = yield* funded(60)
          const versions: Array<number> = []
          let last: string | undefined
          while (versions.length < 61) {
            const headers: Record<string, string> = last === undefined ? {} : { "last-event-id": last }
            const some = yield* Stream.runCollect(
              Stream.take(
                events(`${url}/v1/accounts/${account}/events`, headers),
                Math.min(13, 61 - versions.length)
              )
            )
            for (const { id, data } of some) {
              last = id
              versions.push(data.version)
            }
          }
          assert.deepEqual(
            versions,
            Array.from({ length: 61 }, (_, n) => n + 1)
          )
        })
      )
  )

  it.effect("goes on with a stream as events happen, and with the feed after a cursor", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* open({ limits: { followMs: 10 } })
        const ledger = yield* Ledger
        const account = yield* funded(1)
        const feed = `${url}/v1/feed?accountPrefix=${account}`
        const [first] = yield* Stream.runCollect(Stream.take(events(feed), 1))
        const followed = yield* Effect.forkChild(
          Stream.runCollect(Stream.take(events(feed, { "last-event-id": first?.id ?? "" }), 2))
        )
        yield* ledger.dispatch({ _tag: "Deposit", account, amount: 5n })
        const value = yield* Fiber.join(followed)
        assert.deepEqual(
          value.map(({ data }) => data.version),
          [2, 3]
        )
      })
    )
  )

  it.effect("brings a reader that stops for a while all that came meanwhile, in order, once it goes on", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port } = yield* open({ limits: { followMs: 10 } })
        const ledger = yield* Ledger
        const account = yield* funded(1)
        const deposits = 15_000
        const socket = connectSocket(port, "127.0.0.1")
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        let received = ""
        const untilVersion = (version: number) =>
          Effect.callback<void>((resume) => {
            const look = (data: Buffer): void => {
              received += String(data)
              // The last id stands near the end of what came.
              if (!received.slice(-2_000 - data.length).includes(`id: ${version}\n`)) return
              socket.off("data", look)
              resume(Effect.void)
            }
            socket.on("data", look)
          })
        socket.write(
          `GET /v1/accounts/${account}/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n`
        )
        yield* untilVersion(2)
        // Alone in a chunk, once the stream has nothing left that waits.
        const live = yield* Effect.forkChild(untilVersion(3), { startImmediately: true })
        yield* ledger.dispatch({ _tag: "Deposit", account, amount: 1n })
        yield* Fiber.join(live)
        socket.pause()
        for (let sent = 0; sent < deposits; sent += 5_000)
          yield* ledger.dispatchMany(
            Array.from({ length: 5_000 }, () => ({
              _tag: "Deposit" as const,
              account,
              amount: 1n,
              description: "x".repeat(200)
            }))
          )
        const all = yield* Effect.forkChild(untilVersion(deposits + 3), { startImmediately: true })
        socket.resume()
        yield* Fiber.join(all)
        const ids = [...received.matchAll(/id: (\d+)\n/g)].map(([, id]) => Number(id))
        assert.deepEqual(
          ids,
          Array.from({ length: deposits + 3 }, (_, index) => index + 1)
        )
      })
    )
  )

  it.effect.each([0, 300])(
    "begins the feed at the end of the log, and goes on there where it is lost before its first event; the end told in %s ms",
    (endMs) =>
      Effect.scoped(
        Effect.gen(function* () {
          const subscriptions = yield* Subscriptions
          const slow = { ...subscriptions, end: Effect.delay(subscriptions.end, endMs) }
          const { url } = yield* Effect.provideService(open(), Subscriptions, slow)
          const ledger = yield* Ledger
          const account = yield* funded(1)
          const feed = `${url}/v1/feed?accountPrefix=${account}&after=now`
          const head = yield* Effect.promise(async () => {
            const controller = new AbortController()
            const response = await fetch(feed, { signal: controller.signal })
            const reader = response.body?.getReader()
            const { value } = (await reader?.read()) ?? {}
            await Effect.runPromise(ledger.dispatch({ _tag: "Deposit", account, amount: 5n }))
            controller.abort()
            return new TextDecoder().decode(value)
          })
          const [, id = ""] = /^retry: \d+\nid: (\S+)\n\n/.exec(head) ?? []
          assert.notStrictEqual(id, "", head)
          // As a browser comes back: by the same URL.
          const [event] = yield* Stream.runCollect(Stream.take(events(feed, { "last-event-id": id }), 1))
          assert.strictEqual(event?.data.version, 3)
        })
      )
  )

  it.effect("refuses a feed from the end of the log where that cannot be read, or may not be", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const subscriptions = yield* Subscriptions
        let reads = 0
        const end = Effect.suspend(() => {
          reads++
          return Effect.fail(new Unavailable({ what: "the log", reason: "it is away" }))
        })
        const tokens = [token("shop", ["read"], ["shop:"])]
        const limits = { streamsPerCallerMax: 1 }
        const { url } = yield* Effect.provideService(open({ limits, tokens }), Subscriptions, {
          ...subscriptions,
          end
        })
        const headers = { authorization: "Bearer secret-shop" }
        const statusAt = (path: string) =>
          Effect.promise(async () => (await fetch(`${url}${path}`, { headers })).status)
        assert.strictEqual(yield* statusAt("/v1/feed?after=now&accountPrefix=other:"), 403)
        assert.strictEqual(reads, 0)
        assert.strictEqual(yield* statusAt("/v1/feed?after=now&accountPrefix=shop:"), 503)
        assert.strictEqual(reads, 1)
        // For one that may have no stream more the log is not looked at.
        const { body } = yield* Effect.promise(() => fetch(`${url}/v1/feed?accountPrefix=shop:`, { headers }))
        assert.strictEqual(yield* statusAt("/v1/feed?after=now&accountPrefix=shop:"), 429)
        assert.strictEqual(reads, 1)
        yield* Effect.promise(async () => body?.cancel())
      })
    )
  )

  it.effect("sends heartbeats where nothing happens", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port } = yield* open({ limits: { heartbeatMs: 20 } })
        const account = yield* funded(0)
        const text = yield* Effect.callback<string>((resume) => {
          let received = ""
          const socket = connectSocket(port, "127.0.0.1", () =>
            socket.write(
              `GET /v1/accounts/${account}/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n`
            )
          )
          socket.on("data", (data) => {
            received += String(data)
            if (received.split(": nothing new").length < 4) return
            socket.destroy()
            resume(Effect.succeed(received))
          })
        })
        assert.include(text, "id: 1\n")
      })
    )
  )

  it.effect(
    "ends a reader that takes nothing, however the clock is set, which can go on after its last event",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const limits = { stuckMs: 2_000, heartbeatMs: 100, streamsPerCallerMax: 1 }
          const { clock, setBack } = settable(yield* Clock.Clock)
          const { port, url } = yield* Effect.provideService(open({ limits }), Clock.Clock, clock)
          const account = yield* funded(15_000)
          const path = `/v1/accounts/${account}/events`
          const socket = connectSocket(port, "127.0.0.1")
          yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
          socket.pause().write(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n`)
          const statusOfAnother = Effect.promise(async () => {
            const controller = new AbortController()
            const headers = { accept: "text/event-stream" }
            const { status } = await fetch(`${url}${path}`, { headers, signal: controller.signal })
            controller.abort()
            return status
          })
          // One stream is all that this caller may have: another is refused until the first is ended.
          yield* Effect.repeat(statusOfAnother, { until: (status) => status === 429 })
          setBack(3_600_000)
          const ledger = yield* Ledger
          yield* ledger.dispatch({ _tag: "Deposit", account, amount: 1n })
          yield* Effect.repeat(statusOfAnother, { until: (status) => status === 200 })
          const received = yield* Effect.callback<string>((resume) => {
            let text = ""
            socket.on("data", (data) => {
              text += String(data)
            })
            socket.on("error", () => {})
            socket.on("close", () => resume(Effect.succeed(text)))
            socket.resume()
          })
          const ids = [...received.matchAll(/^id: (\d+)\ndata: .*\n$/gm)].map(([, id]) => Number(id))
          assert.isBelow(ids.length, 15_002)
          const last = ids.at(-1) ?? 0
          const next = yield* Stream.runCollect(
            Stream.take(events(`${url}${path}`, { "last-event-id": String(last) }), 3)
          )
          assert.deepEqual(
            next.map(({ data }) => data.version),
            [last + 1, last + 2, last + 3]
          )
        })
      )
  )

  it.effect("at its end ends its streams, answers what is under way and refuses what comes then", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ledger = yield* Ledger
        const account = yield* funded(1)
        const entered = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const slow = {
          ...ledger,
          dispatch: (command: Parameters<typeof ledger.dispatch>[0]) =>
            Deferred.succeed(entered, undefined).pipe(
              Effect.andThen(Deferred.await(release)),
              Effect.andThen(ledger.dispatch(command))
            )
        }
        // Its end waits for answers, and for no connection that a client would keep open.
        const { url, stop } = yield* open({ ledger: slow, limits: { drainMs: 600_000, idleMs: 600_000 } })
        const reading = yield* Deferred.make<void>()
        const stream = yield* events(`${url}/v1/feed`).pipe(
          Stream.runForEach(() => Deferred.succeed(reading, undefined)),
          Effect.forkChild
        )
        yield* Deferred.await(reading)
        const command = yield* Effect.forkChild(
          Effect.promise(async () => {
            const response = await fetch(`${url}/v1/accounts/${account}/deposits`, {
              method: "POST",
              headers: { "content-type": "application/json" },
              body: JSON.stringify({ amount: "1" })
            })
            return [response.status, response.headers.get("connection")]
          })
        )
        yield* Deferred.await(entered)
        const stopped = yield* Effect.forkChild(stop)
        yield* Fiber.join(stream)
        yield* Deferred.succeed(release, undefined)
        assert.deepEqual(yield* Fiber.join(command), [201, "close"])
        yield* Fiber.join(stopped)
        assert.strictEqual((yield* Effect.exit(Effect.tryPromise(() => fetch(url))))._tag, "Failure")
      })
    )
  )

  it.effect(
    "at its end answers all that a connection has sent, and says with the last answer that it is that",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const ledger = yield* Ledger
          const account = yield* funded(1)
          const bothEntered = yield* Deferred.make<void>()
          const release = yield* Deferred.make<void>()
          let entered = 0
          const slow = {
            ...ledger,
            dispatch: (command: Parameters<typeof ledger.dispatch>[0]) =>
              Effect.sync(() => ++entered).pipe(
                Effect.tap((count) => (count === 2 ? Deferred.succeed(bothEntered, undefined) : Effect.void)),
                Effect.andThen(Deferred.await(release)),
                Effect.andThen(ledger.dispatch(command))
              )
          }
          const { port, stop } = yield* open({ ledger: slow, limits: { drainMs: 600_000, idleMs: 600_000 } })
          const deposit = `POST /v1/accounts/${account}/deposits HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"amount":"1"}`
          const answered = yield* Effect.forkChild(sendRaw(port, deposit + deposit))
          yield* Deferred.await(bothEntered)
          const stopped = yield* Effect.forkChild(stop)
          // No connection is taken any more once it ends.
          yield* Effect.repeat(
            Effect.exit(Effect.tryPromise(() => fetch(`http://127.0.0.1:${port}/health`))),
            {
              until: Exit.isFailure
            }
          )
          yield* Deferred.succeed(release, undefined)
          const heads = (yield* Fiber.join(answered)).split("HTTP/1.1 ").slice(1)
          assert.deepStrictEqual(
            heads.map((head) => [head.slice(0, 3), /^connection: close/im.test(head)]),
            [
              ["201", false],
              ["201", true]
            ]
          )
          yield* Fiber.join(stopped)
        })
      )
  )

  it.effect("may be reached over TLS", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const tls = { cert: certificate("server.pem"), key: Redacted.make(certificate("server.key")) }
        const { port } = yield* open({ tls, tokens: [token("reader", ["read"])] })
        const status = yield* Effect.callback<number | undefined>((resume) => {
          const options = {
            host: "127.0.0.1",
            port,
            path: "/v1/stats",
            ca: certificate("ledger-ca.pem"),
            servername: "localhost",
            headers: { authorization: "Bearer secret-reader" }
          }
          get(options, ({ statusCode }) => resume(Effect.succeed(statusCode)))
        })
        assert.strictEqual(status, 200)
      })
    )
  )
})

const certificate = (name: string) => readFileSync(`test/rpc/certificates/${name}`, "utf8")

describe("where HTTP listens", () => {
  const read = (variables: Readonly<Record<string, string>>) =>
    readHttpSettings.pipe(
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables)),
      Effect.provide(NodeServices.layer)
    )

  plain("is loopback unless TLS and tokens are set", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        assert.strictEqual((yield* read({})).host, "127.0.0.1")
        const refused = yield* Effect.flip(read({ CHRONICLE_HTTP_HOST: "0.0.0.0" }))
        assert.include(refused.message, "without TLS")
        assert.include(refused.message, "and tokens")
      })
    )
  )
})
