/** The port of the nodes under strangers: connections that are no node's are refused in time, and cost no memory or sockets afterwards. */
import { readFileSync } from "node:fs"
import * as Net from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { NodeSocketServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Clock,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Redacted,
  Result,
  Schema,
  type Scope
} from "effect"
import { RunnerAddress } from "effect/cluster"
import { SecureRandom } from "effect/crypto"
import { Rpc, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { SocketServer } from "effect/socket"
import * as ClusterSocket from "../../src/infra/cluster/ClusterSocket.ts"
import { makePeerConnection } from "../../src/infra/cluster/PeerConnection.ts"
import {
  HandshakeRefused,
  PeerProtocol,
  type ProtocolVersions,
  type RefusalReason
} from "../../src/infra/cluster/PeerHandshake.ts"
import { type ByteStream, handshakesMax, makeReception, PeerPort } from "../../src/infra/cluster/PeerPort.ts"
import { type ClusterSafeguards, ClusterSecurity } from "../../src/infra/config/ClusterSecurity.ts"
import { settable, standing } from "../support/settableClock.ts"
import { connect, connectAsNode, gigabyteFrame, nonsense, pinned, strangers } from "../support/strangers.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { eventually } from "../support/waiting.ts"

const pem = (name: string) => readFileSync(new URL(`../rpc/certificates/${name}`, import.meta.url), "utf8")
const tls = { cert: pem("server.pem"), key: Redacted.make(pem("server.key")), ca: pem("ledger-ca.pem") }
const otherTls = { ...tls, ca: pem("other-ca.pem") }
/** Its certificate is for the address 127.0.0.1, and for no name. */
const addressTls = {
  cert: pem("address.pem"),
  key: Redacted.make(pem("address.key")),
  ca: pem("address.pem")
}
const secret = Redacted.make("a secret of the tests")
/** Each has a server of its own, and most of the time is that of a handshake that does not end. */
const together = { concurrent: true }

interface Program {
  readonly security?: Partial<ClusterSafeguards>
  readonly versions?: ProtocolVersions
}

/** Everything of a program runs with its own secret, certificates and versions. */
const as =
  ({ security, versions }: Program) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.provideService(ClusterSecurity, { secret: undefined, tls: undefined, ...security }),
      Effect.provideService(PeerProtocol, versions ?? { min: 1, max: 1 })
    )

/** A node that says back what it hears on the data path, and counts who got in. */
const listen = (program: Program = {}, host = "127.0.0.1") =>
  Effect.gen(function* () {
    let accepted = 0
    const port = yield* PeerPort
    port.onAccept = (stream) =>
      Effect.gen(function* () {
        accepted++
        for (;;) for (const bytes of yield* stream.pull) yield* stream.write(bytes)
      }).pipe(Effect.ignore)
    const receive = yield* makeReception
    const server = yield* NodeSocketServer.make({ host, port: 0, noDelay: true })
    yield* Effect.forkScoped(server.run((socket) => receive(socket, () => Effect.void)))
    const number = "port" in server.address ? server.address.port : 0
    return { address: RunnerAddress.make(host, number), accepted: () => accepted }
  }).pipe(as(program), Effect.provide(layer))

const layer = Layer.merge(PeerPort.layer(RunnerAddress.make("127.0.0.1", 1)), SecureRandom.layerWebCrypto)

const dial = (to: RunnerAddress.RunnerAddress, program: Program = {}) =>
  Effect.flatMap(PeerPort, (port) => port.dial(to)).pipe(as(program), Effect.provide(layer))

const says = Effect.fnUntraced(function* (stream: ByteStream, text: string) {
  yield* stream.write(Buffer.from(text))
  let heard = ""
  while (heard.length < text.length)
    for (const bytes of yield* stream.pull) heard += Buffer.from(bytes).toString()
  return heard
})

