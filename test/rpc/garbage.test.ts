/** A server that is sent a hundred thousand malformed, truncated, oversized and random messages serves other peers as before. */
import { createConnection, type Socket as NetSocket } from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Fiber, Schedule, Schema } from "effect"
import { RpcSerialization } from "effect/rpc"
import { Ledger } from "../../src/Ledger.ts"
import { LedgerRpc } from "../../src/rpc/LedgerRpc.ts"
import { open } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
import { eventually } from "../support/readSides.ts"
import { connect, memoryLedger, openTcp } from "../support/rpcWorld.ts"
import { settable } from "../support/settableClock.ts"

type Format = "binary" | "ndjson"

const messages = 100_000
const perConnection = 50
const messageBytesMax = 16_384

const serializationOf = (format: Format) =>
  Effect.provide(
    RpcSerialization.RpcSerialization,
    format === "binary" ? RpcSerialization.layerSchemaBinary() : RpcSerialization.layerNdjson
  )

/** Well-formed messages as bytes, which the test then cuts, alters and repeats. */
const orderly = Effect.fnUntraced(function* (format: Format) {
  const { codecFor, makeUnsafe } = yield* serializationOf(format)
  const payloads: Readonly<Record<string, unknown>> = {
    strongBalance: { account: "nobody" },
    dispatch: { command: { _tag: "Deposit", account: "nobody", amount: "1" } },
    dispatchMany: { commands: [{ _tag: "Transfer" }, 7, null, "x"] },
    history: { account: "nobody", after: 3 },
    events: { account: "nobody", follow: true }
  }
  const frames: Array<Buffer> = []
  let id = 0
  for (const [tag, payload] of Object.entries(payloads)) {
    const rpc = LedgerRpc.requests.get(tag)
    if (rpc === undefined) return yield* Effect.die(new Error(tag))
    const encoded = Schema.encodeUnknownSync(codecFor(rpc.payloadSchema))(payload)
    // One parser a frame: the binary one remembers what it said before.
    const frame = makeUnsafe().encode({ _tag: "Request", id: id++, tag, payload: encoded, headers: [] })
    frames.push(Buffer.from(frame ?? ""))
  }
  for (const other of [
    { _tag: "Ping" },
    { _tag: "Eof" },
    { _tag: "Ack", requestId: 99 },
    { _tag: "Interrupt", requestId: 98 }
  ])
    frames.push(Buffer.from(makeUnsafe().encode(other) ?? ""))
  return frames
})

const jsons = [
  "null",
  "[]",
  "7",
  '{"_tag":"Request"}',
  '{"_tag":"Request","id":{},"tag":"dispatch","payload":null,"headers":[]}',
  '{"_tag":"Request","id":"1","tag":"__proto__","payload":null,"headers":[]}',
  '{"_tag":"Request","id":"1","tag":"dispatch","payload":{"command":{"__proto__":{"_tag":"Deposit"}}},"headers":[]}',
  '{"_tag":"Request","id":"2","tag":"dispatch","payload":null,"headers":[["authorization"]]}',
  '{"_tag":"Request","id":"3","tag":"dispatch","payload":{},"headers":[],"isNotification":true}',
  '{"_tag":"Request","id":"4","tag":"balance","payload":{"account":{"toString":1}},"headers":[]}',
  '{"_tag":"Interrupt","requestId":[]}',
  '{"_tag":"Exit","requestId":"1","exit":{}}',
  `{"_tag":"Request","id":"5","tag":"dispatch","payload":${"[".repeat(500)}${"]".repeat(500)},"headers":[]}`
]

/** One message that is more or less wrong. */
const garbage = (rng: Rng, format: Format, frames: ReadonlyArray<Buffer>): Buffer => {
  const frame = Buffer.from(frames[rng.below(frames.length)] ?? "")
  switch (rng.below(8)) {
    case 0:
      return Buffer.from(Array.from({ length: rng.below(200) }, () => rng.below(256)))
    case 1:
      return frame.subarray(0, rng.below(frame.length))
    case 2:
    case 3:
      for (let n = 0; n <= rng.below(4); n++) frame[rng.below(frame.length)] = rng.below(256)
      return frame
    case 4:
      return rng.chance(0.02) ? Buffer.alloc(messageBytesMax * 2, rng.below(256)) : frame
    case 5:
      return format === "ndjson" ? Buffer.from(`${jsons[rng.below(jsons.length)]}\n`) : frame
    default:
      return frame
  }
}

/** Sends everything at once, then waits until the server closes the connection, or closes it itself. */
const throwAt = (port: number, data: ReadonlyArray<Buffer>, rng: Rng) =>
  Effect.callback<void>((resume) => {
    const socket = createConnection({ port, host: "127.0.0.1" })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.void))
    socket.on("connect", () => {
      for (const one of data) socket.write(one)
      if (rng.chance(0.3)) socket.destroy()
      else socket.end()
    })
    socket.resume()
  })

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")
const heapMiB = () => {
  collect()
  return process.memoryUsage().heapUsed / 2 ** 20
}

