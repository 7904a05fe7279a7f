/** When a connection of HTTP is closed because its peer takes nothing of what is sent to it, and that one which takes it slowly is not. */
import { readFileSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import { createServer as createTlsServer } from "node:https"
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import { HttpConnections } from "../../src/http/server/HttpConnections.ts"
import { HttpConfig, httpLimits } from "../../src/http/server/HttpLimits.ts"
import { elapsedMsUnsafe } from "../../src/infra/config/Elapsed.ts"
import { ownPort } from "../support/ports.ts"
import { until } from "../support/waiting.ts"

const stuckMs = 2_000
const connectionsWith = (limits: Partial<typeof httpLimits.schema.Type>) =>
  HttpConnections.layer.pipe(
    Layer.provide(RefusalLog.layer(0)),
    Layer.provide(Layer.succeed(HttpConfig, { ...httpLimits.defaults, ...limits }))
  )
const connections = connectionsWith({ stuckMs })

const pem = (name: string) => readFileSync(new URL(`../rpc/certificates/${name}`, import.meta.url), "utf8")

const kinds = [
  {
    name: "plain",
    make: (answer: RequestListener) => createServer(answer),
    dial: (port: number): Socket => connect(port, "127.0.0.1")
  },
  {
    name: "with TLS",
    make: (answer: RequestListener) =>
      createTlsServer({ cert: pem("server.pem"), key: pem("server.key") }, answer),
    dial: (port: number): Socket => connectTls({ port, host: "127.0.0.1", ca: pem("ledger-ca.pem") })
  }
] as const

/** A server whose connections are watched, and which answers each request with so many bytes in one piece. */
const serve = Effect.fnUntraced(function* ({ make }: (typeof kinds)[number], bytes: number) {
  const { watch } = yield* HttpConnections
  const server = make((_, response) => response.end(Buffer.alloc(bytes)))
  yield* Effect.addFinalizer(() => Effect.sync(() => server.close().closeAllConnections()))
  yield* watch(server)
  const port = yield* ownPort
  yield* Effect.callback<void>((resume) => {
    server.listen(port, "127.0.0.1", () => resume(Effect.void))
  })
  return { port, server }
})

const request = "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"

layer(connections, { excludeTestServices: true })("a connection of HTTP", (it) => {
  it.effect.each(kinds)(
    "$name is closed once its peer took nothing for so long, also where it is new and its answer is large",
    (kind) =>
      Effect.scoped(
        Effect.gen(function* () {
          const clock = yield* Clock.Clock
          // More than the buffers of both ends take.
          const { port, server } = yield* serve(kind, 50_000_000)
          const lived = yield* Effect.callback<number>((resume) => {
            server.once("connection", (accepted) => {
              const since = elapsedMsUnsafe(clock)
              accepted.once("close", () => resume(Effect.succeed(elapsedMsUnsafe(clock) - since)))
            })
            const socket = kind
              .dial(port)
              .pause()
              .on("error", () => {})
            socket.write(request)
            return Effect.sync(() => socket.destroy())
          })
          assert.isAtLeast(lived, stuckMs)
        })
      )
  )

  it.effect.each(kinds)(
    "$name gets its whole answer where it takes that steadily, though for long less than the kernel tells",
    (kind) =>
      Effect.scoped(
        Effect.gen(function* () {
          const clock = yield* Clock.Clock
          const bytes = 12_000_000
          const { port } = yield* serve(kind, bytes)
          const { got, slowMs } = yield* Effect.callback<{ got: number; slowMs: number }>((resume) => {
            const socket = kind.dial(port).on("error", () => {})
            const begun = elapsedMsUnsafe(clock)
            let [got, slowMs] = [0, 0]
            socket.on("data", ({ length }) => {
              got += length
              slowMs = elapsedMsUnsafe(clock) - begun
              // What the kernel takes at once is some 1.4 MB: at this rate, in almost twice the patience.
              const aheadMs = got / 400 - slowMs
              if (slowMs < 3 * stuckMs && aheadMs > 0) {
                socket.pause()
                setTimeout(() => socket.resume(), Math.min(aheadMs, stuckMs / 8))
              }
            })
            socket.once("close", () => resume(Effect.succeed({ got, slowMs })))
            socket.write(request)
            return Effect.sync(() => socket.destroy())
          })
          assert.isAtLeast(got, bytes)
          assert.isAtLeast(slowMs, 3 * stuckMs)
        })
      )
  )
})

// A peer would have minutes to take something.
layer(connectionsWith({ stuckMs: 600_000, answersBytesMax: 20_000_000 }), { excludeTestServices: true })(
  "of all connections of HTTP",
  (it) => {
    it.effect.each(kinds)("$name those are closed for which most waits, where too much does", (kind) =>
      Effect.scoped(
        Effect.gen(function* () {
          const bytes = 8_000_000
          const { port } = yield* serve(kind, bytes)
          /** Sends requests without a wait for their answers, of which it takes none until it is resumed. */
          const ask = (requests: number) =>
            Effect.acquireRelease(
              Effect.callback<{ socket: Socket; isClosed: () => boolean }>((resume) => {
                let isClosed = false
                const socket = kind.dial(port).on("error", () => {})
                socket.once("close", () => {
                  isClosed = true
                })
                socket.once(kind.name === "plain" ? "connect" : "secureConnect", () => {
                  socket.pause()
                  socket.write(request.replace("close", "keep-alive").repeat(requests))
                  resume(Effect.succeed({ socket, isClosed: () => isClosed }))
                })
              }),
              ({ socket }) => Effect.sync(() => socket.destroy())
            )
          const modest = yield* ask(1)
          const greedy = yield* ask(10)
          yield* until("it is closed", () => {
            // Without it the end is not seen behind what was not read. A request may begin with it.
            greedy.socket.write("\r\n")
            return greedy.isClosed()
          })
          assert.isFalse(modest.isClosed())
          const got = yield* Effect.callback<number>((resume) => {
            let got = 0
            modest.socket.on("data", ({ length }) => {
              got += length
              if (got >= bytes) resume(Effect.succeed(got))
            })
            modest.socket.once("close", () => resume(Effect.succeed(got)))
            modest.socket.resume()
          })
          assert.isAtLeast(got, bytes)
        })
      )
    )
  }
)
