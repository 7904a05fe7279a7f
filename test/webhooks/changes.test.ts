/** Changes of webhooks by host code, where the database gives no answer, in virtual time. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { SecureRandom } from "effect/crypto"
import { TestClock } from "effect/testing"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { WebhookStore } from "../../src/infra/webhooks/WebhookStore.ts"
import { webhookRow } from "../support/webhookRow.ts"
import { webhookWorld } from "../support/webhookWorld.ts"

/** After so long a statement is given up that a silent host does not answer, in milliseconds. */
const silentMs = 13_000

/** Webhooks of a database with one endpoint, which says nothing to the first sendings of changes, and does them or not. */
const world = Effect.fnUntraced(function* (silences: number, isDone: boolean) {
  const context = yield* Layer.build(webhookWorld())
  const store = Context.get(context, WebhookStore)
  yield* store.create(webhookRow("wh_1"), 1)
  let sendings = 0
  const silent = <A>(change: Effect.Effect<A, StoreUnavailable>) =>
    Effect.suspend(() => {
      if (++sendings > silences) return change
      return (isDone ? Effect.asVoid(change) : Effect.void).pipe(
        Effect.andThen(Effect.sleep(silentMs)),
        Effect.andThen(new StoreUnavailable({ store: "read model", reason: "no answer" }))
      )
    })
  const changed = {
    ...store,
    setState: (id, state) => silent(store.setState(id, state)),
    remove: (id) => silent(store.remove(id))
  } satisfies WebhookStore["Service"]
  const webhooks = yield* Layer.build(
    Layer.fresh(Webhooks.layer).pipe(
      Layer.provide(Layer.succeed(WebhookStore, changed)),
      Layer.provide(SecureRandom.layerWebCrypto),
      Layer.provide(Layer.succeedContext(context))
    )
  )
  return { webhooks: Context.get(webhooks, Webhooks), sent: () => sendings }
})

/** What comes of it once so much time has passed. */
const after = Effect.fnUntraced(function* <A, E>(ms: number, asked: Effect.Effect<A, E>) {
  const fiber = yield* Effect.forkScoped(asked, { startImmediately: true })
  yield* TestClock.adjust(ms)
  return yield* Fiber.join(fiber)
})

it.effect("a change is sent again to the host that took over from one that fell silent", () =>
  Effect.gen(function* () {
    const { webhooks, sent } = yield* world(1, false)
    const paused = yield* after(15_000, webhooks.pause("wh_1"))
    assert.strictEqual(paused?.state, "paused")
    assert.strictEqual(sent(), 2)
  })
)

it.effect(
  "a change is given up, as one that may be done, once its second sending stays without an answer",
  () =>
    Effect.gen(function* () {
      const { webhooks, sent } = yield* world(9, true)
      const error = yield* after(30_000, Effect.flip(webhooks.pause("wh_1")))
      assert.match(error.message, /no answer; it may be done all the same/)
      assert.strictEqual(sent(), 2)
    })
)

it.effect(
  "an endpoint is told as deleted where the answer to that was lost, and one that never was is not",
  () =>
    Effect.gen(function* () {
      for (const [id, isRemoved] of [
        ["wh_1", true],
        ["wh_2", false]
      ] as const) {
        const { webhooks } = yield* world(1, true)
        assert.strictEqual(yield* after(15_000, webhooks.remove(id)), isRemoved, id)
      }
    })
)
