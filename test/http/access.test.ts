/** Every route of the HTTP API refuses what RPC refuses: no token, a wrong scope, accounts outside of the prefixes, too much, and garbage. */
import { assert, describe, layer, it as plain } from "@effect/vitest"
import { Effect } from "effect"
import { AskedCommand } from "../../src/domain/Command.ts"
import type { CommandView } from "../../src/domain/Views.ts"
import { commandRoutes } from "../../src/http/api/CommandRoutes.ts"
import { LedgerHttpApi, scopeOf } from "../../src/http/api/LedgerHttpApi.ts"
import { openApiDocument } from "../../src/http/api/OpenApiDocument.ts"
import { Ledger } from "../../src/Ledger.ts"
import { queryEntries } from "../../src/QueryMethods.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { isOfOneWebhook, type Route, requestOf, routes, takesBody } from "../support/httpRoutes.ts"
import { type Send, sendInMemory } from "../support/httpWorld.ts"

const tokens = [
  token("reader", ["read"]),
  token("sender", ["command"]),
  token("boss", ["admin"]),
  token("shop", ["read", "command", "admin"], ["shop:"])
]
const as = (name: string) => ({ authorization: `Bearer secret-${name}` })

const ask = (send: Send, route: Route, headers: Record<string, string>, body?: string) => {
  const { method, path, type, body: own } = requestOf(route)
  return Effect.promise(async () => {
    const response = await send(path, {
      method,
      headers: method === "GET" ? headers : { "content-type": type, ...headers },
      ...(method === "GET" ? {} : { body: body ?? own })
    })
    return {
      status: response.status,
      type: response.headers.get("content-type"),
      text: await response.text()
    }
  })
}

describe("the routes", () => {
  plain("all declare a scope", () => {
    assert.isAtLeast(routes.length, 18)
    for (const route of routes) {
      // That of the empty id asks the same query.
      const asked = route.identifier.replace(/OfAll$/, "")
      const query = queryEntries.find(([name]) => name === asked)?.[1]
      const ofLedger = route.method === "GET" ? query?.scope : "command"
      // Also to see them: who has the URL of an endpoint may often post to it.
      const scope = route.path.startsWith("/v1/webhooks") ? "admin" : ofLedger
      assert.strictEqual(scopeOf(route), scope, route.identifier)
    }
  })

  plain("have one for every query of the table", () => {
    const paths = new Set(routes.map(({ path }) => path))
    for (const [name, { http }] of queryEntries)
      assert.isTrue(http.path === undefined ? paths.size > 0 : paths.has(http.path), name)
    const answered = Object.keys(LedgerHttpApi.groups.queries.endpoints)
    assert.includeMembers(answered, ["balance", "statement", "accounts", "find", "stats", "subscribe"])
  })

  plain("have one for every kind of command", () => {
    assert.sameMembers(
      commandRoutes.map(({ tag }) => tag),
      Object.keys(AskedCommand.cases)
    )
  })

  plain("ask for a token in the document of a node that has tokens, and not of another", () => {
    assert.deepEqual(openApiDocument(true).security, [{ bearer: [] }])
    assert.notProperty(openApiDocument(false), "security")
  })
})

