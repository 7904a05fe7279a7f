/** A socket server that ends does not wait for ever for a peer that does not read, and delivers what it has written to the others. */
import { connect, type Socket } from "node:net"
import { NodeSocketServer } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { withCloseTimeout } from "../../src/infra/cluster/SocketTimeouts.ts"

/** Far more than the buffers of both ends hold. */
const words = new Uint8Array(64 * 2 ** 20)

const peerOf = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connect(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

for (const [what, reads] of [
  ["that reads, after it has everything", true],
  ["that does not read", false]
] as const) {
  it.live(`a server ends with a peer ${what}`, () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(
        withCloseTimeout(NodeSocketServer.make({ host: "127.0.0.1", port: 0 })),
        scope
      )
      const isWritten = yield* Deferred.make<void>()
      const serving = yield* server
        .run((socket) =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* socket.reader
              const writer = yield* socket.writer
              // It waits until the buffers have room, which is never: what is on the way then is left to the end.
              const writing = yield* Effect.forkScoped(writer.write(words), { startImmediately: true })
              if (reads) yield* Fiber.join(writing)
              yield* Deferred.succeed(isWritten, undefined)
            })
          )
        )
        .pipe(Effect.forkChild)
      const { address } = server
      if (address._tag === "UnixPathAddress") return assert.fail("it listens on a port")
      const peer = yield* peerOf(address.port)
      let received = 0
      if (reads) {
        peer.on("data", (data) => {
          received += data.length
        })
      } else peer.pause()
      const gone = Effect.callback<void>((resume) => {
        if (peer.closed) resume(Effect.void)
        else peer.once("close", () => resume(Effect.void))
      })
      yield* Deferred.await(isWritten)
      yield* Fiber.interrupt(serving)
      // Waits until every connection has gone.
      yield* Scope.close(scope, Exit.void).pipe(Effect.timeout("60 seconds"))
      if (reads) {
        yield* Effect.timeout(gone, "60 seconds")
        assert.strictEqual(received, words.length)
      }
    })
  )
}
