/**
 * Connections between nodes in memory: two ends of a stream of bytes that can stand still or be cut, so that tests of what
 * nodes say to each other need neither sockets nor time.
 */
import { Deferred, Effect, Latch, Queue } from "effect"
import { Socket } from "effect/socket"
import type { ByteStream } from "../../src/infra/cluster/PeerPort.ts"

const closed = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })

/** One direction. */
interface Pipe {
  /** The writes that the reader has got, as they were. */
  readonly writes: Array<Uint8Array>
  /** Nothing passes until `read`. */
  readonly standStill: () => void
  readonly read: () => void
}

export interface StreamPair {
  readonly near: ByteStream
  readonly far: ByteStream
  readonly toFar: Pipe
  readonly toNear: Pipe
  readonly cut: Effect.Effect<void>
}

export const streamPair = Effect.gen(function* () {
  const isCut = yield* Deferred.make<never, Socket.SocketError>()
  const pipe = Effect.gen(function* () {
    const queue = yield* Queue.unbounded<Uint8Array>()
    const isOpen = Latch.makeUnsafe(true)
    const writes: Array<Uint8Array> = []
    return {
      writes,
      standStill: () => isOpen.closeUnsafe(),
      read: () => isOpen.openUnsafe(),
      pull: Effect.raceFirst(Queue.takeAll(queue), Deferred.await(isCut)),
      write: (bytes: Uint8Array) =>
        isOpen
          .whenOpen(
            Effect.sync(() => {
              writes.push(bytes)
              Queue.offerUnsafe(queue, bytes)
            })
          )
          .pipe(Effect.raceFirst(Deferred.await(isCut)))
    }
  })
  const [toFar, toNear] = [yield* pipe, yield* pipe]
  return {
    near: { peer: "far", version: 1, pull: toNear.pull, write: toFar.write },
    far: { peer: "near", version: 1, pull: toFar.pull, write: toNear.write },
    toFar,
    toNear,
    cut: Effect.asVoid(Deferred.fail(isCut, closed))
  } satisfies StreamPair
})