layer(memoryLedger, { excludeTestServices: true })("an RPC server", (it) => {
  it.effect("survives 100,000 wrong messages without a leak, and answers others meanwhile", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ledger = yield* Ledger
        yield* ledger.dispatch(open("good"))
        const rng = new Rng(20_261_124)
        const limits = { messageBytesMax, connectionsPerPeerMax: 24 }
        const doors = yield* Effect.forEach(["binary", "ndjson"] as const, (format) =>
          Effect.gen(function* () {
            const { port, url } = yield* openTcp({ format, limits })
            const good = yield* connect({ urls: [url], format })
            yield* good.client.awaitConnected
            return { port, url, format, good, frames: yield* orderly(format) }
          })
        )
        let asked = 0
        const goodOnes = yield* Effect.forEach(doors, ({ good }) =>
          good.ledger.strongBalance("good").pipe(
            Effect.tap(() => {
              asked++
              return Effect.yieldNow
            }),
            Effect.forever,
            Effect.forkChild
          )
        )
        const storm = (count: number) =>
          Effect.forEach(
            Array.from({ length: count / perConnection }, (_, n) => doors[n % doors.length]),
            (door) =>
              door === undefined
                ? Effect.void
                : throwAt(
                    door.port,
                    Array.from({ length: perConnection }, () => garbage(rng, door.format, door.frames)),
                    rng
                  ),
            { concurrency: 16, discard: true }
          )
        yield* storm(messages / 5)
        const before = heapMiB()
        const askedBefore = asked
        yield* storm((messages * 4) / 5)
        // The server may still be closing the last connections.
        yield* eventually(
          Effect.sync(() =>
            assert.isBelow(heapMiB() - before, 15, "MiB that 80,000 wrong messages left behind")
          )
        )
        assert.isAbove(asked - askedBefore, 100, "answers that others got meanwhile")
        for (const fiber of goodOnes) {
          assert.isUndefined(fiber.pollUnsafe(), "no call of others failed")
          yield* Fiber.interrupt(fiber)
        }
        // As many as a peer may have: the places of all closed connections are free again.
        for (const { url, format } of doors) {
          const fresh = yield* Effect.forEach(Array.from({ length: 20 }), () =>
            connect({ urls: [url], format })
          )
          for (const { ledger } of fresh) assert.strictEqual((yield* ledger.strongBalance("good")).version, 1)
        }
      })
    )
  )

  it.effect(
    "closes connections that are silent, do not end their message, or do not read their answers",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const ledger = yield* Ledger
          yield* ledger.dispatch(open("read"))
          yield* ledger.dispatchMany(
            Array.from(
              { length: 300 },
              () => ({ _tag: "Deposit", account: "read", amount: 1n, description: "x".repeat(200) }) as const
            )
          )
          const limits = {
            idleMs: 50,
            stuckMs: 50,
            messageBytesMax: 4_000,
            connectionsPerPeerMax: 1,
            inFlightPerConnectionMax: 200
          }
          let pages = 0
          const counting = {
            ...ledger,
            history: (account: string) => {
              pages++
              return ledger.history(account)
            }
          }
          const { clock, setBack } = settable(yield* Clock.Clock)
          const { port, url } = yield* openTcp({ format: "ndjson", limits, ledger: counting }).pipe(
            Effect.provideService(Clock.Clock, clock)
          )
          const send = (text: string) =>
            Effect.acquireRelease(
              Effect.callback<NetSocket>((resume) => {
                const socket = createConnection({ port, host: "127.0.0.1" })
                socket.on("error", () => {})
                socket.write(text, () => resume(Effect.succeed(socket)))
              }),
              (socket) => Effect.sync(() => socket.destroy())
            )
          /** One connection is allowed at a time, so the next is served once the one before is closed. */
          const nextIsServed = Effect.gen(function* () {
            // Long enough for a busy machine to fill the kernel's buffers with answers first.
            const limits = { backoffMaxMs: 50, queryDeadlineMs: 90_000 }
            const next = yield* connect({ urls: [url], format: "ndjson", limits })
            assert.strictEqual((yield* next.ledger.strongBalance("read")).version, 301)
            yield* next.stop
          })
          yield* send("\n")
          // However the clock is set: patience goes by time elapsed.
          setBack(3_600_000)
          yield* nextIsServed
          yield* send(`{"_tag":"Ping"${" ".repeat(5_000)}`)
          yield* nextIsServed
          const history = (id: number) =>
            `{"_tag":"Request","id":${id},"tag":"history","payload":{"account":"read"},"headers":[]}\n`
          const requests = Array.from({ length: 2_000 }, (_, id) => history(id)).join("")
          // Never reads: the kernel's buffers fill, then the node waits for it. Again until it was let in.
          yield* Effect.suspend(() =>
            pages > 0
              ? Effect.sync(() => setBack(7_200_000))
              : Effect.andThen(send(requests), Effect.fail("not let in yet"))
          ).pipe(Effect.retry({ schedule: Schedule.spaced(50) }))
          yield* nextIsServed
          assert.isBelow(pages, 1_000, "answers that were made for a peer that takes none")
        })
      )
  )

  it.effect("bounds the connections of a peer and the calls of a connection", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("bounded"))
        const never = { ...inside, strongBalance: () => Effect.never }
        const limits = { connectionsPerPeerMax: 2, inFlightPerConnectionMax: 3, streamsPerConnectionMax: 1 }
        const { url } = yield* openTcp({ ledger: never, limits })
        const one = yield* connect({ urls: [url] })
        yield* one.client.awaitConnected
        for (let n = 0; n < 3; n++)
          yield* Effect.forkChild(Effect.ignoreCause(one.ledger.strongBalance("bounded")), {
            startImmediately: true
          })
        const full = yield* Effect.flip(one.ledger.balance("bounded"))
        assert.deepInclude(full, { _tag: "Overloaded", what: "this connection" })
        const two = yield* connect({ urls: [url] })
        yield* two.client.awaitConnected
        assert.isAtLeast((yield* two.ledger.stats).residents, 1)
        const three = yield* connect({ urls: [url], limits: { queryDeadlineMs: 300 } })
        assert.strictEqual((yield* Effect.flip(three.ledger.balance("bounded")))._tag, "Unavailable")
      })
    )
  )
})
