/** What a client is answered when connections break, and when nodes restart, freeze or close. */
import { readFileSync } from "node:fs"
import { createConnection, createServer, type Socket as NetSocket } from "node:net"
import { createServer as createTlsServer } from "node:tls"
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, Result } from "effect"
import {
  AccountNotActive,
  AccountNotFound,
  type CommandError,
  CommandIdReused,
  HoldClosed,
  HoldExpired,
  Unavailable
} from "../../src/domain/Errors.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import { Ledger } from "../../src/Ledger.ts"
import { connectLedger } from "../../src/rpc/client/connectLedger.ts"
import { patientLimits } from "../support/callers.ts"
import { deposit, open, outcomeOf, transfer } from "../support/ledgerWorld.ts"
import { connect, memoryLedger, openTcp, openWebSocket, token } from "../support/rpcWorld.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { until } from "../support/waiting.ts"

type Service = Ledger["Service"]

/** A ledger whose commands wait for a latch after they took effect, so that their answers are lost when the server closes. */
const held = Effect.fnUntraced(function* (inside: Service) {
  const gate = yield* Deferred.make<void>()
  const arrived: Array<string> = []
  const ledger: Service = {
    ...inside,
    dispatch: (command) =>
      inside.dispatch(command).pipe(
        Effect.tap(({ commandId }) => {
          arrived.push(commandId)
          return Deferred.await(gate)
        })
      )
  }
  return { ledger, gate, arrived }
})

/** Takes connections and says nothing: what the kernel does for a stopped process. */
const frozenNode = Effect.acquireRelease(
  Effect.promise(
    () =>
      new Promise<{ port: number; accepted: () => number; close: () => void }>((resolve) => {
        const sockets = new Set<NetSocket>()
        const server = createServer((socket) => sockets.add(socket.on("error", () => {})))
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          const port = typeof address === "object" && address !== null ? address.port : 0
          resolve({
            port,
            accepted: () => sockets.size,
            close: () => {
              for (const socket of sockets) socket.destroy()
              server.close()
            }
          })
        })
      })
  ),
  ({ close }) => Effect.sync(close)
)

/** Forwards to a node whose answers come 50 bytes a millisecond, as over a slow line. */
const slowLine = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<{ port: number; connections: () => number; close: () => void }>((resume) => {
      const ends: Array<() => void> = []
      const server = createServer((near) => {
        const far = createConnection(port, "127.0.0.1")
        let waiting = Buffer.alloc(0)
        const timer = setInterval(() => {
          near.write(waiting.subarray(0, 500))
          waiting = waiting.subarray(500)
        }, 10)
        const end = () => {
          clearInterval(timer)
          near.destroy()
          far.destroy()
        }
        ends.push(end)
        far.on("data", (bytes) => {
          waiting = Buffer.concat([waiting, bytes])
        })
        near.pipe(far)
        for (const socket of [near, far]) socket.on("error", end).on("close", end)
      })
      const close = () => {
        for (const end of ends) end()
        server.close()
      }
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const own = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ port: own, connections: () => ends.length, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const pem = (name: string) => readFileSync(new URL(`./certificates/${name}`, import.meta.url), "utf8")

/** Takes what it is sent at 6 MB a second, as over a slow line, and says nothing. */
const slowTaker = (isSecure: boolean) =>
  Effect.acquireRelease(
    Effect.callback<{ port: number; accepted: () => number; taken: () => number; close: () => void }>(
      (resume) => {
        const ends: Array<() => void> = []
        let taken = 0
        const take = (socket: NetSocket) => {
          let left = 0
          const timer = setInterval(() => {
            left = 300_000
            socket.resume()
          }, 50)
          socket.on("error", () => {}).on("close", () => clearInterval(timer))
          socket.on("data", (bytes) => {
            taken += bytes.length
            left -= bytes.length
            if (left <= 0) socket.pause()
          })
          ends.push(() => socket.destroy())
        }
        const tls = { cert: pem("server.pem"), key: pem("server.key") }
        const server = isSecure ? createTlsServer(tls, take) : createServer(take)
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          const port = typeof address === "object" && address !== null ? address.port : 0
          const close = () => {
            for (const end of ends) end()
            server.close()
          }
          resume(Effect.succeed({ port, accepted: () => ends.length, taken: () => taken, close }))
        })
      }
    ),
    ({ close }) => Effect.sync(close)
  )