const refusalOf = (dialled: Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.map(Effect.flip(Effect.scoped(dialled)), (error) => {
    assert.instanceOf(error, HandshakeRefused)
    return error
  })

describe("two nodes", () => {
  const programs: ReadonlyArray<readonly [what: string, program: Program]> = [
    ["without safeguards", {}],
    ["with one secret", { security: { secret } }],
    ["with one secret and TLS of one authority", { security: { secret, tls } }],
    ["with a certificate for their address alone", { security: { secret, tls: addressTls } }]
  ]
  it.live.each(programs)("speak with each other %s", ([, program]) =>
    Effect.gen(function* () {
      const { address, accepted } = yield* listen(program)
      const stream = yield* dial(address, program)
      assert.strictEqual(stream.version, 1)
      const long = "x".repeat(200_000)
      for (const text of ["hello", long]) assert.strictEqual(yield* says(stream, text), text)
      assert.strictEqual(accepted(), 1)
    }).pipe(Effect.scoped)
  )

  it.live.each(programs)(
    "bear the reset of a connection that one gave up while the other stood still, %s",
    ([, program]) =>
      Effect.gen(function* () {
        const uncaught: Array<unknown> = []
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            const note = (error: unknown) => uncaught.push(error)
            process.on("uncaughtException", note)
            return note
          }),
          (note) => Effect.sync(() => process.off("uncaughtException", note))
        )
        const { address } = yield* listen(program)
        const proxy = yield* tcpProxy(address.host, address.port)
        yield* Effect.gen(function* () {
          const stream = yield* dial(RunnerAddress.make(address.host, proxy.port), program)
          assert.strictEqual(yield* says(stream, "hello"), "hello")
          proxy.hold()
          const writing = yield* Effect.forkScoped(stream.write(Buffer.alloc(64_000_000)), {
            startImmediately: true
          })
          assert.isUndefined(writing.pollUnsafe())
        }).pipe(Effect.scoped)
        proxy.reset()
        yield* eventually(
          "its ends are closed",
          Effect.sync(() => proxy.connections() === 0)
        )
        proxy.forward()
        const again = yield* dial(RunnerAddress.make(address.host, proxy.port), program)
        assert.strictEqual(yield* says(again, "hello"), "hello")
        assert.deepStrictEqual(uncaught, [])
      }).pipe(Effect.scoped)
  )

  it.live("do not where the certificate is for another address", () =>
    Effect.gen(function* () {
      const { address, accepted } = yield* listen({ security: { tls: addressTls } }, "127.0.0.2")
      const refusal = yield* refusalOf(dial(address, { security: { tls: addressTls } }))
      assert.strictEqual(refusal.reason, "TLS failed")
      assert.match(refusal.message, /127\.0\.0\.2/)
      assert.strictEqual(accepted(), 0)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  const anotherSecret = Redacted.make("another secret of them")
  const refusals: ReadonlyArray<
    readonly [what: string, listening: Program, dialling: Program, RefusalReason, RegExp]
  > = [
    [
      "two secrets",
      { security: { secret } },
      { security: { secret: anotherSecret } },
      "wrong secret",
      /CLUSTER_SECRET/
    ],
    [
      "a secret there alone",
      { security: { secret } },
      {},
      "safeguards differ",
      /SECRET is set on the other node/
    ],
    ["a secret here alone", {}, { security: { secret } }, "safeguards differ", /SECRET is set on this node/],
    ["TLS there alone", { security: { tls } }, {}, "safeguards differ", /CHRONICLE_CLUSTER_TLS_CERT/],
    ["two authorities", { security: { tls } }, { security: { tls: otherTls } }, "TLS failed", /TLS failed/],
    [
      "versions that end before the other's begin",
      { versions: { min: 1, max: 1 } },
      { versions: { min: 2, max: 3 } },
      "no common version",
      /speaks versions 1 to 1 of the nodes' protocol, this node 2 to 3/
    ],
    [
      "versions that begin after the other's end",
      { versions: { min: 4, max: 5 } },
      { versions: { min: 2, max: 3 } },
      "no common version",
      /upgrade one version at a time/
    ]
  ]
  it.live.each(refusals)("with %s do not", ([, listening, dialling, reason, words]) =>
    Effect.gen(function* () {
      const { address, accepted } = yield* listen(listening)
      const refusal = yield* refusalOf(dial(address, dialling))
      assert.strictEqual(refusal.reason, reason)
      assert.match(refusal.message, words)
      assert.strictEqual(accepted(), 0)
    }).pipe(Effect.scoped)
  )

  const upgrades: ReadonlyArray<readonly [ProtocolVersions, ProtocolVersions]> = [
    [
      { min: 1, max: 1 },
      { min: 1, max: 2 }
    ],
    [
      { min: 1, max: 2 },
      { min: 1, max: 1 }
    ]
  ]
  it.live.each(upgrades)(
    "of a later and an older version speak the older one: %j, %j",
    ([listening, dialling]) =>
      Effect.gen(function* () {
        const { address } = yield* listen({ versions: listening })
        assert.strictEqual((yield* dial(address, { versions: dialling })).version, 1)
      }).pipe(Effect.scoped)
  )
})

describe("the port of the nodes", () => {
  it.live("speaks with a node of the first version, however late its own is", () =>
    Effect.gen(function* () {
      const { address } = yield* listen({ security: { secret }, versions: { min: 1, max: 9 } })
      const heard = yield* connectAsNode(address, Redacted.value(secret), Buffer.from("hello"), {
        enough: pinned.helloBytes + pinned.verdictBytes + 5
      })
      const answer = heard.subarray(0, pinned.helloBytes)
      const verdict = heard.subarray(pinned.helloBytes, pinned.helloBytes + pinned.verdictBytes)
      const echo = heard.subarray(pinned.helloBytes + pinned.verdictBytes)
      assert.strictEqual(answer.toString("latin1", 0, 8), "CHRNODE\n")
      assert.deepEqual([...answer.subarray(8, 13)], [0, 1, 9, 1, 1])
      const proof = pinned.proof("listener", Redacted.value(secret), pinned.hello(1), answer)
      assert.deepEqual(verdict, Buffer.concat([Buffer.from([0]), proof]))
      assert.strictEqual(echo.toString(), "hello")
    }).pipe(Effect.scoped)
  )

  it.live.each(strangers)(
    "closes a connection that says %s, and lets no one in",
    ([, chunks, refusedFor]) =>
      Effect.gen(function* () {
        const lines: Array<string> = []
        const log = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
        yield* Effect.gen(function* () {
          const { address, accepted } = yield* listen({ security: { secret } })
          yield* connect(address, ...chunks)
          assert.strictEqual(accepted(), 0)
          yield* eventually(
            "the log says why",
            Effect.sync(() => lines.length > 0)
          )
        }).pipe(Effect.scoped, Effect.provide(log))
        assert.match(lines[0] ?? "", refusedFor)
      }),
    together
  )

  it.live("tells the log once in ten seconds how many were refused, and why", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const log = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
      const { clock, pass, set } = settable(standing(yield* Clock.Clock))
      yield* Effect.gen(function* () {
        const { address } = yield* Effect.provideService(listen(), Clock.Clock, clock)
        const refused = connect(address, Buffer.from("GET / HTTP/1.1\r\n\r\n"))
        for (let nth = 0; nth < 5; nth++) yield* refused
        // By time elapsed: a machine's clock that is set makes no line.
        set(3_600_000)
        pass(9_999)
        yield* refused
        assert.lengthOf(lines, 1)
        pass(1)
        yield* refused
        yield* refused
      }).pipe(Effect.scoped, Effect.provide(log))
      assert.lengthOf(lines, 2)
      const line = /refused a connection to the nodes' port from 127\.0\.0\.1:\d+: .*another program/
      for (const one of lines) assert.match(one, line)
      assert.notInclude(lines[0], "other connections")
      assert.include(lines[1], "(and 5 other connections since the last such line)")
    })
  )

  it.live("stands a thousand strangers, and its nodes do not notice", () =>
    Effect.gen(function* () {
      const { address } = yield* listen({ security: { secret } })
      const server = yield* dial(address, { security: { secret } })
      const kinds = strangers.map(([, chunks]) => chunks)
      let isOver = false
      const speaking = yield* Effect.forkChild(
        Effect.gen(function* () {
          let count = 0
          for (; !isOver || count < 10; count++) {
            assert.strictEqual(yield* says(server, `word ${count}`), `word ${count}`)
            yield* Effect.sleep(5)
          }
        })
      )
      const before = heapBytes()
      const count = 1_000
      let closed = 0
      const crowd = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: count }, (_, nth) => kinds[nth % kinds.length] ?? []),
          (chunks) => Effect.tap(connect(address, ...chunks), () => Effect.sync(() => closed++)),
          // More silent ones than there are places: the oldest give way.
          { concurrency: 2 * handshakesMax, discard: true }
        )
      )
      // Those that are left have a place each, until their time is over or they go.
      yield* eventually(
        "all but those that have a place are closed",
        Effect.sync(() => closed >= count - handshakesMax)
      )
      yield* Fiber.interrupt(crowd)
      isOver = true
      yield* Fiber.join(speaking)
      const late = yield* dial(address, { security: { secret } })
      assert.strictEqual(yield* says(late, "still here"), "still here")
      yield* eventually(
        "no connection of a stranger is left",
        Effect.sync(() => socketsOpen() <= 4)
      )
      assert.isBelow(heapBytes() - before, 20_000_000)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )
})

