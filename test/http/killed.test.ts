/** A node that is killed between a commit and its answer: the id of the command answers the first outcome, over HTTP, from the next node. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Option, Redacted } from "effect"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { printed, start, variablesOf } from "../support/chronicle.ts"
import { preparedDataDir, query } from "../support/devStacks.ts"
import { freePorts } from "../support/ports.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { eventually } from "../support/waiting.ts"

const send = (url: string, path: string, key: string, json: unknown) =>
  Effect.tryPromise(async () => {
    const headers = { "content-type": "application/json", "idempotency-key": key }
    const response = await fetch(`${url}${path}`, { method: "POST", headers, body: JSON.stringify(json) })
    return { status: response.status, headers: response.headers, text: await response.text() }
  })

const ask = (url: string, path: string) => Effect.promise(async () => (await fetch(`${url}${path}`)).json())

layer(NodeServices.layer, { excludeTestServices: true })("a node killed between commit and answer", (it) => {
  it.effect(
    "leaves a command whose id answers what was committed",
    () =>
      Effect.gen(function* () {
        const stack = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
        yield* LedgerNode.migrate(stack)
        const store = new URL(Redacted.value(stack.eventStoreUrl))
        const proxy = yield* tcpProxy(store.hostname, Number(store.port))
        store.port = String(proxy.port)
        /** A node of its own process and ports, which reaches the event store by the proxy. */
        const serve = Effect.gen(function* () {
          const ports = yield* freePorts
          const env = { ...variablesOf(stack), ...ports, CHRONICLE_EVENT_STORE_URL: store.href }
          const node = yield* start(["serve"], { env })
          yield* printed(node, /ready, RPC at/)
          return { node, url: `http://127.0.0.1:${ports.CHRONICLE_HTTP_PORT}` }
        })
        const deposit = (url: string, key: string, amount = "5") =>
          send(url, "/v1/accounts/alice/deposits", key, { amount })

        const first = yield* serve
        const alice = { account: "alice", asset: "USD/2", owner: "Ann" }
        assert.strictEqual((yield* send(first.url, "/v1/accounts", "open", alice)).status, 201)
        assert.strictEqual((yield* deposit(first.url, "warm")).status, 201)
        // The statement reaches the store, and no answer of the store reaches the node.
        proxy.cutAnswers()
        const lost = yield* Effect.forkChild(Effect.option(deposit(first.url, "lost")))
        const landed = query(stack.eventStoreUrl, "SELECT 1 FROM events WHERE command_id = 'lost'")
        yield* eventually(
          "the command is in the log",
          Effect.map(Effect.orDie(landed), ({ length }) => length === 1)
        )
        yield* first.node.signal("SIGKILL")
        assert.isTrue(Option.isNone(yield* Fiber.join(lost)), "its caller got no answer")

        proxy.forward()
        const { url } = yield* serve
        const again = yield* deposit(url, "lost")
        assert.deepEqual([again.status, again.headers.get("idempotency-replayed")], [200, "true"])
        assert.deepInclude(JSON.parse(again.text), { commandId: "lost", readToken: "alice@3" })
        assert.deepInclude(yield* ask(url, "/v1/commands/lost"), { commandId: "lost" })
        const other = yield* deposit(url, "lost", "6")
        assert.deepEqual([other.status, JSON.parse(other.text).type], [422, "/docs#CommandIdReused"])
        const strong = yield* ask(url, "/v1/accounts/alice?consistency=strong")
        assert.deepInclude(strong, { balance: "10", version: 3 })
      }).pipe(Effect.scoped),
    420_000
  )
})
