/** Clients that go on sending while they are refused: each still reads its answer, and none is waited for without end. */
import { readFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { type HttpOptions, openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"

const open = Effect.fnUntraced(function* (options: HttpOptions) {
  const port = yield* ownPort
  yield* Layer.build(Layer.fresh(openHttpLayer(port, options)))
  return port
})

/**
 * Sends `bytes`, and a byte more in every turn of the event loop: so one is sent right after the server has closed, before the client
 * can read. Answers what it read until it saw the connection end.
 */
const sendOn = (socket: Socket, bytes: string) =>
  Effect.callback<string>((resume) => {
    let received = ""
    const sendMore = (): void => {
      if (!socket.writable) return
      socket.write(" ")
      setImmediate(sendMore)
    }
    socket.write(bytes, () => setImmediate(sendMore))
    socket.setEncoding("utf8").on("data", (text: string) => {
      received += text
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => socket.destroy())
  })

/** What a client reads that reads nothing until all is written, as many do. */
const sendFirst = (port: number, head: string, body: string) =>
  Effect.callback<string>((resume) => {
    let received = ""
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }).pause()
    socket.setEncoding("utf8").on("data", (text: string) => {
      received += text
      // It knows by the length that it has all, as a client does that keeps its connections.
      if (received.endsWith("}")) socket.destroy()
    })
    socket.on("error", () => {}).on("close", () => resume(Effect.succeed(received)))
    socket.write(head)
    socket.write(body, () => socket.resume())
    return Effect.sync(() => socket.destroy())
  })

const head = (method: string, path: string, further: string) =>
  `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${further}`
const ofBatch = "content-type: application/x-ndjson\r\n"
const certificate = (name: string) => readFileSync(`test/rpc/certificates/${name}`, "utf8")

layer(memoryLedger, { excludeTestServices: true })("a client that goes on sending", (it) => {
  it.effect("reads why its request was refused", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const large = 100_000_000
        const slow = yield* open({
          limits: { headersMs: 300, requestMs: 600, headerBytesMax: large, batchBytesMax: large }
        })
        const small = yield* open({ limits: { headerBytesMax: 2_000, batchBytesMax: 2_000 } })
        const cases: ReadonlyArray<readonly [number, number, string]> = [
          [slow, 408, head("GET", "/v1/stats", "x-slow: ")],
          [slow, 408, head("POST", "/v1/batch", `${ofBatch}content-length: ${large}\r\n\r\n`)],
          [small, 431, head("GET", "/v1/stats", `x-large: ${"y".repeat(300_000)}`)],
          [small, 400, `\u0000\r\n\r\n${"y".repeat(300_000)}`],
          // Node would answer these by itself, with nothing but a status, or not at all.
          [small, 400, "GET /v1/stats HTTP/1.1\r\nconnection: close\r\n\r\n"],
          [small, 400, head("GET", "/v1/stats", "host: evil.example\r\nconnection: close\r\n\r\n")],
          [small, 417, head("GET", "/v1/stats", "expect: x\r\nconnection: close\r\n\r\n")],
          [
            small,
            417,
            head(
              "POST",
              "/v1/batch",
              `${ofBatch}expect: x\r\nconnection: close\r\ncontent-length: ${large}\r\n\r\n`
            )
          ],
          [small, 400, "CONNECT ledger.example:443 HTTP/1.1\r\nhost: ledger.example\r\n\r\n"],
          [
            small,
            413,
            head("POST", "/v1/batch", `${ofBatch}connection: close\r\ncontent-length: ${large}\r\n\r\n`)
          ]
        ]
        const answers = yield* Effect.forEach(
          cases,
          ([port, , bytes]) => sendOn(connect(port, "127.0.0.1"), bytes),
          { concurrency: "unbounded" }
        )
        assert.deepEqual(
          answers.map((answer) => Number(answer.slice(9, 12))),
          cases.map(([, status]) => status)
        )
        // A problem document under the headers of every other answer, also where the parser of HTTP found the fault.
        for (const answer of answers) {
          const [head = "", body = ""] = answer.split("\r\n\r\n")
          assert.match(head, /\r\ncontent-type: application\/problem\+json(\r\n|$)/)
          assert.match(head, /\r\nx-content-type-options: nosniff(\r\n|$)/)
          assert.include(head, `\r\ncontent-length: ${body.length}`)
          assert.strictEqual(
            (JSON.parse(body) as { readonly status: number }).status,
            Number(answer.slice(9, 12))
          )
        }
      })
    )
  )

  it.effect("reads why once all is sent, where it reads nothing before", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const limits = { batchBytesMax: 2_000, lingerMs: 60_000 }
        const port = yield* open({ limits })
        const guarded = yield* open({ limits, tokens: [token("sender", ["command"])] })
        const bytes = 20_000_000
        const body = "y".repeat(bytes)
        const ofLength = `${ofBatch}content-length: ${bytes}\r\n\r\n`
        const chunked = `${ofBatch}transfer-encoding: chunked\r\n\r\n${bytes.toString(16)}\r\n`
        const cases: ReadonlyArray<readonly [number, number, string]> = [
          [port, 413, ofLength],
          [port, 413, chunked],
          [port, 413, `connection: close\r\n${ofLength}`],
          [port, 415, chunked.replace("x-ndjson", "json")],
          [guarded, 401, chunked]
        ]
        const answers = yield* Effect.forEach(cases, ([to, , further]) =>
          sendFirst(to, head("POST", "/v1/batch", further), body)
        )
        assert.deepEqual(
          answers.map((answer) => Number(answer.slice(9, 12))),
          cases.map(([, status]) => status)
        )
      })
    )
  )

  it.effect("keeps its connection where little was left to send", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const port = yield* open({ limits: { batchBytesMax: 2_000 } })
        const body = "y".repeat(9_000)
        const chunked = `${ofBatch}transfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`
        const socket = connect(port, "127.0.0.1").setEncoding("utf8")
        const statuses = yield* Effect.callback<ReadonlyArray<string | undefined>>((resume) => {
          let received = ""
          socket.on("data", (text: string) => {
            const before = received.length
            received += text
            // What was missing comes once it is refused, and the next request behind that.
            if (before === 0)
              socket.write(
                `${body.slice(5_000)}\r\n0\r\n\r\n${head("GET", "/health", "connection: close\r\n\r\n")}`
              )
          })
          socket
            .on("error", () => {})
            .on("close", () => {
              resume(Effect.succeed([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, one]) => one)))
            })
          socket.write(head("POST", "/v1/batch", chunked) + body.slice(0, 5_000))
          return Effect.sync(() => socket.destroy())
        })
        assert.deepStrictEqual(statuses, ["413", "200"])
      })
    )
  )

  it.effect("reads that over TLS too", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const tls = { cert: certificate("server.pem"), key: Redacted.make(certificate("server.key")) }
        const port = yield* open({ tls, limits: { headerBytesMax: 2_000 } })
        const socket = connectTls({
          host: "127.0.0.1",
          port,
          ca: certificate("ledger-ca.pem"),
          servername: "localhost"
        })
        const answer = yield* sendOn(socket, head("GET", "/v1/stats", `x-large: ${"y".repeat(300_000)}`))
        assert.match(answer, /^HTTP\/1\.1 431/)
      })
    )
  )

  it.effect("is waited for no longer in the handshake of TLS than for the headers of a request", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const tls = { cert: certificate("server.pem"), key: Redacted.make(certificate("server.key")) }
        const port = yield* open({ tls, limits: { headersMs: 300 } })
        const ended = Effect.callback<string>((resume) => {
          // Of the handshake it says nothing.
          const socket = connect(port, "127.0.0.1").on("error", () => {})
          socket.on("close", () => resume(Effect.succeed("ended")))
          return Effect.sync(() => socket.destroy())
        })
        assert.strictEqual(yield* ended, "ended")
      })
    )
  )

  it.effect("gets no refusal for a request that is carried out, whatever comes behind it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const port = yield* open({ limits: { requestMs: 10_000, headersMs: 10_000, lingerMs: 2_000 } })
        const post = (account: string, expect = "") => {
          const body = `{"account":"${account}","asset":"USD/2","owner":"Ann"}`
          const further = `${expect}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
          return head("POST", "/v1/accounts", further) + body
        }
        const answered = yield* Effect.forEach(
          [
            post("garbled") + post("garbled-too"),
            post("garbled-once"),
            post("garbled-expecting", "expect: 100-continue\r\n")
          ],
          (bytes) => sendOn(connect(port, "127.0.0.1"), `${bytes}\u0000\r\n\r\n`)
        )
        const statuses = answered.map((text) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, one]) => one))
        assert.deepStrictEqual(statuses, [
          ["201", "201", "400"],
          ["201", "400"],
          ["100", "201", "400"]
        ])
      })
    )
  )

  it.effect("is closed after a while, and what it sent too late is not done", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const port = yield* open({ limits: { requestMs: 300, headersMs: 300, lingerMs: 1_500 } })
        const ledger = yield* Ledger
        const before = (yield* ledger.stats).committed
        // Longer than what it sends in small pieces until it is refused, however late a busy machine does that.
        const body = '{"account":"late","asset":"USD/2","owner":"Ann"}'.padEnd(50_000)
        const further = `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
        // Its own half it never closes, and it sends what was missing once it is refused.
        socket.once("data", () => socket.write(body.slice(1)))
        const answer = yield* Effect.callback<string>((resume) => {
          socket.write(head("POST", "/v1/accounts", further) + body[0])
          let received = ""
          socket.on("data", (data) => {
            received += String(data)
          })
          socket.on("end", () => {})
          const sending = setInterval(() => socket.write(" "), 20)
          socket.on("error", () => {})
          socket.on("close", () => {
            clearInterval(sending)
            resume(Effect.succeed(received))
          })
        })
        assert.match(answer, /^HTTP\/1\.1 408 [\s\S]*\r\n\r\n\{[^{}]*\}$/)
        assert.strictEqual((yield* ledger.stats).committed, before)
      })
    )
  )
})
