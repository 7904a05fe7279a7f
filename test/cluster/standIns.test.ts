/** A member whose read side cannot run keeps its shards of it, and another member does what it does not. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { LedgerClient } from "../../src/rpc/client/LedgerClient.ts"
import { printed, start } from "../support/chronicle.ts"
import { deposit, openAccount } from "../support/eventWriter.ts"
import { OwnBus } from "../support/ownServers.ts"
import { freePorts, ownPort } from "../support/ports.ts"
import { eventually } from "../support/readSides.ts"

const startNode = Effect.fnUntraced(function* (name: string, env: Readonly<Record<string, string>> = {}) {
  const { eventStoreUrl, readModelUrl, nats } = yield* OwnBus
  const ports = yield* freePorts
  const running = yield* start(["serve"], {
    env: {
      CHRONICLE_EVENT_STORE_URL: Redacted.value(eventStoreUrl),
      CHRONICLE_READ_MODEL_URL: Redacted.value(readModelUrl),
      CHRONICLE_NATS_URL: nats.url,
      CHRONICLE_CLUSTER_DUTY_REPORT_MS: "200",
      CHRONICLE_CLUSTER_DUTY_SILENT_MS: "3000",
      CHRONICLE_NODE_NAME: name,
      CHRONICLE_CLUSTER_PORT: String(yield* ownPort),
      ...ports,
      ...env
    }
  })
  yield* printed(running, /ready, RPC at/)
  const client = yield* Layer.build(
    LedgerClient.layer({ urls: [`tcp://127.0.0.1:${ports.CHRONICLE_RPC_PORT}`] })
  )
  return { running, ledger: Context.get(client, Ledger), port: ports.CHRONICLE_HTTP_PORT }
})

/** Ends each thread of the program but the first as it starts. */
const withoutThreads = `--import=data:text/javascript,${encodeURIComponent(
  'import { isMainThread } from "node:worker_threads"; if (!isMainThread) process.exit(1)'
)}`

const readiness = (port: string) =>
  Effect.promise(() =>
    fetch(`http://127.0.0.1:${port}/ready`, { signal: AbortSignal.timeout(60_000) }).then(
      async (response) => ({
        status: response.status,
        body: await response.text()
      })
    )
  )

it.live(
  "another member stands in for one whose thread of the read side cannot run",
  () =>
    Effect.gen(function* () {
      const { eventStoreUrl, readModelUrl } = yield* OwnBus
      yield* LedgerNode.migrate({ eventStoreUrl, readModelUrl })
      const sound = yield* startNode("sound")
      // Its thread ends before it has started, again and again, with whatever shards the node is given.
      const lame = yield* startNode("lame", { NODE_OPTIONS: withoutThreads })
      yield* printed(sound.running, /runs, in place of an owner that has not reported/)
      const accounts = Array.from({ length: 32 }, (_, nth) => `account-${nth}`)
      for (const account of accounts) yield* lame.ledger.dispatch(openAccount(account))
      for (const account of accounts) {
        const { readToken } = yield* lame.ledger.dispatch(deposit(account, 5n))
        yield* eventually(
          Effect.map(Effect.exit(sound.ledger.balance(account, { readToken })), (exit) =>
            assert.strictEqual(exit._tag === "Success" ? exit.value.balance : exit.toString(), 5n)
          )
        )
      }
      yield* eventually(
        Effect.map(readiness(sound.port), ({ status, body }) => assert.strictEqual(status, 200, body))
      )
      yield* eventually(
        Effect.map(readiness(lame.port), ({ status, body }) => {
          assert.strictEqual(status, 503)
          assert.include(body, "the thread of the read side")
        })
      )
    }).pipe(Effect.scoped, Effect.provide(OwnBus.layer)),
  420_000
)
