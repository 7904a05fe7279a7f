/** Writes to a peer that accepts a connection and does not read, or slowly, wait: neither for ever nor with many listeners. */
import * as Net from "node:net"
import { NodeSocket } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Scope } from "effect"
import { watchPeer } from "../../src/infra/cluster/PeerWatch.ts"
import { withWriteTimeout } from "../../src/infra/cluster/SocketTimeouts.ts"
import { settable, standing } from "../support/settableClock.ts"
import { eventually } from "../support/waiting.ts"

/** Accepts, and reads only once it is told to. */
const peer = Effect.acquireRelease(
  Effect.callback<{
    readonly port: number
    readonly accepted: Array<Net.Socket>
    readonly server: Net.Server
  }>((resume) => {
    const accepted: Array<Net.Socket> = []
    const server = Net.createServer({ pauseOnConnect: true }, (socket) => {
      accepted.push(socket.on("error", () => {}))
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      resume(Effect.succeed({ port, accepted, server }))
    })
  }),
  ({ accepted, server }) =>
    Effect.sync(() => {
      for (const socket of accepted) socket.destroy()
      server.close()
    })
)

/** The connection's own end, to see who listens to it. */
const connect = Effect.fnUntraced(function* (port: number, stuckMs: number) {
  // The maker of a connection for a socket of effect listens to its errors.
  const conn = Net.connect({ port, host: "127.0.0.1" }).on("error", () => {})
  const plain = yield* NodeSocket.fromDuplex(Effect.succeed(conn))
  const socket = yield* withWriteTimeout(plain, stuckMs, yield* watchPeer(stuckMs, () => conn))
  return { conn, reader: yield* socket.reader, writer: yield* socket.writer }
})

const piece = new Uint8Array(1_000_000)
const writers = 40

it.live("cuts a connection whose peer does not read after the timeout, which ends every write", () =>
  Effect.gen(function* () {
    const { port } = yield* peer
    const { clock, setBack } = settable(yield* Clock.Clock)
    const { reader, writer } = yield* Effect.provideService(connect(port, 300), Clock.Clock, clock)
    const reading = yield* Effect.forkChild(Effect.exit(reader.pull))
    const writes = yield* Effect.forkChild(
      Effect.forEach(
        Array.from({ length: writers }),
        () => Effect.timeoutOption(Effect.exit(writer.write(piece)), "10 seconds"),
        { concurrency: "unbounded" }
      )
    )
    // However the clock is set.
    setBack(3_600_000)
    assert.strictEqual((yield* Fiber.join(reading))._tag, "Failure")
    // With no connection any more, the first of those in line waits for the next one.
    yield* Fiber.interrupt(writes)
  }).pipe(Effect.scoped)
)

/** A clock of which it is known how often something that looks by it has looked. */
const counted = (inner: Clock.Clock) => {
  let looks = 0
  const clock: Clock.Clock = {
    ...inner,
    sleep: (duration) => {
      looks++
      return inner.sleep(duration)
    }
  }
  return {
    clock,
    /** Waits until a look has begun and ended. */
    lookedAt: Effect.suspend(() => {
      const before = looks
      return eventually(
        "the connection was looked at",
        Effect.sync(() => looks >= before + 2)
      )
    })
  }
}

it.live("cuts no connection whose peer takes what it is sent slowly, and one that takes no more", () =>
  Effect.gen(function* () {
    const stuckMs = 10_000
    const { port, accepted } = yield* peer
    const { clock: settableClock, pass } = settable(standing(yield* Clock.Clock))
    const { clock, lookedAt } = counted(settableClock)
    const { conn, writer } = yield* Effect.provideService(connect(port, stuckMs), Clock.Clock, clock)
    yield* eventually(
      "it is accepted",
      Effect.sync(() => accepted.length === 1)
    )
    const [theirs] = accepted
    let taken = 0
    let allowed = 0
    theirs?.on("data", (chunk) => {
      taken += chunk.length
      if (taken >= allowed) theirs.pause()
    })
    theirs?.pause()
    const write = yield* Effect.forkChild(Effect.exit(writer.write(new Uint8Array(64_000_000))), {
      startImmediately: true
    })
    for (let round = 1; round <= 3; round++) {
      yield* lookedAt
      allowed = round * 4_000_000
      theirs?.resume()
      yield* eventually(
        "the peer took some of it",
        Effect.sync(() => taken >= allowed)
      )
      pass(stuckMs / 2)
    }
    yield* lookedAt
    assert.isUndefined(write.pollUnsafe(), "one write, for longer than a peer may take nothing")
    assert.isFalse(conn.destroyed)
    pass(2 * stuckMs)
    assert.strictEqual((yield* Fiber.join(write))._tag, "Failure")
  }).pipe(Effect.scoped)
)

it.live("lets one write wait at a time, and all go on once the peer reads again", () =>
  Effect.gen(function* () {
    const { port, accepted } = yield* peer
    const { conn, writer } = yield* connect(port, 60_000)
    const writes = yield* Effect.forkChild(
      Effect.forEach(Array.from({ length: writers }), () => writer.write(piece), {
        concurrency: "unbounded"
      })
    )
    yield* eventually(
      "the buffers are full",
      Effect.sync(() => accepted.length === 1 && conn.writableNeedDrain)
    )
    assert.isBelow(conn.listenerCount("drain"), 3)
    for (const socket of accepted) socket.resume()
    yield* Fiber.join(writes)
    assert.strictEqual(conn.bytesWritten + conn.writableLength >= writers * piece.length, true)
  }).pipe(Effect.scoped)
)

it.live("ends a connection with what its peer has not taken", () =>
  Effect.gen(function* () {
    const { port } = yield* peer
    const scope = yield* Scope.make()
    const { conn, writer } = yield* Scope.provide(connect(port, 60_000), scope)
    yield* Effect.forkChild(Effect.exit(writer.write(new Uint8Array(64_000_000))), { startImmediately: true })
    yield* eventually(
      "the buffers are full",
      Effect.sync(() => conn.writableNeedDrain)
    )
    yield* Scope.close(scope, Exit.void)
    assert.isTrue(conn.destroyed)
  }).pipe(Effect.scoped)
)
