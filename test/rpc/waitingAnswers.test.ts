/** What waits for all peers of a listener together: it is bounded, and the connection for which most waits pays, whichever of them is answered. */
import { Socket as NetSocket } from "node:net"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Socket } from "effect/socket"
import * as connections from "../../src/rpc/server/Connections.ts"
import { guard } from "../../src/rpc/server/LedgerRpcServer.ts"
import { defaultRpcLimits, RpcConfig } from "../../src/rpc/server/RpcLimits.ts"
import { quiet } from "../support/callers.ts"
import { eventually } from "../support/readSides.ts"

/** A socket whose peer takes nothing. */
class FullSocket extends NetSocket {
  override _write(): void {}
}

const mib = 1_048_576

/** A listener with connections to so many peers that take nothing, and how to answer them by their numbers. */
const listenerWith = Effect.fnUntraced(function* (peers: number, answersBytesMax: number) {
  const context = yield* Layer.build(
    connections.layer.pipe(
      Layer.provide(guard({ tokens: [] })),
      Layer.provide(RpcSerialization.layerNdjson),
      Layer.provide(
        Layer.succeed(RpcConfig, { ...defaultRpcLimits, connectionsPerPeerMax: peers, answersBytesMax })
      )
    )
  )
  const { serve } = Context.get(context, connections.Connections)
  const { send, clientIds } = Context.get(context, RpcServer.Protocol)
  const sockets: Array<NetSocket> = []
  for (let nth = 0; nth < peers; nth++) {
    const socket = new FullSocket()
    sockets.push(socket)
    const faked = Socket.make({
      reader: Effect.succeed({ pull: Effect.never, upgrade: () => Effect.void }),
      writer: Effect.succeed({
        write: () => Effect.void,
        writeAll: (chunks) =>
          Effect.sync(() => {
            for (const chunk of chunks)
              if (typeof chunk === "string" || chunk instanceof Uint8Array) socket.write(chunk)
          })
      })
    })
    yield* Effect.forkScoped(Effect.scoped(serve(faked, { peer: "a peer", socket })))
    yield* eventually(Effect.map(clientIds, ({ size }) => assert.strictEqual(size, nth + 1)))
  }
  const answer = (nth: number, bytes: number) =>
    Effect.forkScoped(
      send(nth, { _tag: "Exit", requestId: "1", exit: { _tag: "Success", value: "x".repeat(bytes) } }),
      { startImmediately: true }
    )
  return { answer, open: () => sockets.flatMap(({ destroyed }, nth) => (destroyed ? [] : [nth])) }
})

it.live("closes the connection for which most waits, not the one that is answered next", () =>
  Effect.gen(function* () {
    const { answer, open } = yield* listenerWith(3, 5 * mib)
    yield* answer(0, 5.5 * mib)
    yield* answer(1, 3 * mib)
    yield* answer(2, 0.1 * mib)
    assert.deepStrictEqual(open(), [1, 2])
    // What waited for it waits no more, in the same turn: no other connection pays for it.
    yield* answer(1, 1 * mib)
    yield* answer(2, 0.1 * mib)
    assert.deepStrictEqual(open(), [1, 2])
  }).pipe(Effect.provide(quiet))
)

it.live("bounds what waits where each of many connections has one answer", () =>
  Effect.gen(function* () {
    const { answer, open } = yield* listenerWith(50, 10 * mib)
    for (let nth = 0; nth < 50; nth++) yield* answer(nth, 2 * mib)
    // Each has one MiB beyond what may wait for it, and a little; the last one came after the bound was looked at.
    assert.isAtMost(open().length, 11)
    assert.isAtLeast(open().length, 9)
  }).pipe(Effect.provide(quiet))
)
