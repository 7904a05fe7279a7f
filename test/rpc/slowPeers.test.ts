/** A peer of RPC that reads nothing or slowly, by TCP and by WebSocket: what waits for it is bounded, and who takes something is not cut. */
import { connect as dial, type Socket } from "node:net"
import { NodeWS } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Schedule } from "effect"
import { elapsedMsUnsafe } from "../../src/infra/config/Elapsed.ts"
import { Ledger } from "../../src/Ledger.ts"
import type { RpcLimits } from "../../src/rpc/server/RpcLimits.ts"
import { patientLimits } from "../support/callers.ts"
import { open } from "../support/ledgerWorld.ts"
import { connect, memoryLedger, openTcp, openWebSocket } from "../support/rpcWorld.ts"

/** Calls that are answered with about 130 kB each. */
const callsFrom = (first: number, calls: number): string =>
  Array.from(
    { length: calls },
    (_, nth) =>
      `{"_tag":"Request","id":${first + nth},"tag":"history","payload":{"account":"read","limit":300},"headers":[]}\n`
  ).join("")

/** A peer that reads nothing until it is resumed. */
interface Peer {
  readonly send: (text: string) => void
  readonly pause: () => void
  readonly resume: () => void
  readonly onData: (take: (text: Buffer) => void) => void
  readonly onClose: (end: () => void) => void
  readonly close: () => void
}

const kinds = [
  {
    name: "by TCP",
    serve: openTcp,
    meet: (url: string): Promise<Peer> =>
      new Promise((resolve) => {
        const socket: Socket = dial(Number(new URL(url).port), "127.0.0.1")
        socket.pause().on("error", () => {})
        socket.once("connect", () =>
          resolve({
            send: (text) => socket.write(text),
            pause: () => socket.pause(),
            resume: () => socket.resume(),
            onData: (take) => socket.on("data", take),
            onClose: (end) => socket.once("close", end),
            close: () => socket.destroy()
          })
        )
      })
  },
  {
    name: "by WebSocket",
    serve: openWebSocket,
    meet: (url: string): Promise<Peer> =>
      new Promise((resolve) => {
        const socket = new NodeWS.WebSocket(url)
        socket.on("error", () => {})
        socket.once("open", () => {
          socket.pause()
          resolve({
            send: (text) => socket.send(text, () => {}),
            pause: () => socket.pause(),
            resume: () => socket.resume(),
            onData: (take) => socket.on("message", take),
            onClose: (end) => socket.once("close", end),
            close: () => socket.terminate()
          })
        })
      })
  }
] as const

const begin = Effect.fnUntraced(function* (
  kind: (typeof kinds)[number],
  stuckMs: number,
  further: Partial<RpcLimits> = {}
) {
  const ledger = yield* Ledger
  yield* Effect.ignore(ledger.dispatch(open("read")))
  yield* ledger.dispatchMany(
    Array.from(
      { length: 300 },
      (_, nth) =>
        ({
          _tag: "Deposit",
          account: "read",
          amount: 1n,
          description: "x".repeat(200),
          commandId: `read-${nth}`
        }) as const
    )
  )
  const asked = { pages: 0 }
  const counting: Ledger["Service"] = {
    ...ledger,
    history: (account) => {
      asked.pages++
      return ledger.history(account)
    }
  }
  const limits = { stuckMs, inFlightPerConnectionMax: 100, ...further }
  const { port } = yield* kind.serve({ format: "ndjson", limits, ledger: counting })
  const url = kind.name === "by TCP" ? `tcp://127.0.0.1:${port}` : `ws://127.0.0.1:${port}/rpc`
  const peer = yield* Effect.acquireRelease(
    Effect.promise(() => kind.meet(url)),
    ({ close }) => Effect.sync(close)
  )
  return { asked, peer, url }
})

layer(memoryLedger, { excludeTestServices: true })("a peer of RPC", (it) => {
  it.effect.each(kinds)(
    "$name that goes on calling and reads nothing is made few answers, and is ended",
    (kind) =>
      Effect.scoped(
        Effect.gen(function* () {
          const { asked, peer } = yield* begin(kind, 2_000)
          let isClosed = false
          peer.onClose(() => {
            isClosed = true
          })
          let sent = 0
          yield* Effect.suspend(() => {
            peer.send(callsFrom(sent, 20))
            sent += 20
            return isClosed || asked.pages > 300 ? Effect.void : Effect.fail("not ended yet")
          }).pipe(Effect.retry({ schedule: Schedule.spaced(50) }))
          assert.isBelow(asked.pages, 300, "answers that were made for a peer that takes none")
        })
      )
  )

  it.effect.each(kinds)(
    "$name that leaves more answers waiting than all may is ended, and no other is",
    (kind) =>
      Effect.scoped(
        Effect.gen(function* () {
          // It would have minutes to take something, and hundred answers come to thirteen times as much.
          const { peer, url } = yield* begin(kind, 600_000, { answersBytesMax: 1_000_000 })
          const way = yield* connect({ urls: [url], format: "ndjson", limits: patientLimits })
          let isClosed = false
          peer.onClose(() => {
            isClosed = true
          })
          peer.send(callsFrom(0, 100))
          yield* Effect.suspend(() => {
            peer.send(`{"_tag":"Ping"}\n`)
            return isClosed ? Effect.void : Effect.fail("not ended yet")
          }).pipe(Effect.retry({ schedule: Schedule.spaced(50) }))
          // What waited for it waits no more, and others have the room.
          for (let n = 0; n < 20; n++) assert.isNotEmpty(yield* way.ledger.history("read"))
          assert.isTrue(way.client.nodes().every(({ isConnected }) => isConnected))
        })
      )
  )

  it.effect.each(kinds)(
    "$name that reads steadily gets all answers, though for long less than the kernel tells",
    (kind) =>
      Effect.scoped(
        Effect.gen(function* () {
          const clock = yield* Clock.Clock
          const stuckMs = 2_000
          const { peer } = yield* begin(kind, stuckMs)
          const begun = elapsedMsUnsafe(clock)
          const answers = yield* Effect.callback<number>((resume) => {
            let [answers, bytes] = [0, 0]
            peer.onClose(() => resume(Effect.succeed(answers)))
            peer.onData((data) => {
              bytes += data.length
              // One a line.
              for (const byte of data) if (byte === 10) answers++
              if (answers === 100) return resume(Effect.succeed(answers))
              const passedMs = elapsedMsUnsafe(clock) - begun
              const aheadMs = bytes / 400 - passedMs
              if (passedMs > 3 * stuckMs || aheadMs <= 0) return
              peer.pause()
              setTimeout(peer.resume, Math.min(aheadMs, stuckMs / 8))
            })
            peer.send(callsFrom(0, 100))
            peer.resume()
          })
          assert.strictEqual(answers, 100)
        })
      )
  )
})
