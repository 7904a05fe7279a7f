/** RPC over TLS: a peer that trusts the certificate is answered, and any other peer is told why it is not. */
import { readFileSync } from "node:fs"
import { createConnection } from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Latch, Redacted } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { connectLedger } from "../../src/rpc/client/connectLedger.ts"
import { deposit, open } from "../support/ledgerWorld.ts"
import { connect, memoryLedger, openTcp, openWebSocket, token, tokenOf } from "../support/rpcWorld.ts"

const pem = (name: string) => readFileSync(new URL(`./certificates/${name}`, import.meta.url), "utf8")

const tls = { cert: pem("server.pem"), key: Redacted.make(pem("server.key")) }
const ca = pem("ledger-ca.pem")
const tokens = [token("shop", ["read", "command"])]
/** Long enough for a handshake of a busy machine, and not longer than the test. */
const limits = { connectMs: 3_000, queryDeadlineMs: 3_000, commandDeadlineMs: 3_000 }
/** Each peer waits for as long as it may take to connect. */
const atOnce = { concurrency: "unbounded" } as const

layer(memoryLedger, { excludeTestServices: true })("an RPC server with TLS", (it) => {
  it.effect("answers a peer that trusts its certificate and shows its token", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("tls:a"))
        const { url, port } = yield* openTcp({ tls, tokens })
        assert.match(url, /^tls:/)
        const webSocket = yield* openWebSocket({ tls, tokens })
        assert.match(webSocket.url, /^wss:/)
        for (const way of [url, `tls://localhost:${port}`, webSocket.url]) {
          const peer = yield* connect({ urls: [way], ca, token: tokenOf("shop") })
          assert.isFalse((yield* peer.ledger.dispatch(deposit("tls:a", 1n))).replayed)
        }
        yield* Effect.promise(async () => {
          const ledger = await connectLedger({ url, ca, token: "secret-shop" })
          assert.strictEqual((await ledger.strongBalance("tls:a")).balance, 3n)
          await ledger.close()
        })
        const stranger = yield* connect({ urls: [url], ca, token: Redacted.make("wrong") })
        assert.strictEqual(
          (yield* Effect.flip(stranger.ledger.strongBalance("tls:a")))._tag,
          "Unauthenticated"
        )
      })
    )
  )

  it.effect("is not trusted by a peer that knows another authority, nor under another name", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { url, port } = yield* openTcp({ tls, tokens })
        const webSocket = yield* openWebSocket({ tls, tokens })
        const cases = [
          [url, pem("other-ca.pem"), /unable to verify|self.signed|issuer/],
          [webSocket.url, pem("other-ca.pem"), /unable to verify|self.signed|issuer/],
          [url, undefined, /unable to verify|self.signed|issuer/],
          [`tls://127.0.0.2:${port}`, ca, /ECONNREFUSED|does not match/]
        ] as const
        const asked = yield* Effect.forEach(
          cases,
          Effect.fnUntraced(function* ([way, trusted, words]) {
            const peer = yield* connect({ urls: [way], ca: trusted, token: tokenOf("shop"), limits })
            return [yield* Effect.flip(peer.ledger.strongBalance("tls:a")), words] as const
          }),
          atOnce
        )
        for (const [error, words] of asked) {
          assert.strictEqual(error._tag, "Unavailable")
          assert.match(error.message, words)
        }
      })
    )
  )

  it.effect("takes nothing in plain text, and one without TLS nothing over TLS", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const guarded = yield* openTcp({ tls, tokens })
        const plain = yield* openTcp({ tokens })
        const before = (yield* inside.stats).committed
        const errors = yield* Effect.forEach(
          [{ urls: [`tcp://127.0.0.1:${guarded.port}`] }, { urls: [`tls://127.0.0.1:${plain.port}`], ca }],
          Effect.fnUntraced(function* (options) {
            const peer = yield* connect({ ...options, token: tokenOf("shop"), limits })
            return yield* Effect.flip(peer.ledger.dispatch(deposit("tls:a", 1n)))
          }),
          atOnce
        )
        for (const error of errors) assert.include(["Unavailable", "Indeterminate"], error._tag)
        assert.strictEqual((yield* inside.stats).committed, before)
        // What the server sends in return to plain text is no answer of the ledger.
        const said = yield* Effect.callback<string>((resume) => {
          let text = ""
          const socket = createConnection({ port: guarded.port, host: "127.0.0.1" }, () =>
            socket.write('{"_tag":"Request","id":"1","tag":"health","payload":null,"headers":[]}\n')
          )
          socket.on("error", () => {})
          socket.on("data", (data) => {
            text += data.toString("latin1")
          })
          socket.on("close", () => resume(Effect.succeed(text)))
        })
        assert.notInclude(said, "Exit")
      })
    )
  )

  it.effect("counts a peer that only begins handshakes against its connections, and ends it in time", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* Effect.ignore(inside.dispatch(open("tls:a")))
        const { url, port } = yield* openTcp({
          tls,
          tokens,
          limits: { connectionsPerPeerMax: 3, idleMs: 1_500 }
        })
        const hold = Effect.acquireRelease(
          Effect.callback<{ readonly closed: Promise<void>; readonly destroy: () => void }>((resume) => {
            const socket = createConnection({ port, host: "127.0.0.1" })
            const closed = new Promise<void>((done) => socket.on("close", () => done()))
            socket.on("error", () => {})
            socket.on("connect", () => resume(Effect.succeed({ closed, destroy: () => socket.destroy() })))
          }),
          ({ destroy }) => Effect.sync(destroy)
        )
        const silent = [yield* hold, yield* hold, yield* hold]
        const further = yield* hold
        // The fourth is closed at once, though none of the three has finished a handshake.
        yield* Effect.promise(() => further.closed)
        const peer = yield* connect({
          urls: [url],
          ca,
          token: tokenOf("shop"),
          limits: { queryDeadlineMs: 30_000 }
        })
        // The silent ones are ended, and then the peer is let in.
        assert.strictEqual((yield* peer.ledger.strongBalance("tls:a")).account, "tls:a")
        for (const { closed } of silent) yield* Effect.promise(() => closed)
      })
    )
  )

  it.effect("answers the calls under way before it closes", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const asked = Latch.makeUnsafe(false)
        const slow: Ledger["Service"] = {
          ...inside,
          strongBalance: (account) =>
            Effect.andThen(
              Effect.sync(() => asked.openUnsafe()),
              Effect.delay(inside.strongBalance(account), 200)
            )
        }
        const { url, stop } = yield* openTcp({ tls, tokens, ledger: slow })
        yield* Effect.ignore(inside.dispatch(open("tls:a")))
        const peer = yield* connect({ urls: [url], ca, token: tokenOf("shop"), limits })
        const answer = yield* Effect.forkChild(peer.ledger.strongBalance("tls:a"))
        yield* asked.await
        yield* stop
        assert.strictEqual((yield* Fiber.join(answer)).account, "tls:a")
      })
    )
  )
})