layer(memoryLedger, { excludeTestServices: true })("every route", (it) => {
  it.effect("refuses a request without a token that is known", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        const before = (yield* (yield* Ledger).stats).committed
        for (const route of routes)
          for (const headers of [{}, as("nobody"), { authorization: "Basic c2hvcDpzZWNyZXQ=" }]) {
            const { status, type, text } = yield* ask(send, route, headers)
            assert.deepEqual([status, type], [401, "application/problem+json"], route.identifier)
            assert.include(text, "/docs#Unauthenticated")
          }
        assert.strictEqual((yield* (yield* Ledger).stats).committed, before)
      })
    )
  )

  it.effect("that changes something heeds an Idempotency-Key and an If-Match, or refuses them", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        const heeding = new Set(["sendCommand", ...commandRoutes.map(({ name }) => name)])
        const others = routes.filter(({ method, identifier }) => method !== "GET" && !heeding.has(identifier))
        assert.isAtLeast(others.length, 7)
        for (const route of others)
          for (const header of ["Idempotency-Key", "If-Match"]) {
            const token = as(scopeOf(route) === "command" ? "sender" : "boss")
            const { status, text } = yield* ask(send, route, { ...token, [header]: '"1"' })
            assert.strictEqual(status, 400, `${route.identifier} ${header}`)
            assert.include(text, header, route.identifier)
          }
      })
    )
  )

  it.effect("refuses a token of another scope", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        for (const route of routes) {
          const wrong = scopeOf(route) === "command" ? "reader" : "sender"
          const { status, text } = yield* ask(send, route, as(wrong))
          assert.strictEqual(status, 403, route.identifier)
          assert.include(text, "/docs#Forbidden")
        }
      })
    )
  )

  it.effect("refuses accounts outside of the caller's prefixes, or conceals that there is something", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const ledger = yield* Ledger
        yield* ledger.dispatch({
          _tag: "OpenAccount",
          account: "other:a",
          asset: "USD/2",
          owner: "Ann",
          commandId: "c-1"
        })
        const send = yield* sendInMemory({ tokens })
        const concealed = new Set(["transfer", "find"])
        for (const route of routes) {
          const { status, text } = yield* ask(send, route, as("shop"))
          if (route.identifier === "sendBatch") assert.include(text, "/docs#Forbidden")
          else if (route.identifier === "listWebhooks") assert.deepEqual([status, text], [200, '{"rows":[]}'])
          else {
            const isConcealed =
              (route.method === "GET" && concealed.has(route.identifier)) || isOfOneWebhook(route)
            assert.strictEqual(status, isConcealed ? 404 : 403, route.identifier)
          }
        }
        const mine = yield* ask(
          send,
          { ...routes[0], path: "/v1/feed?accountPrefix=other" } as Route,
          as("shop")
        ) // another path
        assert.notStrictEqual(mine.status, 200)
        const holds = (prefix: string) =>
          ask(send, { ...routes[0], method: "GET", path: `/v1/holds?prefix=${prefix}` } as Route, as("shop"))
        assert.deepEqual([(yield* holds("shop:")).status, (yield* holds("other:")).status], [200, 403])
      })
    )
  )

  it.effect("tells a caller of few accounts what became of its command, without the legs of others", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { dispatch } = yield* Ledger
        for (const account of ["shop:pays", "other:is-paid"])
          yield* dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
        yield* dispatch({ _tag: "Deposit", account: "shop:pays", amount: 5n })
        const hold = { _tag: "PlaceHold", account: "shop:pays", amount: 5n, to: "other:is-paid" } as const
        yield* dispatch({ ...hold, commandId: "held-for-other" })
        const send = yield* sendInMemory({ tokens })
        const capture = yield* Effect.promise(() =>
          send("/v1/accounts/shop:pays/holds/held-for-other/capture", {
            json: { commandId: "captured" },
            headers: as("shop")
          })
        )
        assert.strictEqual(capture.status, 201)
        const found = yield* Effect.promise(async () => {
          const answer = await send("/v1/commands/captured", { headers: as("shop") })
          return (await answer.json()) as (typeof CommandView)["Encoded"] // which the route declares
        })
        assert.strictEqual(found.commandId, "captured")
        assert.isTrue(found.isPartial)
        assert.deepEqual(
          found.legs.map(({ account }) => account),
          ["shop:pays"]
        )
        yield* dispatch({ _tag: "Deposit", account: "other:is-paid", amount: 1n, commandId: "not-yours" })
        const hidden = yield* Effect.promise(() => send("/v1/commands/not-yours", { headers: as("shop") }))
        assert.strictEqual(hidden.status, 404)
      })
    )
  )

  it.effect("that takes a body refuses one that is too large, of another type, or garbage", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens, limits: { bodyBytesMax: 1_000, batchBytesMax: 1_000 } })
        const before = (yield* (yield* Ledger).stats).committed
        for (const route of routes.filter(takesBody)) {
          const large = yield* ask(send, route, as("boss"), `{"x":"${"y".repeat(1_001)}"}`)
          assert.deepEqual([large.status, large.type], [413, "application/problem+json"], route.identifier)
          const form = yield* ask(send, route, {
            ...as("boss"),
            "content-type": "application/x-www-form-urlencoded"
          })
          assert.strictEqual(form.status, 415, route.identifier)
          for (const garbage of [
            "",
            "{",
            "null",
            "[]",
            '"x"',
            "1e999",
            '{"__proto__":{"_tag":"Deposit"}}',
            "\u0000"
          ]) {
            const { status, text } = yield* ask(send, route, as("boss"), garbage)
            if (route.identifier !== "sendBatch")
              assert.strictEqual(status, 400, `${route.identifier} ${garbage}`)
            else assert.notInclude(text, '"receipt"')
          }
        }
        assert.strictEqual((yield* (yield* Ledger).stats).committed, before)
      })
    )
  )

  it.effect("is bounded by the rate of the caller, and says when to come again", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens, ratePerSecond: 2 })
        const statuses: Array<number> = []
        for (let n = 0; n < 5; n++) {
          const response = yield* Effect.promise(() => send("/v1/stats", { headers: as("reader") }))
          statuses.push(response.status)
          if (response.status === 429) assert.isAtLeast(Number(response.headers.get("retry-after")), 1)
        }
        assert.includeMembers(statuses, [200, 429])
      })
    )
  )

  it.effect("refuses web pages where no tokens are asked for", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const asked = (headers: Record<string, string>) =>
          Effect.promise(async () => (await send("/v1/stats", { headers })).status)
        assert.strictEqual(yield* asked({}), 200)
        assert.strictEqual(yield* asked({ host: "127.0.0.1:7080", origin: "http://127.0.0.1:7080" }), 200)
        assert.strictEqual(yield* asked({ origin: "https://evil.example" }), 403)
        assert.strictEqual(yield* asked({ host: "evil.example" }), 403)
        assert.strictEqual(yield* asked({ host: "" }), 403, "names none by an empty name")
        // As an image of the page, or a link in it, is asked for: without an origin.
        for (const [site, status] of [
          ["cross-site", 403],
          ["same-site", 403],
          ["same-origin", 200],
          ["none", 200]
        ] as const)
          assert.strictEqual(yield* asked({ "sec-fetch-site": site }), status, site)
      })
    )
  )

  it.effect("answers under headers that give a browser nothing to do with it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory({ tokens })
        for (const path of ["/v1/stats", "/v1/nothing", "/openapi.json", "/docs"]) {
          const { headers } = yield* Effect.promise(() => send(path))
          assert.strictEqual(headers.get("x-content-type-options"), "nosniff", path)
          assert.include(headers.get("content-security-policy") ?? "", "default-src 'none'", path)
          assert.isNull(headers.get("access-control-allow-origin"), path)
        }
      })
    )
  )

  it.effect(
    "that reverses goes by the id of the original, where the caller has prefixes of command ids",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const numbered = { ...token("numbered", ["command"]), commandIds: ["n:"] }
          const send = yield* sendInMemory({ tokens: [numbered] })
          const reversed = (original: string) =>
            Effect.promise(async () => {
              const init = { headers: as("numbered"), json: { reason: "returned" } }
              return (await send(`/v1/transactions/${original}/reversals`, init)).status
            })
          assert.deepEqual([yield* reversed("n:1"), yield* reversed("c-1")], [404, 403])
        })
      )
  )

  it.effect("and the reference page needs neither script nor another host", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* sendInMemory()
        const page = yield* Effect.promise(async () => (await send("/docs")).text())
        // An example of a URL is text: the browser asks for what elements and styles name.
        assert.notMatch(
          page,
          /<(script|link|img|iframe|object|embed)\b|\b(src|href|action)\s*=\s*["']?\w*:?\/\/|url\(|@import/i
        )
        for (const { path } of routes) assert.include(page, path.replaceAll(/:(\w+)/g, "{$1}"))
        assert.include(page, 'id="InsufficientFunds"')
        assert.include(page, "Makes an endpoint that is told of events")
      })
    )
  )
})
