/** A socket enters; the same, which waits for a peer that does not read with one write at a time, and not for ever, leaves. */
import { Clock, Effect, Semaphore } from "effect"
import { Socket } from "effect/socket"

/** How often a write that waits is looked at, in milliseconds. */
const lookMs = 500

/**
 * The peer may be frozen, or gone without a word. Once its buffers are full, each write of effect's socket waits
 * with listeners of its own, and the ping that is to find it out waits with them: the connection would never end. Here
 * a connection on which a write waits for longer than `stuckMs` is cut, as if the peer had answered no ping.
 */
export const withWriteTimeout = Effect.fnUntraced(function* (inner: Socket.Socket, stuckMs: number) {
  const clock = yield* Clock.Clock

  /** Undefined while there is no connection, when a write waits for the next one. */
  let openSince: number | undefined
  let connections = 0

  const watched = Effect.fnUntraced(function* (writer: Socket.Writer) {
    const turn = Semaphore.makeUnsafe(1)
    let waitsSince: number | undefined
    const inTurn = (write: Effect.Effect<void, Socket.SocketError>) =>
      turn.withPermit(
        Effect.suspend(() => {
          waitsSince = clock.currentTimeMillisUnsafe()
          return Effect.ensuring(
            write,
            Effect.sync(() => {
              waitsSince = undefined
            })
          )
        })
      )
    const look = Effect.suspend(() => {
      if (waitsSince === undefined || openSince === undefined) return Effect.void
      const waited = clock.currentTimeMillisUnsafe() - Math.max(waitsSince, openSince)
      return waited > stuckMs
        ? writer.write(new Socket.CloseEvent(1011, "the peer does not read"))
        : Effect.void
    })
    yield* look.pipe(Effect.ignore, Effect.delay(lookMs), Effect.forever, Effect.forkScoped)
    return {
      write: (chunk) => (Socket.isCloseEvent(chunk) ? writer.write(chunk) : inTurn(writer.write(chunk))),
      writeAll: (chunks) => inTurn(writer.writeAll(chunks))
    } satisfies Socket.Writer
  })

  const noted = Effect.acquireRelease(
    Effect.sync(() => {
      connections++
      openSince = clock.currentTimeMillisUnsafe()
    }),
    () =>
      Effect.sync(() => {
        if (--connections === 0) openSince = undefined
      })
  )
  return Socket.make({
    reader: Effect.tap(inner.reader, () => noted),
    writer: Effect.flatMap(inner.writer, watched)
  })
})