setFlagsFromString("--expose-gc")
const collect: unknown = runInNewContext("gc")

/** What is in use, without what only waits to be collected. */
const heapBytes = (): number => {
  if (typeof collect === "function") collect()
  return process.memoryUsage().heapUsed
}

/** TCP connections of this process, either end. */
const socketsOpen = (): number =>
  process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length

describe("a connection for Effect Cluster's own messages", () => {
  const served = Effect.fnUntraced(function* () {
    const opened = yield* Deferred.make<void>()
    const server = yield* SocketServer.SocketServer
    yield* server
      .run((socket) =>
        Effect.scoped(
          Effect.gen(function* () {
            const { pull } = yield* socket.reader
            yield* Deferred.succeed(opened, undefined)
            yield* Effect.forever(pull)
          })
        )
      )
      .pipe(Effect.forkScoped)
    const port = "port" in server.address ? server.address.port : 0
    return { place: { host: "127.0.0.1", port }, opened: Deferred.await(opened) }
  })
  const quietMs = 1_000
  const node = ClusterSocket.layerServer({ host: "127.0.0.1", port: 0 }, quietMs).pipe(
    Layer.provide([
      layer,
      RpcSerialization.layerSchemaBinary(),
      Layer.succeed(ClusterSecurity, { secret, tls: undefined })
    ]),
    Layer.provideMerge(Logger.layer([]))
  )

  it.live.each(nonsense)("is ended where a node that holds the secret says %s", ([, bytes]) =>
    Effect.gen(function* () {
      const { place, opened } = yield* served()
      const closed = yield* Effect.forkChild(
        connectAsNode(place, Redacted.value(secret), bytes, { purpose: 1 })
      )
      yield* opened
      assert.lengthOf(yield* Fiber.join(closed), pinned.helloBytes + pinned.verdictBytes)
    }).pipe(Effect.scoped, Effect.provide(node))
  )

  it.live("stays for as long as the node pings", () =>
    Effect.gen(function* () {
      const { place, opened } = yield* served()
      const serialization = yield* RpcSerialization.RpcSerialization
      const ping = Buffer.from(serialization.makeUnsafe().encode({ _tag: "Ping" }) ?? "")
      const closed = yield* Effect.forkChild(
        connectAsNode(place, Redacted.value(secret), ping, { purpose: 1, again: quietMs / 4 })
      )
      yield* opened
      yield* Effect.sleep(2 * quietMs)
      assert.isUndefined(closed.pollUnsafe())
    }).pipe(Effect.scoped, Effect.provide([node, RpcSerialization.layerSchemaBinary()]))
  )
})