layer(memoryLedger, { excludeTestServices: true })("a client", (it) => {
  it.effect("gets the outcome of a command whose connection was cut after the commit from another node", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("cut"))
        const { ledger, arrived } = yield* held(inside)
        const first = yield* openTcp({ ledger, limits: { drainMs: 1 } })
        const way = yield* connect({ urls: [first.url] })
        const call = yield* Effect.forkChild(way.ledger.dispatch(deposit("cut", 7n)))
        yield* until("the command took effect", () => arrived.length === 1)
        yield* first.stop
        yield* openTcp({ port: first.port })
        const receipt: Receipt = yield* Fiber.join(call)
        assert.isTrue(receipt.replayed)
        assert.strictEqual(receipt.commandId, arrived[0])
        assert.strictEqual((yield* inside.strongBalance("cut")).balance, 7n)
      })
    )
  )

  it.effect("gets Indeterminate for a command that was sent, Unavailable for one that was not", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { ledger, arrived } = yield* held(yield* Ledger)
        yield* ledger.strongBalance("unknown").pipe(Effect.ignore)
        const door = yield* openTcp({ ledger, limits: { drainMs: 1 } })
        const limits = { commandDeadlineMs: 400, queryDeadlineMs: 100 }
        const way = yield* connect({ urls: [door.url], limits })
        yield* way.client.awaitConnected
        const call = yield* Effect.forkChild(
          Effect.flip(
            way.ledger.dispatch({ ...open("unknown"), commandId: "lost" } as Parameters<
              Service["dispatch"]
            >[0])
          ) // an OpenAccount
        )
        yield* until("the command took effect", () => arrived.length === 1)
        yield* door.stop
        assert.deepInclude(yield* Fiber.join(call), { _tag: "Indeterminate", commandId: "lost" })
        // Until the client has noticed the end of its connection, it sends.
        yield* until("the client is not connected", () =>
          way.client.nodes().every((node) => !node.isConnected)
        )
        const unsent = yield* Effect.flip(way.ledger.dispatch(deposit("unknown", 1n)))
        assert.strictEqual(unsent._tag, "Unavailable")
        assert.include(unsent.message, "nothing was done")
        assert.strictEqual((yield* Effect.flip(way.ledger.strongBalance("unknown")))._tag, "Unavailable")
        const [one, two] = yield* way.ledger.dispatchMany([deposit("unknown", 1n), deposit("unknown", 1n)])
        for (const result of [one, two])
          assert.strictEqual(result && Result.isFailure(result) ? result.failure._tag : "done", "Unavailable")
      })
    )
  )

  it.effect("gets Indeterminate for a reversal under the id by which its outcome is found", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const silent = yield* openTcp({
          ledger: { ...inside, dispatch: () => Effect.never, dispatchMany: () => Effect.never },
          limits: { drainMs: 1 }
        })
        const way = yield* connect({ urls: [silent.url], limits: { commandDeadlineMs: 300 } })
        yield* way.client.awaitConnected
        const reversal = { _tag: "Reverse", original: "paid", n: 2, reason: "returned" } as const
        const [alone, [inBatch]] = yield* Effect.all(
          [Effect.flip(way.ledger.dispatch(reversal)), way.ledger.dispatchMany([reversal])],
          { concurrency: 2 }
        )
        const wanted = { _tag: "Indeterminate", commandId: "~r2~paid" } as const
        assert.deepInclude(alone, wanted)
        assert.deepInclude(inBatch && Result.isFailure(inBatch) ? inBatch.failure : {}, wanted)
      })
    )
  )

  it.effect("is told no refusal of a second sending that the first may still make false", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        let arrived = 0
        /** Keeps every command, which it may carry out at any time. */
        const silent = Effect.andThen(
          Effect.sync(() => arrived++),
          Effect.never
        )
        const behind = { ...inside, dispatch: () => silent, dispatchMany: () => silent }
        const first = yield* openTcp({ ledger: behind, limits: { drainMs: 1 } })
        // Long enough for a busy machine to connect to the second door; "never" is waited for until then.
        const way = yield* connect({ urls: [first.url], limits: { commandDeadlineMs: 8_000 } })
        const send = (commandId: string) =>
          Effect.forkChild(Effect.result(way.ledger.dispatch({ ...deposit("lost:a", 1n), commandId })))
        const short = new AccountNotFound({ account: "lost:a" })
        const closed = new AccountNotActive({ account: "lost:a", status: "closed" })
        const hold = { account: "lost:a", hold: "h" }
        /** By the clock of a node, which that of the next may be behind. */
        const expired = new HoldExpired({ ...hold, expiredAt: 1 })
        const refusals = new Map<string, CommandError>([
          ["closed", closed],
          ["reused", new CommandIdReused({ commandId: "reused" })],
          ["captured", new HoldClosed({ ...hold, how: "captured", at: 1 })],
          ["expired", expired],
          // The log was not searched up to its end, where the hold may be open.
          ["unsearched", new HoldClosed(hold)]
        ])
        const single = yield* Effect.forEach(["later", "never", ...refusals.keys()], send)
        const batch = yield* Effect.forkChild(
          way.ledger.dispatchMany(
            ["b-0", "b-1", "b-2"].map((commandId) => ({ ...deposit("lost:a", 1n), commandId }))
          )
        )
        yield* until("all have arrived", () => arrived === 8)
        yield* first.stop
        const receipt = { ...(yield* inside.dispatch(open("lost:b"))), replayed: true }
        let asked = 0
        const second: Service = {
          ...inside,
          dispatch: ({ commandId }) => {
            if (commandId === "later" && ++asked > 2) return Effect.succeed(receipt)
            return Effect.fail(refusals.get(`${commandId}`) ?? short)
          },
          dispatchMany: () => Effect.succeed([short, closed, expired].map(Result.fail))
        }
        yield* openTcp({ port: first.port, ledger: second })
        const told = yield* Effect.forEach(single, Fiber.join)
        assert.deepStrictEqual([...told, ...(yield* Fiber.join(batch))].map(outcomeOf), [
          "Replayed",
          "Indeterminate",
          "AccountNotActive",
          "CommandIdReused",
          "HoldClosed",
          "Indeterminate",
          "Indeterminate",
          "Indeterminate",
          "AccountNotActive",
          "Indeterminate"
        ])
      })
    )
  )

  it.effect(
    "gets Indeterminate in a batch where a second node did nothing and the first was not heard again",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          let arrived = 0
          const silent = yield* openTcp({
            ledger: {
              ...inside,
              dispatchMany: () =>
                Effect.andThen(
                  Effect.sync(() => arrived++),
                  Effect.never
                )
            },
            limits: { drainMs: 1 }
          })
          const way = yield* connect({ urls: [silent.url] })
          const call = yield* Effect.forkChild(
            way.ledger.dispatchMany([{ ...deposit("batch", 1n), commandId: "b-1" }])
          )
          yield* until("the batch arrived", () => arrived === 1)
          yield* silent.stop
          const moving = new Unavailable({ what: "account batch", reason: "it is moving" })
          yield* openTcp({
            port: silent.port,
            ledger: { ...inside, dispatchMany: () => Effect.succeed([Result.fail(moving)]) }
          })
          const [result] = yield* Fiber.join(call)
          assert.deepInclude(result && Result.isFailure(result) ? result.failure : {}, {
            _tag: "Indeterminate",
            commandId: "b-1"
          })
        })
      )
  )

  it.effect(
    "gets Indeterminate in a batch that is refused after a node ended the call without an answer",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          let sent = 0
          const short = new AccountNotFound({ account: "batch" })
          const { url } = yield* openTcp({
            ledger: {
              ...inside,
              dispatchMany: () =>
                Effect.suspend(() => (++sent === 1 ? Effect.interrupt : Effect.succeed([Result.fail(short)])))
            }
          })
          const way = yield* connect({ urls: [url], limits: { batchMax: 1 } })
          const results = yield* way.ledger.dispatchMany(
            ["b-2", "b-3"].map((commandId) => ({ ...deposit("batch", 1n), commandId }))
          )
          // The second one is not sent, as the first may still be done behind it.
          assert.deepStrictEqual([results.map(outcomeOf), sent], [["Indeterminate", "Unavailable"], 2])
        })
      )
  )

  it.effect(
    "is told at once what a question is refused for, also where an earlier sending of it was lost",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          yield* inside.dispatch(open("asked"))
          let asked = 0
          const strongBalance = () =>
            Effect.andThen(
              Effect.sync(() => void asked++),
              Effect.never
            )
          const first = yield* openTcp({ ledger: { ...inside, strongBalance }, limits: { drainMs: 1 } })
          const way = yield* connect({ urls: [first.url], limits: patientLimits })
          const call = yield* Effect.forkChild(Effect.flip(way.ledger.strongBalance("asked")))
          yield* until("the question was asked", () => asked === 1)
          yield* first.stop
          yield* openTcp({ port: first.port, tokens: [token("reader", ["read"])] })
          assert.strictEqual((yield* Fiber.join(call))._tag, "Unauthenticated")
        })
      )
  )

  it.effect("interrupts a call on the node when it gives it up, and keeps the connection", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const interrupted = yield* Deferred.make<void>()
        const begun = yield* Deferred.make<void>()
        const ledger: Service = {
          ...inside,
          strongBalance: () =>
            Effect.onInterrupt(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never), () =>
              Deferred.succeed(interrupted, undefined)
            )
        }
        const { url } = yield* openTcp({ ledger })
        const way = yield* connect({ urls: [url] })
        const call = yield* Effect.forkChild(way.ledger.strongBalance("any"))
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(call)
        yield* Deferred.await(interrupted)
        assert.isAtLeast((yield* way.ledger.stats).committed, 0)
        const late = yield* connect({ urls: [url], limits: { queryDeadlineMs: 50 } })
        assert.strictEqual((yield* Effect.flip(late.ledger.strongBalance("any")))._tag, "Unavailable")
      })
    )
  )

  it.effect("that is killed has its calls interrupted, and its connection is forgotten", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        let running = 0
        const ledger: Service = {
          ...inside,
          strongBalance: () =>
            Effect.suspend(() => {
              running++
              return Effect.ensuring(
                Effect.never,
                Effect.sync(() => running--)
              )
            })
        }
        const { url } = yield* openTcp({ ledger })
        const way = yield* connect({ urls: [url] })
        yield* Effect.forkChild(Effect.ignoreCause(way.ledger.strongBalance("any")))
        yield* until("the call runs", () => running === 1)
        yield* way.stop
        yield* until("the call has ended", () => running === 0)
      })
    )
  )

  it.effect("spreads its calls over nodes, and returns to a node that was closed", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const counts = [0, 0]
        const counting = (n: number): Service => ({
          ...inside,
          stats: Effect.tap(inside.stats, () => {
            counts[n] = (counts[n] ?? 0) + 1
            return Effect.void
          })
        })
        const a = yield* openTcp({ ledger: counting(0) })
        const b = yield* openTcp({ ledger: counting(1) })
        // Rare pings: on a busy machine a node that answers late must not count as frozen.
        const way = yield* connect({ urls: [a.url, b.url], limits: { pingMs: 60_000 } })
        const connected = () => way.client.nodes().filter(({ isConnected }) => isConnected).length
        const ask = Effect.repeat(way.ledger.stats, { times: 9 })
        yield* until("both are connected", () => connected() === 2)
        yield* ask
        assert.deepEqual(counts, [5, 5])
        yield* b.stop
        yield* until("one is left", () => connected() === 1)
        yield* ask
        assert.deepEqual(counts, [15, 5])
        yield* openTcp({ ledger: counting(1), port: b.port })
        yield* until("it is back", () => connected() === 2)
        yield* ask
        assert.deepEqual(counts, [20, 10])
      })
    )
  )

  it.effect("asks another node when one answers Unavailable", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const closing: Service = {
          ...inside,
          dispatch: () => Effect.fail(new Unavailable({ what: "this node", reason: "it is closing" }))
        }
        const a = yield* openTcp({ ledger: closing })
        const b = yield* openTcp()
        const both = yield* connect({ urls: [a.url, b.url] })
        yield* until("both are connected", () => both.client.nodes().every(({ isConnected }) => isConnected))
        for (const account of ["turned:1", "turned:2"])
          assert.isFalse((yield* both.ledger.dispatch(open(account))).replayed)
        const alone = yield* connect({ urls: [a.url] })
        assert.strictEqual((yield* Effect.flip(alone.ledger.dispatch(open("turned:3"))))._tag, "Unavailable")
      })
    )
  )

  it.effect("leaves a frozen node once a ping is not answered", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const frozen = yield* frozenNode
        const good = yield* openTcp()
        const urls = [`tcp://127.0.0.1:${frozen.port}`, good.url]
        const way = yield* connect({ urls, limits: { pingMs: 100 } })
        yield* until("both are connected", () => way.client.nodes().every(({ isConnected }) => isConnected))
        const receipts = yield* Effect.all(
          [way.ledger.dispatch(open("frozen:1")), way.ledger.dispatch(open("frozen:2"))],
          {
            concurrency: 2
          }
        )
        assert.lengthOf(receipts, 2)
      })
    )
  )

  it.effect.each([
    ["TCP", () => openTcp(), (port: number) => `tcp://127.0.0.1:${port}`],
    ["a WebSocket", () => openWebSocket(), (port: number) => `ws://127.0.0.1:${port}/rpc`]
  ] as const)(
    "keeps the connection over which a large answer comes slowly, however long it takes, over %s",
    ([name, openDoor, urlOf]) =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          const count = 600
          const account = `large:${name.length}`
          yield* inside.dispatch(open(account))
          yield* inside.dispatchMany(
            Array.from({ length: count - 1 }, () => ({
              ...deposit(account, 1n),
              description: "x".repeat(200)
            }))
          )
          const line = yield* slowLine((yield* openDoor()).port)
          const limits = { ...patientLimits, pingMs: 1_000 }
          const way = yield* connect({ urls: [urlOf(line.port)], limits })
          assert.lengthOf(yield* way.ledger.history(account, { limit: count }), count)
          assert.strictEqual(line.connections(), 1)
        })
      )
  )

  it.effect.each(["tcp", "tls"] as const)(
    "keeps the connection by which what it sends leaves slowly, over %s",
    (scheme) =>
      Effect.scoped(
        Effect.gen(function* () {
          const taker = yield* slowTaker(scheme === "tls")
          const way = yield* connect({
            urls: [`${scheme}://127.0.0.1:${taker.port}`],
            ca: pem("ledger-ca.pem"),
            limits: { ...patientLimits, pingMs: 1_000 }
          })
          // Few and large, so that the client itself has little to do.
          const metadata = Object.fromEntries(
            Array.from({ length: 16 }, (_, nth) => [`${nth}`.padEnd(64, "k"), "x".repeat(256)])
          )
          const commands = Array.from({ length: 180 }, () => ({ ...deposit("slow:1", 1n), metadata }))
          const calls = yield* Effect.forkChild(
            Effect.replicateEffect(way.ledger.dispatchMany(commands), 25, { concurrency: "unbounded" })
          )
          // Which takes longer than silence may last.
          yield* until("it took most of it", () => taker.taken() > 18_000_000 || taker.accepted() > 1)
          assert.strictEqual(taker.accepted(), 1)
          yield* Fiber.interrupt(calls)
        })
      )
  )

  it.effect.each(["tcp", "ws"] as const)("says of a frozen node that it is silent, by %s", (scheme) =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* Effect.ignore(inside.dispatch(open("silent")))
        const { port } = yield* scheme === "tcp" ? openTcp() : openWebSocket()
        // It was there, and stands still now.
        const line = yield* tcpProxy("127.0.0.1", port)
        const limits = { pingMs: 300, queryDeadlineMs: 5_000 }
        const way = yield* connect({ urls: [`${scheme}://127.0.0.1:${line.port}/rpc`], limits })
        assert.strictEqual((yield* way.ledger.strongBalance("silent")).balance, 0n)
        line.hold()
        const refused = yield* Effect.flip(way.ledger.stats)
        assert.deepInclude(refused, { _tag: "Unavailable", reason: "the peer is silent" })
        line.forward()
        yield* until("it is connected again", () =>
          way.client.nodes().every(({ isConnected }) => isConnected)
        )
        assert.strictEqual((yield* way.ledger.strongBalance("silent")).balance, 0n)
      })
    )
  )

  it.effect("says of a frozen node that it is silent", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const frozen = yield* frozenNode
        const limits = { pingMs: 300, queryDeadlineMs: 5_000 }
        const way = yield* connect({ urls: [`tcp://127.0.0.1:${frozen.port}`], limits })
        const refused = yield* Effect.flip(way.ledger.stats)
        assert.deepInclude(refused, { _tag: "Unavailable", reason: "the peer is silent" })
      })
    )
  )

  it.effect("leaves a frozen node whose buffers are full, so that no ping gets through", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const frozen = yield* frozenNode
        const way = yield* connect({ urls: [`tcp://127.0.0.1:${frozen.port}`], limits: { pingMs: 300 } })
        // Megabytes, more than the kernel takes for a process that does not read.
        const commands = Array.from({ length: 1_000 }, () => deposit("frozen:3", 1n))
        const calls = yield* Effect.forkChild(
          Effect.replicateEffect(way.ledger.dispatchMany(commands), 200, { concurrency: "unbounded" })
        )
        // The first connection may get a ping through before it is full; the next is full at once.
        yield* until("it is left and tried again twice", () => frozen.accepted() > 2)
        yield* Fiber.interrupt(calls)
      })
    )
  )

  it.effect("gets accepted commands answered by a node that closes", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("drained"))
        const { ledger, gate, arrived } = yield* held(inside)
        const door = yield* openTcp({ ledger })
        const way = yield* connect({ urls: [door.url], limits: { commandDeadlineMs: 20_000 } })
        const call = yield* Effect.forkChild(way.ledger.dispatch(deposit("drained", 1n)))
        yield* until("the command took effect", () => arrived.length === 1)
        const stopping = yield* Effect.forkChild(door.stop, { startImmediately: true })
        const refused = yield* Effect.flip(way.ledger.dispatch(deposit("drained", 1n)))
        assert.deepInclude(refused, { _tag: "Unavailable", reason: "it is closing" })
        yield* Deferred.succeed(gate, undefined)
        assert.isFalse((yield* Fiber.join(call)).replayed)
        yield* Fiber.join(stopping)
      })
    )
  )

  it.effect("without Effect that is closed has its subscriptions ended, and leaves no connection", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("ended:1"))
        const { port } = yield* openTcp()
        const way = yield* tcpProxy("127.0.0.1", port)
        const url = `tcp://127.0.0.1:${way.port}`
        const ledger = yield* Effect.promise(() => connectLedger({ url }))
        const [waiting, atRest] = [0, 1].map(() =>
          ledger.subscribe({ accountPrefix: "ended:" })[Symbol.asyncIterator]()
        )
        if (waiting === undefined || atRest === undefined) return assert.fail("two were made")
        yield* Effect.promise(async () => {
          for (const one of [waiting, atRest])
            assert.strictEqual((await one.next()).value?.account, "ended:1")
          assert.isAtLeast(way.connections(), 3)
          const step = waiting.next()
          await ledger.close()
          for (const one of [step, waiting.next(), atRest.next()]) assert.isTrue((await one).done)
          const late = await ledger
            .subscribe()
            [Symbol.asyncIterator]()
            .next()
            .catch((caught: unknown) => caught)
          assert.deepInclude(late, { _tag: "Unavailable", reason: "it is closed" })
        })
        yield* until("no connection is left", () => way.connections() === 0)
      })
    )
  )

  it.effect("without Effect gets promises, bigints and errors with a tag", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const tcp = yield* openTcp()
        const socket = yield* openWebSocket()
        yield* Effect.promise(async () => {
          for (const url of [tcp.url, socket.url]) {
            const ledger = await connectLedger({ url })
            const account = `plain:${url.slice(0, 2)}`
            await ledger.dispatch(open(account))
            const [result] = await ledger.dispatchMany([deposit(account, 3n)])
            assert.isTrue(result?.ok)
            const error = await ledger
              .dispatch(transfer(account, "plain:none", 1n))
              .catch((caught: unknown) => caught)
            assert.deepInclude(error, { _tag: "AccountNotFound", account: "plain:none" })
            assert.strictEqual((await ledger.strongBalance(account)).balance, 3n)
            assert.isTrue(Option.isNone(await ledger.transfer("none")))
            await ledger.close()
          }
          const nobody = await connectLedger({ url: "tcp://127.0.0.1:1", limits: { connectMs: 100 } }).catch(
            (caught: unknown) => caught
          )
          assert.deepInclude(nobody, { _tag: "Unavailable" })
          const nonsense = await connectLedger({ url: "http://127.0.0.1" }).catch((caught: unknown) => caught)
          assert.deepInclude(nonsense, { _tag: "LedgerUrlInvalid" })
        })
      })
    )
  )
})
