/** What is asked of the read model is given up where the host of its database died without a word. */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted, type Scope } from "effect"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { makeRebuildTables } from "../../src/infra/readmodel/RebuildTables.ts"
import { WebhookStore } from "../../src/infra/webhooks/WebhookStore.ts"
import { EventWriter, openAccount } from "../support/eventWriter.ts"
import { freshReadModel, limitsOf, readModelOn } from "../support/readSides.ts"
import { type TcpProxy, tcpProxy } from "../support/tcpProxy.ts"
import { webhookRow } from "../support/webhookRow.ts"
import { batchOf } from "./readModelContract.ts"

const a = "a" as AccountId

/** Each test waits for a limit most of the time. */
const together = { concurrent: true }

/** The read model behind a proxy, with limits of seconds, which what is answered meets on a slow machine too. */
const behindProxy = Effect.gen(function* () {
  const url = new URL(yield* freshReadModel(inject("postgresUrl")))
  const proxy = yield* tcpProxy(url.hostname, Number(url.port))
  url.port = String(proxy.port)
  const limits = limitsOf({
    readSide: {
      readModelStatementMs: 3_000,
      sumSettleMsMax: 3_000,
      rebuildIndexMsMax: 3_000,
      swapMsMax: 1_000,
      connectMs: 5_000
    }
  })
  const client = ReadModelSql.layer(Redacted.make(url.toString()))
  const webhooks = Layer.provide(WebhookStore.layer, client)
  return {
    proxy,
    client: Layer.provideMerge(client, limits),
    stores: Layer.provide(Layer.merge(readModelOn(url.toString()), webhooks), limits)
  }
})

const givenUp = "read model: no answer within 8000 ms"

/** All of them, asked at one time of a database that is silent from then on. */
const assertGivenUp = <R>(
  { silenceStatements }: TcpProxy,
  asked: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }, R>>
) =>
  Effect.gen(function* () {
    silenceStatements()
    for (const error of yield* Effect.all(asked.map(Effect.flip), { concurrency: "unbounded" }))
      assert.strictEqual(error.message, givenUp)
  })

it.live(
  "questions end with an error, and those after them go another way",
  () =>
    Effect.gen(function* () {
      const { proxy, stores } = yield* behindProxy
      yield* Effect.gen(function* () {
        const model = yield* ReadModel
        const webhooks = yield* WebhookStore
        const questions: ReadonlyArray<Effect.Effect<unknown, StoreUnavailable>> = [
          // More than the statements of this kind that run at once.
          ...Array.from({ length: 5 }, () => model.heads([a])),
          model.versions([a]),
          model.swept,
          model.declaredSums,
          webhooks.list
        ]
        yield* Effect.all(questions)
        yield* assertGivenUp(proxy, questions)
        proxy.forward()
        yield* Effect.all(questions)
      }).pipe(Effect.provide(stores), Effect.timeout("2 minutes"))
    }),
  together
)

it.live(
  "a batch of a projection ends with an error, and the next one is written",
  () =>
    Effect.gen(function* () {
      const { proxy, stores } = yield* behindProxy
      yield* Effect.gen(function* () {
        const model = yield* ReadModel
        const batch = batchOf(new EventWriter().decide(openAccount("a")))
        proxy.silenceStatements()
        const error = yield* Effect.flip(model.apply(batch))
        assert.deepInclude(error, { _tag: "StoreUnavailable", message: givenUp })
        proxy.forward()
        assert.isTrue(yield* model.apply(batch))
      }).pipe(Effect.provide(stores), Effect.timeout("2 minutes"))
    }),
  together
)

it.live(
  "books that an audit has frozen end with an error",
  () =>
    Effect.gen(function* () {
      const { proxy, stores } = yield* behindProxy
      const error = yield* Effect.gen(function* () {
        const books = yield* (yield* ReadModel).frozen
        assert.strictEqual(yield* books.countTransfers, 0)
        proxy.silence()
        return yield* Effect.flip(books.countTransfers)
      }).pipe(Effect.scoped, Effect.provide(stores), Effect.timeout("2 minutes"))
      assert.strictEqual(error.message, givenUp)
    }),
  together
)

it.live(
  "transactions end with an error, and those after them are committed",
  () =>
    Effect.gen(function* () {
      const { proxy, stores } = yield* behindProxy
      yield* Effect.gen(function* () {
        const model = yield* ReadModel
        const webhooks = yield* WebhookStore
        const opened = batchOf(new EventWriter().decide(openAccount("a")))
        assert.isTrue(yield* model.apply(opened))
        const held = { account: a, version: 1, hash: opened.moves[0]?.head.hash ?? "" }
        const transactions: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }>> = [
          model.declareSums(["a:"]),
          model.settleSum("a:"),
          webhooks.create(webhookRow("w"), 10),
          model.reload(held, 3, batchOf([])),
          model.apply({ ...batchOf([]), skipped: { account: a, version: 9, reason: "a test", since: 1 } })
        ]
        yield* assertGivenUp(proxy, transactions)
        proxy.forward()
        yield* Effect.all(transactions)
        assert.deepStrictEqual(yield* model.declaredSums, [{ prefix: "a:", isFilled: true }])
        assert.lengthOf(yield* webhooks.list, 1)
        assert.lengthOf(yield* model.heldHeads({ after: "", limit: 10 }), 0)
        assert.lengthOf(yield* model.skipped, 1)
      }).pipe(Effect.provide(stores), Effect.timeout("2 minutes"))
    }),
  together
)

it.live(
  "every step of a rebuild ends with an error",
  () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* behindProxy
      yield* Effect.gen(function* () {
        const tables = yield* makeRebuildTables(books)
        yield* Effect.scoped(tables.claim)
        yield* tables.begin(new Map())
        const steps: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }, Scope.Scope>> = [
          tables.progress,
          tables.begin(new Map()),
          tables.scannedTo({ startedAt: 0, after: { account: "", version: 0 }, events: 0, scanned: true }),
          tables.index,
          tables.liveEvents,
          tables.analyze,
          tables.dropOld,
          tables.claim
        ]
        yield* assertGivenUp(proxy, steps)
        const error = yield* Effect.flip(tables.swap(Effect.void))
        assert.include(error.message, "took longer than 1000 ms")
      }).pipe(Effect.scoped, Effect.provide(client), Effect.timeout("2 minutes"))
    }),
  together
)