describe("a node that dials", () => {
  const server = (onConnection: (socket: Net.Socket) => void) =>
    Effect.acquireRelease(
      Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
        const sockets = new Set<Net.Socket>()
        const made = Net.createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => {})
          onConnection(socket)
        })
        made.listen(0, "127.0.0.1", () => {
          const at = made.address()
          const close = () => {
            for (const socket of sockets) socket.destroy()
            made.close()
          }
          resume(Exit.succeed({ port: typeof at === "object" && at !== null ? at.port : 0, close }))
        })
      }),
      ({ close }) => Effect.sync(close)
    )

  const others: ReadonlyArray<readonly [what: string, (socket: Net.Socket) => void, RefusalReason]> = [
    ["repeats what it hears", (socket) => socket.pipe(socket), "not a node"],
    ["closes every connection", (socket) => socket.destroy(), "closed"],
    ["says a word and closes", (socket) => socket.end("no"), "not a node"],
    ["says something else", (socket) => socket.write("220 mail.example ESMTP\r\n"), "not a node"],
    ["says nothing", () => {}, "too slow"]
  ]
  it.live.each(others)(
    "is told by name when the program there %s",
    ([, onConnection, reason]) =>
      Effect.gen(function* () {
        const { port } = yield* server(onConnection)
        const refusal = yield* refusalOf(dial(RunnerAddress.make("127.0.0.1", port)))
        assert.strictEqual(refusal.reason, reason)
      }).pipe(Effect.scoped),
    together
  )

  it.live("is told that a node of a version before the handshake is there", () =>
    Effect.gen(function* () {
      // What the port of such a node spoke.
      const group = RpcGroup.make(Rpc.make("Ping", { success: Schema.Void }))
      const before = yield* NodeSocketServer.make({ host: "127.0.0.1", port: 0 })
      yield* Layer.build(
        RpcServer.layer(group).pipe(
          Layer.provide(group.toLayer({ Ping: () => Effect.void })),
          Layer.provide(RpcServer.layerProtocolSocketServer),
          Layer.provide(RpcSerialization.layerSchemaBinary()),
          Layer.provide(Layer.succeed(SocketServer.SocketServer, before))
        )
      )
      const port = "port" in before.address ? before.address.port : 0
      const refusal = yield* refusalOf(dial(RunnerAddress.make("127.0.0.1", port)))
      assert.strictEqual(refusal.reason, "not a node")
      assert.match(refusal.message, /a node of a version before it/)
    }).pipe(Effect.scoped)
  )

  it.live("gives a connection up on which a frame of a gigabyte is announced", () =>
    Effect.gen(function* () {
      const { address } = yield* listen()
      const stream = yield* dial(address)
      const connection = yield* makePeerConnection(stream)
      // The other side says everything back.
      yield* stream.write(gigabyteFrame)
      const ended = yield* Effect.result(connection.receive(() => {}))
      assert.isTrue(Result.isFailure(ended) && /a frame of 1073741824 bytes/.test(ended.failure.message))
    }).pipe(Effect.scoped)
  )
})
