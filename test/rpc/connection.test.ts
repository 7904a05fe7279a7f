/** One connection of RPC and the socket beneath it: what stays there of the times that the peer was waited for. */
import { Socket } from "node:net"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { RpcSerialization } from "effect/rpc"
import { Connection } from "../../src/rpc/server/Connection.ts"
import { eventually } from "../support/readSides.ts"

/** A socket whose peer takes what is written to it once it is told to. */
class HeldSocket extends Socket {
  #taken: (() => void) | undefined

  override _write(_chunk: unknown, _encoding: unknown, taken: () => void): void {
    this.#taken = taken
  }

  takeAll(): void {
    this.#taken?.()
  }
}

it.live("leaves no listener on its socket, however often its peer took what it waited for", () =>
  Effect.gen(function* () {
    const socket = new HeldSocket()
    const answers = { bytes: 0 }
    const connection = new Connection({
      answers,
      id: 1,
      peer: "a peer",
      authorization: undefined,
      now: 0,
      socket,
      writer: {
        write: () => Effect.void,
        writeAll: (chunks) =>
          Effect.sync(() => {
            for (const chunk of chunks)
              if (typeof chunk === "string" || chunk instanceof Uint8Array) socket.write(chunk)
          })
      },
      parser: RpcSerialization.ndjson.makeUnsafe(),
      isText: true,
      unfinished: { admitted: 0, others: 0 }
    })
    const listeners = () => socket.listenerCount("close") + socket.listenerCount("drain")
    const before = listeners()
    yield* Effect.forkScoped(connection.pump)
    const asOfStream = { _tag: "Defect", defect: "x".repeat(200_000) } as const
    yield* connection.write(asOfStream)
    assert.strictEqual(answers.bytes, 0, "what a stream may have waiting is not counted")
    yield* eventually(Effect.sync(() => assert.strictEqual(listeners(), before + 2)))
    socket.takeAll()
    yield* eventually(Effect.sync(() => assert.strictEqual(listeners(), before)))
    const large = { _tag: "Defect", defect: "x".repeat(2_000_000) } as const
    for (let round = 0; round < 3; round++) {
      yield* Effect.forkScoped(connection.write(large))
      yield* eventually(Effect.sync(() => assert.strictEqual(listeners(), before + 2)))
      assert.isAbove(answers.bytes, 900_000)
      socket.takeAll()
      yield* eventually(Effect.sync(() => assert.strictEqual(listeners(), before)))
      yield* eventually(Effect.sync(() => assert.strictEqual(answers.bytes, 0)))
    }
  })
)
