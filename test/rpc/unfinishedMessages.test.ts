/** What peers hold of messages that they do not end: it is bounded in bytes and in time, and who holds most of it pays, not who sends next. */
import { Socket as NetSocket } from "node:net"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { RpcSerialization } from "effect/rpc"
import { Socket } from "effect/socket"
import { TestClock } from "effect/testing"
import type { Token } from "../../src/access/Tokens.ts"
import * as connections from "../../src/rpc/server/Connections.ts"
import { guard } from "../../src/rpc/server/LedgerRpcServer.ts"
import { defaultRpcLimits, RpcConfig, type RpcLimits } from "../../src/rpc/server/RpcLimits.ts"
import { quiet, token } from "../support/callers.ts"

const mib = 1_048_576
const limits = { bufferBytesMax: 8 * mib, connectionsPerPeerMax: 100 }

const until = (condition: () => boolean) => Effect.repeat(Effect.yieldNow, { until: condition })

/** A listener, and how a peer of an address connects to it. */
const listenerWith = Effect.fnUntraced(function* (
  limits: Partial<RpcLimits>,
  tokens: ReadonlyArray<Token> = []
) {
  const context = yield* Layer.build(
    connections.layer.pipe(
      Layer.provide(guard({ tokens })),
      Layer.provide(RpcSerialization.layerNdjson),
      Layer.provide(Layer.succeed(RpcConfig, { ...defaultRpcLimits, ...limits }))
    )
  )
  const { serve } = Context.get(context, connections.Connections)
  return Effect.fnUntraced(function* (address: string) {
    const socket = new NetSocket()
    let bytesRead = 0
    Object.defineProperty(socket, "bytesRead", { get: () => bytesRead })
    let give: ((text: string) => void) | undefined
    const pull = Effect.callback<readonly [string]>((resume) => {
      give = (text) => {
        give = undefined
        resume(Effect.succeed([text]))
      }
    })
    const faked = Socket.make({
      reader: Effect.succeed({ pull, upgrade: () => Effect.void }),
      writer: Effect.succeed({
        write: (chunk) => Effect.sync(() => void (Socket.isCloseEvent(chunk) && socket.destroy())),
        writeAll: () => Effect.void
      })
    })
    let isServed = true
    const serving = Effect.ensuring(
      Effect.scoped(serve(faked, { peer: address, socket })),
      Effect.sync(() => {
        isServed = false
      })
    )
    yield* Effect.forkScoped(serving)
    const isOpen = () => isServed && !socket.destroyed
    const isRead = until(() => give !== undefined || !isOpen())
    yield* isRead
    return {
      isOpen,
      /** Until it is read, or the connection closed. */
      send: (text: string) =>
        Effect.suspend(() => {
          bytesRead += text.length
          give?.(text)
          return isRead
        }),
      /** Bytes of a message that a WebSocket hands on once it has all of it. */
      sendBeneath: (bytes: number) => {
        bytesRead += bytes
      }
    }
  })
})

const half = '{"_tag":"Ping","filler":"'
const otherHalf = '"}\n'
const part = (ofMib: number) => "x".repeat(ofMib * mib)
const call = (headers: ReadonlyArray<[string, string]> = []) =>
  `${JSON.stringify({ _tag: "Request", id: 1, tag: "stats", payload: null, headers })}\n`

it.effect(
  "closes of the peer that holds most the connection that holds most, not one that sends its message in pieces",
  () =>
    Effect.gen(function* () {
      const meet = yield* listenerWith(limits)
      const honest = yield* meet("honest")
      const greedy = yield* Effect.replicateEffect(meet("greedy"), 16)
      for (const one of [honest, ...greedy]) yield* one.send(call())
      for (const one of greedy) yield* one.send(part(0.5))
      // Its message alone is larger than each of theirs.
      yield* honest.send(half + part(1))
      yield* honest.send(part(0.5))
      assert.isTrue(honest.isOpen())
      yield* honest.send(otherHalf)
      assert.isTrue(honest.isOpen())
      assert.lengthOf(
        greedy.filter(({ isOpen }) => isOpen()),
        12
      )
    }).pipe(Effect.provide(quiet))
)

it.effect("leaves room for callers beside those of which no call was admitted", () =>
  Effect.gen(function* () {
    const meet = yield* listenerWith(limits, [token("shop", ["read"])])
    // Behind a proxy they have one address.
    const shop = yield* meet("a proxy")
    yield* shop.send(call([["authorization", "Bearer secret-shop"]]))
    const others = yield* Effect.replicateEffect(meet("a proxy"), 40)
    for (const one of others) {
      yield* one.send(call([["authorization", "Bearer guessed"]]))
      yield* one.send(part(0.5))
    }
    yield* shop.send(half + part(3))
    yield* shop.send(otherHalf)
    assert.isTrue(shop.isOpen())
    assert.lengthOf(
      others.filter(({ isOpen }) => isOpen()),
      8
    )
  }).pipe(Effect.provide(quiet))
)

it.effect("counts what ends no message, not the messages before it in one piece", () =>
  Effect.gen(function* () {
    const meet = yield* listenerWith(limits)
    const pings = `${half}${part(2)}${otherHalf}`
    const done = yield* Effect.replicateEffect(meet("a peer"), 8)
    for (const one of done) yield* one.send(pings)
    assert.isTrue(done.every(({ isOpen }) => isOpen()))
    const holding = yield* Effect.replicateEffect(meet("another peer"), 8)
    for (const one of holding) yield* one.send(pings + part(2))
    assert.lengthOf(
      holding.filter(({ isOpen }) => isOpen()),
      2
    )
  }).pipe(Effect.provide(quiet))
)

it.effect.each([
  ["as it comes", false],
  ["once it is whole, as by a WebSocket", true]
] as const)(
  "keeps for some minutes a connection whose message comes slowly and is handed on %s",
  ([, isBeneath]) =>
    Effect.gen(function* () {
      const meet = yield* listenerWith({ idleMs: 60_000, messageMs: 300_000 })
      const [slow, endless, silent] = [yield* meet("slow"), yield* meet("endless"), yield* meet("silent")]
      const sendOn = (peer: typeof slow) =>
        isBeneath ? Effect.sync(() => peer.sendBeneath(10)) : peer.send("x")
      if (!isBeneath) yield* slow.send(half)
      for (let passedMs = 0; passedMs < 270_000; passedMs += 30_000) {
        for (const one of [slow, endless]) yield* sendOn(one)
        yield* TestClock.adjust(30_000)
      }
      assert.isTrue(slow.isOpen())
      assert.isTrue(endless.isOpen())
      assert.isFalse(silent.isOpen())
      yield* slow.send(isBeneath ? half + otherHalf : otherHalf)
      for (const _ of ["beyond five minutes", "and then some"]) {
        for (const one of [slow, endless]) yield* sendOn(one)
        yield* TestClock.adjust(30_000)
      }
      assert.isTrue(slow.isOpen(), "it is at its next message")
      assert.isFalse(endless.isOpen())
    }).pipe(Effect.provide(quiet))
)

it.effect("counts what a WebSocket keeps of a message until it has all of it", () =>
  Effect.gen(function* () {
    const meet = yield* listenerWith(limits)
    const peers = yield* Effect.forEach(["a", "b", "c"], meet)
    for (const one of peers) one.sendBeneath(1.9 * mib)
    yield* TestClock.adjust(2_000)
    assert.lengthOf(
      peers.filter(({ isOpen }) => isOpen()),
      2
    )
  }).pipe(Effect.provide(quiet))
)
