/** The contract of the endpoints' rows, in memory and on PostgreSQL. */
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { type WebhookProgress, type WebhookRow, WebhookStore } from "../../src/infra/webhooks/WebhookStore.ts"
import { freshReadModel } from "../support/readSides.ts"
import { webhookRow } from "../support/webhookRow.ts"

const sqlLayer = Layer.unwrap(
  Effect.map(freshReadModel(inject("postgresUrl")), (url) =>
    WebhookStore.layer.pipe(Layer.provide(ReadModelSql.layer(Redacted.make(url))))
  )
)

/** Redacted values are compared by what they hide. */
const plain = (row: WebhookRow | undefined) =>
  row === undefined
    ? undefined
    : {
        ...row,
        secret: Redacted.value(row.secret),
        formerSecret: row.formerSecret === null ? null : Redacted.value(row.formerSecret)
      }

const none = { delivered: 0, failed: 0 }
const progress: WebhookProgress = {
  state: "active",
  reason: null,
  cursor: "there",
  lastEvent: "a@1",
  delivered: 3,
  deliveredAt: 1_767_225_601_234,
  attempts: 2,
  nextAttemptAt: 1_767_225_700_000,
  waitingSince: 1_767_225_600_500,
  failures: [{ at: 1_767_225_601_000, message: "a@1", status: 500, reason: "answered 500" }]
}

for (const [name, layer] of [
  ["memory", Layer.fresh(WebhookStore.layerMemory)],
  ["PostgreSQL", sqlLayer]
] as const)
  describe(`the endpoints' rows in ${name}`, () => {
    it.live("are kept whole, in order of when they were made, and no more than allowed", () =>
      Effect.gen(function* () {
        const store = yield* WebhookStore
        assert.isTrue(yield* store.create(webhookRow("wh_2"), 2))
        assert.isTrue(
          yield* store.create(webhookRow("wh_1", { createdAt: 1_767_225_600_001, ...progress }), 2)
        )
        assert.isFalse(yield* store.create(webhookRow("wh_3"), 2))
        assert.deepEqual((yield* store.list).map(plain), [
          plain(webhookRow("wh_2")),
          plain(webhookRow("wh_1", { createdAt: 1_767_225_600_001, ...progress }))
        ])
        assert.isUndefined(yield* store.find("wh_3"))
        assert.deepEqual(yield* store.states, [
          { id: "wh_2", revision: 1, state: "active" },
          { id: "wh_1", revision: 1, state: "active" }
        ])
        assert.isTrue(yield* store.remove("wh_2"))
        assert.isFalse(yield* store.remove("wh_2"))
        const made = yield* Effect.all(
          ["wh_4", "wh_5", "wh_6", "wh_7"].map((id) => store.create(webhookRow(id), 3)),
          { concurrency: 4 }
        )
        assert.lengthOf(
          made.filter((isMade) => isMade),
          2,
          "of four at once, those for which there is room"
        )
      }).pipe(Effect.provide(layer))
    )

    it.live("are written by the delivery that began last alone, and by none after a person's change", () =>
      Effect.gen(function* () {
        const store = yield* WebhookStore
        yield* store.create(webhookRow("wh_1"), 5)
        const first = yield* store.begin("wh_1", 1)
        assert.strictEqual(first?.revision, 2)
        assert.isUndefined(yield* store.begin("wh_1", 1), "another was quicker")
        const second = yield* store.begin("wh_1", 2)
        if (first === undefined || second === undefined) return assert.fail("both began")
        assert.isFalse(yield* store.save(first, progress, { delivered: 1, failed: 1 }))
        assert.isTrue(yield* store.save(second, progress, { delivered: 3, failed: 2 }))
        assert.deepEqual(
          plain(yield* store.find("wh_1")),
          plain(webhookRow("wh_1", { ...progress, revision: 3 }))
        )
        const paused = yield* store.setState("wh_1", "paused")
        assert.deepInclude(paused, {
          state: "paused",
          revision: 4,
          attempts: 0,
          nextAttemptAt: null,
          cursor: "there"
        })
        assert.isFalse(yield* store.save(second, progress, none))
        assert.isUndefined(yield* store.begin("wh_1", 4), "it is paused")
        yield* store.setState("wh_1", "active")
        const third = yield* store.begin("wh_1", 5)
        if (third === undefined) return assert.fail("it is active")
        const gaveUp = { ...progress, state: "disabled", reason: "it answered 410" } as const
        assert.isTrue(yield* store.save(third, gaveUp, none))
        assert.deepInclude(yield* store.find("wh_1"), { state: "disabled", reason: "it answered 410" })
        assert.deepInclude(yield* store.setState("wh_1", "active"), { state: "active", reason: null })
        assert.isUndefined(yield* store.setState("wh_none", "active"))
        assert.deepEqual(yield* store.summary, {
          delivered: 3,
          failed: 2,
          endpoints: { active: 1, paused: 0, disabled: 0 },
          waitingSince: progress.waitingSince
        })
        yield* store.remove("wh_1")
        assert.deepEqual(yield* store.summary, {
          delivered: 3,
          failed: 2,
          endpoints: { active: 0, paused: 0, disabled: 0 },
          waitingSince: null
        })
      }).pipe(Effect.provide(layer))
    )

    it.live("are changed once by a change that is sent again", () =>
      Effect.gen(function* () {
        const store = yield* WebhookStore
        // Also where there is no room for a further one.
        for (const url of ["https://shop.example/first", "https://shop.example/again"])
          assert.isTrue(yield* store.create(webhookRow("wh_1", { url }), 1))
        assert.deepEqual(
          (yield* store.list).map((row) => row.url),
          ["https://shop.example/first"]
        )
        const rotate = store.rotate("wh_1", Redacted.make("whsec_new"), 1_767_312_000_000)
        assert.deepEqual(plain(yield* rotate), plain(yield* rotate))
        assert.deepInclude(plain(yield* store.find("wh_1")), {
          secret: "whsec_new",
          formerSecret: "whsec_wh_1",
          revision: 2
        })
      }).pipe(Effect.provide(layer))
    )

    it.live("keep the former secret beside the new one until its time", () =>
      Effect.gen(function* () {
        const store = yield* WebhookStore
        yield* store.create(webhookRow("wh_1"), 5)
        const rotated = yield* store.rotate("wh_1", Redacted.make("whsec_new"), 1_767_312_000_000)
        assert.deepEqual(
          plain(rotated),
          plain(
            webhookRow("wh_1", {
              secret: Redacted.make("whsec_new"),
              formerSecret: Redacted.make("whsec_wh_1"),
              formerUntil: 1_767_312_000_000,
              revision: 2
            })
          )
        )
        assert.isUndefined(yield* store.rotate("wh_none", Redacted.make("x"), 0))
      }).pipe(Effect.provide(layer))
    )
  })
