/** Webhooks of whole nodes on real stores: delivered from the thread of the read side, and by the next node after one that ended. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { quiet } from "../support/callers.ts"
import { freshServices } from "../support/freshServices.ts"
import { eventually } from "../support/waiting.ts"
import { listen, loopbackAllowed } from "../support/webhookReceiver.ts"
import { limitsOf } from "../support/webhookWorld.ts"

it.live("a node that ended leaves its webhooks to the next, which goes on with what was not taken", () =>
  Effect.gen(function* () {
    const services = yield* freshServices
    let isDown = false
    const { received, url } = yield* listen((_, response) => {
      response.statusCode = isDown ? 503 : 200
      response.end()
    })
    const taken = () =>
      received.flatMap(({ status, headers }) => (status === 200 ? [headers["webhook-id"]] : []))
    const inNode = <A, E>(nodeName: string, life: Effect.Effect<A, E, Ledger | Webhooks>) =>
      Effect.provide(
        life,
        LedgerNode.layer({ ...services, nodeName }).pipe(
          Layer.provide([
            loopbackAllowed,
            limitsOf({ pollMs: 50, idleMs: 20, pauseMs: 100, pauseMsMax: 200 }),
            quiet
          ]),
          Layer.fresh
        )
      )
    const id = yield* inNode(
      "first",
      Effect.gen(function* () {
        const ledger = yield* Ledger
        const webhooks = yield* Webhooks
        const { webhook } = yield* webhooks.create({ url })
        yield* ledger.dispatch({ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ann" })
        yield* eventually(
          "the first is taken",
          Effect.sync(() => taken().length > 0)
        )
        isDown = true
        for (let nth = 0; nth < 20; nth++)
          yield* ledger.dispatch({ _tag: "Deposit", account: "a", amount: 1n })
        yield* eventually(
          "it was refused",
          Effect.sync(() => received.at(-1)?.status === 503)
        )
        yield* eventually(
          "that is written down",
          Effect.map(Effect.orDie(webhooks.find(webhook.id)), (one) => (one?.failures.length ?? 0) > 0)
        )
        return webhook.id
      })
    )
    isDown = false
    const shown = yield* inNode(
      "second",
      Effect.gen(function* () {
        const webhooks = yield* Webhooks
        yield* eventually(
          "all are taken",
          Effect.sync(() => new Set(taken()).size === 21)
        )
        yield* eventually(
          "that is written down",
          Effect.map(
            Effect.orDie(webhooks.find(id)),
            (one) => one?.waitingSince === null && one.delivered >= 21
          )
        )
        return yield* webhooks.find(id)
      })
    )
    const order = [...new Set(taken())]
    assert.deepEqual(
      order,
      Array.from({ length: 21 }, (_, nth) => `a@${nth + 1}`)
    )
    assert.deepInclude(shown, { state: "active", attempts: 0 })
    assert.strictEqual(shown?.failures[0]?.message, "a@2")
  }).pipe(Effect.scoped)
)
