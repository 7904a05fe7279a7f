/** What an audit reads of the read model is given up where its database falls silent. */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { freshReadModel, limitsOf, readModelOn } from "../support/readSides.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

it.live("frozen books whose database falls silent end with an error", () =>
  Effect.gen(function* () {
    const url = new URL(yield* freshReadModel(inject("postgresUrl")))
    const proxy = yield* tcpProxy(url.hostname, Number(url.port))
    url.port = String(proxy.port)
    const readModel = readModelOn(url.toString()).pipe(
      Layer.provide(limitsOf({ readSide: { sumSettleMsMax: 1_000, connectMs: 1_000 } }))
    )
    const failure = yield* Effect.gen(function* () {
      const books = yield* (yield* ReadModel).frozen
      assert.strictEqual(yield* books.countTransfers, 0)
      proxy.silence()
      return yield* Effect.flip(books.countTransfers)
    }).pipe(Effect.scoped, Effect.provide(readModel), Effect.timeout("60 seconds"))
    assert.strictEqual(failure.message, "read model: no answer within 2000 ms")
  })
)
