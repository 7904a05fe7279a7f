/** Webhooks of a whole node against receivers that listen: what is sent, and where it is never sent. */
import { createHmac } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { HttpClient, HttpClientError } from "effect/http"
import { TestClock } from "effect/testing"
import { vi } from "vitest"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import { WebhookPolicy } from "../../src/infra/config/WebhookConfig.ts"
import { WebhookSender } from "../../src/infra/webhooks/WebhookSender.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger } from "../support/callers.ts"
import { settable } from "../support/settableClock.ts"
import { eventually, until } from "../support/waiting.ts"
import { listen, loopbackAllowed } from "../support/webhookReceiver.ts"
import { limitsOf } from "../support/webhookWorld.ts"

const limits = limitsOf({ pollMs: 20, idleMs: 10, pauseMs: 50, attemptMs: 60_000, answerBytesMax: 1_000 })
const message = { id: "m-1", body: "{}" }

describe("a node with webhooks", () => {
  it.live("tells a receiver of each event, signed, and again what it did not take", () =>
    Effect.gen(function* () {
      let refusals = 3
      const { received, url } = yield* listen((_, response) => {
        response.statusCode = refusals-- > 0 ? 500 : 204
        response.end()
      })
      const ledger = yield* Ledger
      const webhooks = yield* Webhooks
      const { secret, webhook } = yield* webhooks.create({ url: `${url}/hook`, prefix: "shop:" })
      yield* ledger.dispatch({ _tag: "OpenAccount", account: "shop:a", asset: "USD/2", owner: "Ann" })
      yield* ledger.dispatch({ _tag: "OpenAccount", account: "other", asset: "USD/2", owner: "Bob" })
      yield* ledger.dispatch({ _tag: "Deposit", account: "shop:a", amount: 5n, description: "päckchen" })
      yield* eventually(
        "both were taken",
        Effect.sync(() => received.length >= 5)
      )
      assert.deepEqual(
        received.map(({ headers }) => headers["webhook-id"]),
        ["shop:a@1", "shop:a@1", "shop:a@1", "shop:a@1", "shop:a@2"]
      )
      for (const { headers, body } of received) {
        const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`
        const key = Buffer.from(Redacted.value(secret).slice("whsec_".length), "base64")
        const expected = `v1,${createHmac("sha256", key).update(signed).digest("base64")}`
        assert.strictEqual(headers["webhook-signature"], expected)
        assert.notProperty(headers, "traceparent")
      }
      assert.include(received[4]?.body ?? "", "päckchen")
      yield* eventually(
        "it is written down",
        Effect.map(Effect.orDie(webhooks.find(webhook.id)), (found) => found?.delivered === 2)
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(memoryLedger.pipe(Layer.provide(Layer.merge(loopbackAllowed, limits))))
    )
  )
})

describe("the sender of webhooks", () => {
  const send = (url: string) =>
    Effect.flatMap(WebhookSender, (sender) =>
      sender.send({ url, message, headers: { "webhook-id": "m-1" }, at: 0 })
    )

  it.effect("follows no redirect, and bounds the time and the length of an answer", () =>
    Effect.gen(function* () {
      const { received, url } = yield* listen((path, response) => {
        if (path === "/redirect") response.writeHead(307, { location: "/elsewhere" }).end()
        if (path === "/endless") {
          response.writeHead(200)
          const more = () => {
            while (response.write("x".repeat(10_000)));
            response.once("drain", more)
          }
          more()
        }
        // Of /hangs, nothing is ever answered.
      })
      assert.deepEqual(yield* send(`${url}/redirect`), {
        isDelivered: false,
        status: 307,
        reason: "answered 307: redirects are not followed"
      })
      // While no time passes, this ends because it reads no more than it is allowed to.
      assert.deepEqual(yield* send(`${url}/endless`), { isDelivered: true, status: 200, reason: "" })
      const hanging = yield* Effect.forkChild(send(`${url}/hangs`))
      yield* TestClock.withLive(until("it is asked", () => received.some(({ path }) => path === "/hangs")))
      yield* TestClock.adjust("1 minute")
      assert.deepEqual(yield* Fiber.join(hanging), {
        isDelivered: false,
        reason: "did not answer within 60000 ms"
      })
      assert.deepEqual(
        received.map(({ path }) => path),
        ["/redirect", "/endless", "/hangs"]
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(WebhookSender.layerNode.pipe(Layer.provide([loopbackAllowed, limits])))
    )
  )

  it.effect(
    "says why none of several addresses took the connection, and no URL, which may have a secret",
    () =>
      Effect.gen(function* () {
        const { reason } = yield* send("https://two.example/hook?token=secret")
        assert.strictEqual(reason, "connect ECONNREFUSED 203.0.113.1:443")
      }).pipe(
        Effect.provide(
          WebhookSender.layer.pipe(
            Layer.provide(
              Layer.succeed(
                HttpClient.HttpClient,
                HttpClient.make((request) => {
                  // As Node fails where a name has two addresses.
                  const cause = new AggregateError([
                    new Error("connect ECONNREFUSED 203.0.113.1:443"),
                    new Error("connect ECONNREFUSED 203.0.113.2:443")
                  ])
                  const reason = new HttpClientError.TransportError({ request, cause })
                  return Effect.fail(new HttpClientError.HttpClientError({ reason }))
                })
              )
            )
          )
        )
      )
  )

  it.live("loads what it sends by again where that failed, however the clock is set meanwhile", () =>
    Effect.gen(function* () {
      const { clock, setBack } = settable(yield* Clock.Clock)
      const { url } = yield* listen((_, response) => response.end())
      const sender = yield* Effect.provideService(
        Effect.map(Layer.build(WebhookSender.layerNode), (built) => Context.get(built, WebhookSender)),
        Clock.Clock,
        clock
      )
      const attempt = sender
        .send({ url, message, headers: {}, at: 0 })
        .pipe(Effect.provideService(Clock.Clock, clock))
      const client = "@effect/platform-node/NodeHttpClient"
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.doUnmock(client)))
      vi.doMock(client, () => {
        throw new Error("no file can be opened")
      })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(attempt)))
      vi.doUnmock(client)
      setBack(3_600_000)
      assert.isTrue((yield* attempt).isDelivered)
    }).pipe(Effect.scoped, Effect.provide([loopbackAllowed, limits]))
  )

  it.live("connects to no private address, whether a URL or a name says it", () =>
    Effect.gen(function* () {
      const { received, port } = yield* listen((_, response) => response.end())
      for (const host of ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"]) {
        const { isDelivered, reason } = yield* send(`http://${host}:${port}/`)
        assert.isFalse(isDelivered, host)
        assert.match(reason, /is not an address of the public Internet/, host)
      }
      assert.lengthOf(received, 0)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        WebhookSender.layerNode.pipe(
          Layer.provide([Layer.succeed(WebhookPolicy, { allowHttp: true, allowPrivate: false }), limits])
        )
      )
    )
  )
})
