/** Webhooks at the command line, as real processes against a node over HTTP: what they print, and their exit codes. */

import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Unavailable } from "../../src/domain/Errors.ts"
import { toProblem } from "../../src/http/api/Problems.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { jsonOf, run } from "../support/chronicle.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"
import { until } from "../support/waiting.ts"
import { listen, loopbackAllowed } from "../support/webhookReceiver.ts"
import { limitsOf } from "../support/webhookWorld.ts"

/** Each command starts a process, which takes several seconds on a busy machine. */
const longest = 400_000

const world = memoryLedger.pipe(
  Layer.provide([loopbackAllowed, limitsOf({ pollMs: 20, idleMs: 10, pauseMs: 60_000, endpointsMax: 1 })]),
  Layer.provideMerge(NodeServices.layer)
)

layer(world, { excludeTestServices: true })("webhooks at the command line", (it) => {
  const node = Effect.gen(function* () {
    const port = yield* ownPort
    const tokens = [token("boss", ["admin"]), token("reader", ["read"])]
    yield* Layer.build(openHttpLayer(port, { tokens }))
    const as = (name: string) => ({
      CHRONICLE_HTTP_URL: `http://127.0.0.1:${port}`,
      CHRONICLE_RPC_TOKEN: `secret-${name}`
    })
    return {
      as,
      webhooks: (...args: ReadonlyArray<string>) => run(["webhooks", ...args], { env: as("boss") })
    }
  })

  it.effect(
    "are made, told, tried, paused, resumed, given a new secret and deleted",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { webhooks } = yield* node
          let status = 204
          const receiver = yield* listen((_, response) => {
            response.statusCode = status
            response.end()
          })
          const hidden = "orders\u202e\u001b[31m"
          const made = jsonOf(
            yield* webhooks(
              "create",
              receiver.url,
              "--prefix",
              "shop:",
              "--type",
              "Deposited",
              "--description",
              hidden,
              "--json"
            )
          )
          assert.deepInclude(made, {
            url: `${receiver.url}/`,
            prefix: "shop:",
            types: ["Deposited"],
            state: "active"
          })
          assert.match(String(made.secret), /^whsec_/)
          const id = String(made.id)

          assert.match(
            (yield* webhooks("test", id)).stdout,
            /^The endpoint took the message: it answered 204\.\n$/
          )
          const ledger = yield* Ledger
          yield* ledger.dispatch({ _tag: "OpenAccount", account: "shop:a", asset: "USD/2", owner: "Ann" })
          yield* ledger.dispatch({ _tag: "Deposit", account: "shop:a", amount: 1n })
          yield* until("it was told", () =>
            receiver.received.some(({ headers }) => headers["webhook-id"] === "shop:a@2")
          )

          status = 500
          const refused = yield* webhooks("test", id)
          assert.deepInclude(refused, {
            code: 1,
            stdout: "",
            stderr: "chronicle: the message was not taken: answered 500\n"
          })
          yield* ledger.dispatch({ _tag: "Deposit", account: "shop:a", amount: 2n })
          yield* until("it was refused", () =>
            receiver.received.some(({ headers }) => headers["webhook-id"] === "shop:a@3")
          )
          const failures = yield* webhooks("failures", id).pipe(
            Effect.repeat({ until: ({ stdout }) => stdout.includes("shop:a@3") })
          )
          assert.match(failures.stdout, /failed +1 times at one event; next attempt: 2/)
          assert.match(failures.stdout, /\n {2}2\S+ +shop:a@3 +answered 500\n$/)
          assert.include(failures.stdout, "orders\\u{202e}\\x1b[31m")
          const listed = yield* webhooks("list")
          assert.match(
            listed.stdout,
            new RegExp(`^ {2}${id} +active +1 +waits since 2\\S+ +shop:… +${receiver.url}/`)
          )

          assert.match((yield* webhooks("pause", id)).stdout, /state +paused\n/)
          status = 204
          assert.deepInclude(jsonOf(yield* webhooks("resume", id, "--json")), { id, state: "active" })
          yield* until("it was told again", () =>
            receiver.received.some((one) => one.headers["webhook-id"] === "shop:a@3" && one.status === 204)
          )
          const rotated = yield* webhooks("rotate", id)
          assert.match(rotated.stdout, /shown this once: whsec_[A-Za-z0-9+/=]+\n$/)
          assert.notInclude(rotated.stdout, String(made.secret))

          assert.strictEqual((yield* webhooks("delete", id)).stdout, `${id} is deleted.\n`)
          assert.strictEqual((yield* webhooks("list")).stdout, "There are no webhooks.\n")
          assert.deepInclude(yield* webhooks("pause", id), {
            code: 1,
            stdout: "",
            stderr: `chronicle: there is no webhook ${id}\n`
          })
        })
      ),
    longest
  )

  it.effect(
    "that are refused say why, and those without a node where one is looked for",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { as, webhooks } = yield* node
          const wrong = yield* webhooks("create", "ftp://shop.example", "--json")
          assert.strictEqual(wrong.code, 1)
          assert.deepNestedInclude(jsonOf(wrong), {
            "error._tag": "InvalidCommand",
            "error.faults[0].path": ["url"]
          })
          assert.match(wrong.stderr, /^chronicle: url: must begin with https:.*\n$/)
          assert.strictEqual((yield* webhooks("create", "https://shop.example", "--type", "Deposit")).code, 2)
          const { id } = jsonOf(yield* webhooks("create", "https://shop.example", "--json"))
          const most = yield* webhooks("create", "https://shop.example", "--json")
          const words =
            "there are 1 webhooks already, which is the most (CHRONICLE_WEBHOOK_ENDPOINTS_MAX): delete one that is not needed"
          assert.deepInclude(most, { code: 1, stderr: `chronicle: ${words}\n` })
          assert.deepEqual(jsonOf(most), { error: { _tag: "WebhookLimit", message: words, max: 1 } })
          yield* webhooks("delete", String(id))
          assert.strictEqual((yield* webhooks("pause", "nonsense")).code, 2)
          const reader = yield* run(["webhooks", "list"], { env: as("reader") })
          assert.deepInclude(reader, { code: 1, stdout: "" })
          assert.match(reader.stderr, /^chronicle: .*the scope admin is missing\n$/)
          const unknown = yield* run(["webhooks", "list"], {
            env: { ...as("boss"), CHRONICLE_RPC_TOKEN: "other" }
          })
          assert.match(unknown.stderr, /^chronicle: .*the token is not known here\n$/)
          const none = yield* run(["webhooks", "list"], { env: { CHRONICLE_HTTP_PORT: "1" } })
          assert.deepInclude(none, {
            code: 1,
            stderr:
              "chronicle: http://127.0.0.1:1 does not answer as a node does (connect ECONNREFUSED 127.0.0.1:1); CHRONICLE_HTTP_URL says where one is\n"
          })
          assert.strictEqual(
            (yield* run(["webhooks", "list"], { env: { CHRONICLE_HTTP_URL: "ledger" } })).code,
            2
          )
        })
      ),
    longest
  )

  it.effect(
    "that may be changed all the same are not printed as what promises that nothing was done",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const words = "it may be done all the same"
          const { document, status } = toProblem(new Unavailable({ what: "read model", reason: "no answer" }))
          const doubtful = yield* listen((_, response) => {
            response.writeHead(status, { "content-type": "application/problem+json" })
            response.end(JSON.stringify({ ...document, detail: words }))
          })
          const at = { env: { CHRONICLE_HTTP_URL: doubtful.url } }
          const asked = [
            ["create", "https://shop.example"],
            ["rotate", "wh_1"],
            ["pause", "wh_1"],
            ["delete", "wh_1"],
            ["list"]
          ]
          const answers = yield* Effect.forEach(asked, (args) => run(["webhooks", ...args, "--json"], at), {
            concurrency: "unbounded"
          })
          const changed = { _tag: "WebhooksFailed", message: words, reason: words }
          const read = { _tag: "Unavailable", message: words, what: "read model", reason: "no answer" }
          assert.deepEqual(
            answers.map((answer) => jsonOf(answer).error),
            [changed, changed, changed, changed, read]
          )
        })
      ),
    longest
  )
})
