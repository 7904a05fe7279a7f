/** The routes of webhooks: made with a secret that is shown once, seen within the caller's prefixes, changed by administrators. */
import { assert, layer } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Redacted } from "effect"
import { SecureRandom } from "effect/crypto"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import { defaultWebhookLimits, WebhookConfig } from "../../src/infra/config/WebhookConfig.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { WebhookSender } from "../../src/infra/webhooks/WebhookSender.ts"
import { WebhookStore } from "../../src/infra/webhooks/WebhookStore.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { type Send, sendInMemory } from "../support/httpWorld.ts"
import { settable } from "../support/settableClock.ts"

const tokens = [
  token("reader", ["read"]),
  token("boss", ["admin"]),
  token("shop", ["admin"], ["shop:"]),
  token("bank", ["admin"], ["bank:"])
]

interface Shown {
  readonly id: string
  readonly secret?: string
  readonly rows: ReadonlyArray<Shown>
  readonly [field: string]: unknown
}

const ask = (send: Send, as: string, method: string, path: string, json?: unknown) =>
  Effect.promise(async () => {
    const headers = { authorization: `Bearer secret-${as}` }
    const response = await send(`/v1/webhooks${path}`, {
      method,
      headers,
      ...(json === undefined ? {} : { json })
    })
    const text = await response.text()
    return { status: response.status, text, shown: (text === "" ? {} : JSON.parse(text)) as Shown } // of this API
  })

const world = memoryLedger.pipe(
  // Nothing is sent from here: the hosts of these tests are none.
  Layer.provide(Layer.succeed(WebhookConfig, { ...defaultWebhookLimits, endpointsMax: 3, attemptMs: 1_000 }))
)

