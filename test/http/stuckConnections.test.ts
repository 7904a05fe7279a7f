/** When a connection of HTTP is closed because its peer takes nothing of what is sent to it. */
import { createServer } from "node:http"
import { connect } from "node:net"
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import { HttpConnections } from "../../src/http/server/HttpConnections.ts"
import { HttpConfig, httpLimits } from "../../src/http/server/HttpLimits.ts"
import { elapsedMsUnsafe } from "../../src/infra/config/Elapsed.ts"
import { ownPort } from "../support/ports.ts"

const stuckMs = 1_500
const connections = HttpConnections.layer.pipe(
  Layer.provide(RefusalLog.layer(0)),
  Layer.provide(Layer.succeed(HttpConfig, { ...httpLimits.defaults, stuckMs }))
)

layer(connections, { excludeTestServices: true })("a connection whose peer takes nothing", (it) => {
  it.effect("is closed after that time, also where it is new and its first answer is large", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { watch } = yield* HttpConnections
        const clock = yield* Clock.Clock
        // More than the buffers of both ends take, in one piece.
        const server = createServer((_, response) => response.end(Buffer.alloc(50_000_000)))
        yield* Effect.addFinalizer(() => Effect.sync(() => server.close().closeAllConnections()))
        yield* watch(server)
        const port = yield* ownPort
        yield* Effect.callback<void>((resume) => {
          server.listen(port, "127.0.0.1", () => resume(Effect.void))
        })
        const lived = yield* Effect.callback<number>((resume) => {
          server.once("connection", (accepted) => {
            const since = elapsedMsUnsafe(clock)
            accepted.once("close", () => resume(Effect.succeed(elapsedMsUnsafe(clock) - since)))
          })
          const socket = connect(port, "127.0.0.1")
            .pause()
            .on("error", () => {})
          socket.write("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
          return Effect.sync(() => socket.destroy())
        })
        assert.isAtLeast(lived, stuckMs)
      })
    )
  )
})
