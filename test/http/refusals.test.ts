/** Every route refuses what it documents to refuse, over real sockets, while an honest client goes on. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { httpRefusals, tryRefusal } from "../support/httpRefusals.ts"
import { routes } from "../support/httpRoutes.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"

const tokens = [
  token("reader", ["read"]),
  token("sender", ["command"]),
  token("boss", ["admin"]),
  token("shop", ["read", "command", "admin"], ["shop:"]),
  token("honest", ["command"])
]
const limits = { bodyBytesMax: 2_000, batchBytesMax: 3_000, headerBytesMax: 4_000 }

layer(memoryLedger, { excludeTestServices: true })("every route", (it) => {
  it.effect(
    "refuses as documented, and an honest client goes on",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const port = yield* ownPort
          yield* Layer.build(
            openHttpLayer(port, { tokens, limits: { ...limits, headersMs: 4_000, requestMs: 6_000 } })
          )
          const ledger = yield* Ledger
          yield* ledger.dispatch({
            _tag: "OpenAccount",
            account: "other:a",
            asset: "USD/2",
            owner: "Ann",
            commandId: "c-1"
          })
          const before = (yield* ledger.stats).committed
          let isOver = false
          let deposits = 0
          const honest = Effect.promise(async () => {
            const { status } = await fetch(`http://127.0.0.1:${port}/v1/accounts/other:a/deposits`, {
              method: "POST",
              headers: { authorization: "Bearer secret-honest", "content-type": "application/json" },
              body: '{"amount":"1"}'
            })
            assert.strictEqual(status, 201)
            deposits++
          }).pipe(Effect.repeat({ schedule: Schedule.spaced(20), until: () => isOver }))
          const going = yield* Effect.forkChild(honest)
          const refusals = httpRefusals(limits)
          assert.isAtLeast(refusals.length, routes.length * 9)
          const faults = yield* Effect.forEach(refusals, (refusal) => tryRefusal(port, refusal), {
            concurrency: 100
          })
          isOver = true
          yield* Fiber.join(going)
          assert.deepEqual(
            faults.filter((fault) => fault !== undefined),
            []
          )
          assert.isAbove(deposits, 0)
          // Nothing but what the honest one sent was done.
          assert.strictEqual((yield* ledger.stats).committed - before, deposits)
        })
      ),
    420_000
  )
})
