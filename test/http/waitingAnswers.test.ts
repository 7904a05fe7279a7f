/** What waits for all peers of HTTP together, in the moment in which others are closed for another reason. */
import { createServer, IncomingMessage, ServerResponse } from "node:http"
import { Socket } from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import { HttpConnections } from "../../src/http/server/HttpConnections.ts"
import { HttpConfig, httpLimits } from "../../src/http/server/HttpLimits.ts"

/** A socket whose peer takes nothing. */
class FullSocket extends Socket {
  override _write(): void {}
  override _writev(): void {}

  onDestroy = () => {}

  override destroy(error?: Error): this {
    this.onDestroy()
    return super.destroy(error)
  }
}

const connections = HttpConnections.layer.pipe(
  Layer.provide(RefusalLog.layer(0)),
  Layer.provide(
    Layer.succeed(HttpConfig, { ...httpLimits.defaults, stuckMs: 10_000, answersBytesMax: 10_000_000 })
  )
)

/** The loops look once a second, and ask the kernel about sockets in between. */
const passSecond = Effect.andThen(
  TestClock.adjust(1_000),
  Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))
)

layer(connections)("a stuck connection of HTTP", (it) => {
  it.effect("that is closed counts no more against others in the same second", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { watch } = yield* HttpConnections
        // Without a listener of its own, which would read from the sockets.
        const server = createServer().removeAllListeners("connection")
        yield* watch(server)
        const sockets: Array<Socket> = []
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            for (const socket of sockets) socket.destroy()
          })
        )
        const answer = (bytes: number) => {
          const socket = new FullSocket()
          sockets.push(socket)
          const request = new IncomingMessage(socket)
          const response = new ServerResponse(request)
          server.emit("connection", socket)
          server.emit("request", request, response)
          response.assignSocket(socket)
          response.end(Buffer.alloc(bytes))
          // As the server's own listener does for the sockets of its connections.
          socket.once("close", () => response.emit("close"))
          return socket
        }
        const stuck = answer(6_000_000)
        let honest: Socket | undefined
        // In the very turn, so that nothing can be looked at in between.
        stuck.onDestroy = () => {
          honest = answer(8_000_000)
        }
        while (honest === undefined) yield* passSecond
        yield* passSecond
        assert.isTrue(stuck.destroyed)
        assert.isFalse(honest.destroyed, "the other one")
      })
    )
  )
})
