/** A crowd that connects at once, while the node is busy, waits in the kernel to be taken: none is dropped. */
import { readFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"
import { memoryLedger, openTcp } from "../support/rpcWorld.ts"

const crowd = 1_000

/** Connections that are made and not taken yet at a port of loopback, as the kernel tells of a socket that listens. */
const waitingAt = (port: number): number => {
  const listens = "0A"
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const [, address, , state, queues = ""] = line.trim().split(/\s+/)
    if (address === local && state === listens) return Number.parseInt(queues.split(":")[1] ?? "", 16)
  }
  return Number.NaN
}

/** How many wait where all connect in one turn of the event loop, in which the server takes none. */
const waitingOfCrowd = (port: number) =>
  Effect.acquireUseRelease(
    Effect.sync(
      (): ReadonlyArray<Socket> =>
        Array.from({ length: crowd }, () => connect(port, "127.0.0.1").on("error", () => {}))
    ),
    () =>
      Effect.callback<number>((resume) => {
        // Behind the ticks in which the sockets above connect.
        process.nextTick(() => resume(Effect.succeed(waitingAt(port))))
      }),
    (sockets) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
      })
  )

layer(memoryLedger, { excludeTestServices: true })("a crowd that connects at once", (it) => {
  it.effect.skipIf(process.platform !== "linux")("waits to be taken, over HTTP and over RPC", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const http = yield* ownPort
        yield* Layer.build(openHttpLayer(http))
        assert.strictEqual(yield* waitingOfCrowd(http), crowd)
        const rpc = yield* openTcp()
        assert.strictEqual(yield* waitingOfCrowd(rpc.port), crowd)
      })
    )
  )
})
