/** What a probe learns that is neither on the machine nor has a token: that the node is up and ready, and nothing of its business. */
import { assert, it, layer } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { HttpRouter, HttpServer, HttpServerRequest } from "effect/http"
import { Authenticator } from "../../src/access/Authenticator.ts"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import type { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import type { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import * as Health from "../../src/http/Health.ts"
import { HttpConnections } from "../../src/http/server/HttpConnections.ts"
import { isTrusted } from "../../src/http/TrustedReaders.ts"
import type { Bus } from "../../src/infra/bus/Bus.ts"
import type { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"

const tokens = [
  token("reader", ["read"]),
  token("commander", ["command"]),
  token("shop", ["read"], ["shop:"]),
  token("keeper", ["admin"], ["shop:"])
]

layer(memoryLedger, { excludeTestServices: true })(
  "health and readiness for a reader from elsewhere",
  (it) => {
    const ask = (path: string, authorization?: string) =>
      Effect.gen(function* () {
        const services = yield* Effect.context<
          Authenticator | Bus | Dispatcher | Ledger | ReadSideHealth | Webhooks
        >()
        // Web requests have no address of a peer, so they are not from loopback.
        const { handler, dispose } = HttpRouter.toWebHandler(
          Health.routes.pipe(
            Layer.provide(HttpServer.layerServices),
            Layer.provide(HttpConnections.layer),
            Layer.provide(RefusalLog.layer(20))
          ),
          { disableLogger: true }
        )
        yield* Effect.addFinalizer(() => Effect.promise(dispose))
        const headers = authorization === undefined ? {} : { authorization: `Bearer ${authorization}` }
        const response = yield* Effect.promise(() =>
          handler(new Request(`http://node${path}`, { headers }), services)
        )
        const text = yield* Effect.promise(() => response.text())
        return { status: response.status, body: text.startsWith("{") ? JSON.parse(text) : text }
      }).pipe(Effect.provide(Authenticator.layer(tokens, 1_000)), Effect.scoped)

    it.effect(
      "are told by the status alone without a token, with a wrong one, and with one that may not read all of it",
      () =>
        Effect.gen(function* () {
          for (const secret of [undefined, "wrong", "secret-commander", "secret-shop", "secret-keeper"]) {
            const isKnown = secret?.startsWith("secret-") === true
            assert.deepEqual(yield* ask("/health", secret), { status: 200, body: { up: true } })
            assert.deepEqual(yield* ask("/ready/commands", secret), { status: 200, body: { ready: true } })
            const { status, body } = yield* ask("/metrics", secret)
            // `ready` of all of it depends on the moment: what matters is that nothing else is told.
            assert.hasAllKeys((yield* ask("/ready", secret)).body, ["ready"])
            const [wanted, type] = isKnown ? [403, "Forbidden"] : [401, "Unauthenticated"]
            assert.strictEqual(status, wanted)
            assert.deepInclude(body, { status: wanted, type: `/docs#${type}` })
          }
        })
    )

    it.effect("are told whole to a token that may read", () =>
      Effect.gen(function* () {
        const health = yield* ask("/health", "secret-reader")
        assert.containsAllKeys(health.body, ["write", "bus", "readSide"])
        assert.containsAllKeys((yield* ask("/ready", "secret-reader")).body, [
          "reasons",
          "readSide",
          "alarms"
        ])
        assert.include(String((yield* ask("/metrics", "secret-reader")).body), "chronicle_commands_total")
      })
    )

    it.effect("are told without what the read model's database does not answer", () =>
      Effect.gen(function* () {
        const webhooks = yield* Webhooks
        const silent = { ...webhooks, summary: Effect.never }
        const metrics = ask("/metrics", "secret-reader").pipe(Effect.provideService(Webhooks, silent))
        const text = String((yield* metrics).body)
        assert.include(text, "chronicle_commands_total")
        assert.notInclude(text, "chronicle_webhook")
        assert.include(String((yield* ask("/metrics", "secret-reader")).body), "chronicle_webhook")
      })
    )
  }
)

it.effect(
  "a page in a browser of the machine is no program of it, whatever name it reaches the node by",
  () =>
    Effect.gen(function* () {
      const trusted = (headers: Record<string, string>, guard: typeof tokens) => {
        const request = HttpServerRequest.fromWeb(new Request("http://node/metrics", { headers }))
        return isTrusted.pipe(
          Effect.provideService(
            HttpServerRequest.HttpServerRequest,
            request.modify({ remoteAddress: Option.some("::ffff:127.0.0.1") })
          ),
          Effect.provide(Authenticator.layer(guard, 1_000))
        )
      }
      const host = "localhost:7080"
      for (const guard of [[], tokens]) {
        assert.isTrue(yield* trusted({ host }, guard))
        assert.isTrue(yield* trusted({ host: "[::1]:7080", origin: "http://[::1]:7080" }, guard))
        assert.isFalse(yield* trusted({ host: "evil.example:7080" }, guard), "a name that was rebound")
        assert.isFalse(yield* trusted({ host, origin: "https://evil.example" }, guard))
        assert.isFalse(yield* trusted({ host, "sec-fetch-site": "cross-site" }, guard), "an image")
      }
      const authorization = "Bearer secret-reader"
      assert.isTrue(yield* trusted({ host: "ledger.example", authorization }, tokens), "through a proxy")
    })
)