layer(world, { excludeTestServices: true })("webhooks over HTTP", (it) => {
  it.effect("are made, seen without their secret, paused, resumed, given a new secret and deleted", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        const asked = {
          url: "https://shop.invalid/hook",
          prefix: "shop:",
          types: ["Deposited"],
          description: "orders"
        }
        const made = yield* ask(send, "boss", "POST", "", asked)
        assert.strictEqual(made.status, 201, made.text)
        const { secret = "", id } = made.shown
        assert.match(secret, /^whsec_/)
        assert.deepInclude(made.shown, { ...asked, state: "active", delivered: 0, failures: [] })
        const one = `/${id}`
        for (const { status, text } of [
          yield* ask(send, "boss", "GET", one),
          yield* ask(send, "boss", "GET", ""),
          yield* ask(send, "boss", "POST", `${one}/pause`)
        ]) {
          assert.strictEqual(status, 200)
          assert.include(text, id)
          assert.notMatch(text, /whsec_|"secret"|cursor|revision/)
        }
        assert.strictEqual((yield* ask(send, "boss", "GET", one)).shown.state, "paused")
        assert.strictEqual((yield* ask(send, "boss", "POST", `${one}/resume`)).shown.state, "active")
        const tested = yield* ask(send, "boss", "POST", `${one}/test`)
        assert.deepInclude(tested.shown, { isDelivered: false })
        const rotated = yield* ask(send, "boss", "POST", `${one}/rotate`)
        assert.match(rotated.shown.secret ?? "", /^whsec_/)
        assert.notStrictEqual(rotated.shown.secret, secret)
        assert.strictEqual((yield* ask(send, "boss", "DELETE", one)).status, 204)
        for (const method of ["GET", "DELETE"])
          assert.strictEqual((yield* ask(send, "boss", method, one)).status, 404)
      })
    )
  )

  /** The API over endpoints whose database does as the test says with each change, and what it has of them. */
  const overStore = Effect.fnUntraced(function* (
    withChange: <A>(change: Effect.Effect<A, StoreUnavailable>) => Effect.Effect<A, StoreUnavailable>,
    clock?: Clock.Clock
  ) {
    const store = Context.get(yield* Layer.build(Layer.fresh(WebhookStore.layerMemory)), WebhookStore)
    const webhooks = Webhooks.layer.pipe(
      Layer.provide([
        Layer.succeed(WebhookStore, {
          ...store,
          create: (row, max) => withChange(store.create(row, max)),
          setState: (id, state) => withChange(store.setState(id, state)),
          rotate: (id, secret, until) => withChange(store.rotate(id, secret, until)),
          remove: (id) => withChange(store.remove(id))
        }),
        WebhookSender.layerNode,
        SecureRandom.layerWebCrypto
      ])
    )
    const context = yield* Layer.build(Layer.fresh(webhooks)).pipe(
      Effect.provideService(Clock.Clock, clock ?? (yield* Clock.Clock))
    )
    const send = yield* sendInMemory({ tokens }).pipe(
      Effect.provideService(Webhooks, Context.get(context, Webhooks))
    )
    return { send, store }
  })
  const lost = new StoreUnavailable({ store: "read model", reason: "no answer within 13000 ms" })
  const url = "https://shop.invalid/"
  const changesOf = (one: string) =>
    [
      ["POST", "", { url }],
      ["POST", `${one}/pause`, undefined],
      ["POST", `${one}/resume`, undefined],
      ["POST", `${one}/rotate`, undefined],
      ["DELETE", one, undefined]
    ] as const

  it.effect("are changed once, and told so, where the answer of the database was lost", () =>
    Effect.scoped(
      Effect.gen(function* () {
        let isLost = false
        const { send, store } = yield* overStore((change) =>
          Effect.flatMap(change, (done) => {
            isLost = !isLost
            return isLost ? Effect.fail(lost) : Effect.succeed(done)
          })
        )
        const made = yield* ask(send, "boss", "POST", "", { url })
        const one = `/${made.shown.id}`
        const secretsOf = Effect.map(store.list, ([row]) => [row?.formerSecret, row?.secret])
        const [, first] = yield* secretsOf
        for (const [method, path, json] of changesOf(one).slice(1)) {
          const { status, text } = yield* ask(send, "boss", method, path, json)
          assert.strictEqual(status, method === "DELETE" ? 204 : 200, `${path} ${text}`)
          if (!path.endsWith("rotate")) continue
          const [former, second] = yield* secretsOf
          assert.deepEqual(former, first, "what the receiver knows still signs")
          assert.include(text, Redacted.value(second ?? assert.fail("it has one")))
        }
        assert.strictEqual(made.status, 201)
        assert.deepEqual(yield* store.list, [], "one was made, and is gone")
      })
    )
  )

  it.effect("are said to be changed perhaps, where the database goes on giving no answer", () =>
    Effect.scoped(
      Effect.gen(function* () {
        let isAway = false
        const { clock, pass } = settable(yield* Clock.Clock)
        const { send } = yield* overStore((change) => {
          if (!isAway) return change
          pass(13_000)
          return Effect.fail(lost)
        }, clock)
        const made = yield* ask(send, "boss", "POST", "", { url })
        isAway = true
        yield* Effect.forEach(
          changesOf(`/${made.shown.id}`),
          ([method, path, json]) =>
            Effect.map(ask(send, "boss", method, path, json), ({ status, shown }) => {
              assert.strictEqual(status, 503, path)
              assert.match(
                String(shown.detail),
                /no answer within 13000 ms; it may be done all the same/,
                path
              )
            }),
          { concurrency: "unbounded" }
        )
      })
    )
  )

  it.effect("lie within the account prefixes of the token, and others are not there for it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        const url = "https://shop.invalid"
        for (const prefix of [undefined, "", "sho", "bank:"]) {
          const { status } = yield* ask(send, "shop", "POST", "", {
            url,
            ...(prefix === undefined ? {} : { prefix })
          })
          assert.strictEqual(status, 403, `${prefix}`)
        }
        const made = yield* ask(send, "shop", "POST", "", { url, prefix: "shop:eu:" })
        assert.strictEqual(made.status, 201)
        const one = `/${made.shown.id}`
        for (const [method, path] of [
          ["GET", one],
          ["POST", `${one}/pause`],
          ["POST", `${one}/rotate`],
          ["POST", `${one}/test`],
          ["DELETE", one]
        ] as const)
          assert.strictEqual((yield* ask(send, "bank", method, path)).status, 404, path)
        assert.lengthOf((yield* ask(send, "bank", "GET", "")).shown.rows, 0)
        assert.lengthOf((yield* ask(send, "shop", "GET", "")).shown.rows, 1)
        // Who has the URL of an endpoint may often post to it, so a reader is shown none.
        for (const [method, path] of [
          ["GET", ""],
          ["GET", one],
          ["POST", `${one}/pause`]
        ] as const)
          assert.strictEqual((yield* ask(send, "reader", method, path)).status, 403, path)
        assert.strictEqual((yield* ask(send, "shop", "DELETE", one)).status, 204)
      })
    )
  )

  it.effect("are refused with what is wrong, and are bounded in number", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        const url = "https://shop.invalid"
        for (const [wrong, what] of [
          [{}, "url"],
          [{ url: "http://shop.invalid" }, "CHRONICLE_WEBHOOK_ALLOW_HTTP"],
          [{ url: "https://127.0.0.1" }, "CHRONICLE_WEBHOOK_ALLOW_PRIVATE"],
          [{ url, types: ["Deposit"] }, "types"],
          [{ url, types: [] }, "types"],
          [{ url, prefx: "shop:" }, "prefx"],
          [{ url, from: "yesterday" }, "from"],
          // What the database cannot store is the caller's fault, and no trouble of the database that a retry might outlast.
          [{ url, description: "a\u0000b" }, "description"],
          [{ url, description: "\ud800" }, "description"],
          [{ url: `https://shop.invalid/${"x".repeat(2_048)}` }, "url"]
        ] as const) {
          const { status, text } = yield* ask(send, "boss", "POST", "", wrong)
          assert.strictEqual(status, 400, text)
          assert.include(text, what)
        }
        const made: Array<string> = []
        for (let nth = 0; nth < 3; nth++) made.push((yield* ask(send, "boss", "POST", "", { url })).shown.id)
        // The request is as it should be: it is a limit of the ledger that refuses, as that of open holds does.
        const { shown, status } = yield* ask(send, "boss", "POST", "", { url })
        assert.deepInclude(shown, { type: "/docs#WebhookLimit", title: "Webhook limit", status: 422, max: 3 })
        assert.strictEqual(status, 422)
        assert.match(String(shown.detail), /^there are 3 webhooks already.*CHRONICLE_WEBHOOK_ENDPOINTS_MAX/)
        for (const id of made) yield* ask(send, "boss", "DELETE", `/${id}`)
      })
    )
  )
})
