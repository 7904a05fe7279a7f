/** Webhooks on a log in memory, with an endpoint that answers as the test says, in virtual time. */
import { assert } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Layer, Scope } from "effect"
import { SecureRandom } from "effect/crypto"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import * as WebhookDelivery from "../../src/actors/webhooks/WebhookDelivery.ts"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import {
  defaultWebhookLimits,
  WebhookConfig,
  type WebhookLimits,
  WebhookPolicy
} from "../../src/infra/config/WebhookConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { WebhookSender } from "../../src/infra/webhooks/WebhookSender.ts"
import { WebhookStore } from "../../src/infra/webhooks/WebhookStore.ts"
import { quiet } from "./callers.ts"
import type { EventWriter } from "./eventWriter.ts"

/** A request as the endpoint saw it. */
export interface Seen {
  readonly at: number
  readonly url: string
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
  readonly id: string
}

/** What the endpoint does with a request: a status, or nothing for ever. */
export type Answer = number | "hangs" | { readonly status: number; readonly headers: Record<string, string> }

export class Endpoint extends Context.Service<
  Endpoint,
  { readonly seen: Array<Seen>; answer: (seen: Seen) => Answer; underWay: number; underWayMost: number }
>()("chronicle/test/Endpoint") {
  static readonly layer = Layer.sync(Endpoint, () => ({
    seen: [],
    answer: () => 204,
    underWay: 0,
    underWayMost: 0
  }))
}

const client = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(Endpoint, (endpoint) =>
    HttpClient.make((request, url) =>
      Effect.gen(function* () {
        const { body, headers } = request
        const seen: Seen = {
          at: yield* Clock.currentTimeMillis,
          url: url.href,
          headers: { ...headers },
          body: body._tag === "Uint8Array" ? Buffer.from(body.body).toString() : "",
          id: headers["webhook-id"] ?? ""
        }
        endpoint.seen.push(seen)
        endpoint.underWayMost = Math.max(endpoint.underWayMost, ++endpoint.underWay)
        // An answer takes a millisecond, so that some are under way at once.
        yield* Effect.sleep(1)
        const answer = endpoint.answer(seen)
        if (answer === "hangs") return yield* Effect.never
        const { status, headers: answered } =
          typeof answer === "number" ? { status: answer, headers: {} } : answer
        return HttpClientResponse.fromWeb(request, new Response(null, { status, headers: answered }))
      }).pipe(Effect.ensuring(Effect.sync(() => endpoint.underWay--)))
    )
  )
)

export const limitsOf = (limits: Partial<WebhookLimits>) =>
  Layer.succeed(WebhookConfig, { ...defaultWebhookLimits, ...limits })

/** The stores, the operations and the endpoint; nodes that deliver are started by the test. */
export const webhookWorld = (limits: Partial<WebhookLimits> = {}, allowPrivate = false) =>
  Layer.fresh(
    Webhooks.layer.pipe(
      Layer.provideMerge(WebhookSender.layer),
      Layer.provideMerge(Layer.mergeAll(client, Subscriptions.layer, WebhookStore.layerMemory)),
      Layer.provideMerge(Layer.mergeAll(Endpoint.layer, EventStore.layerMemory, CommitFeed.layer)),
      Layer.provide(SecureRandom.layerWebCrypto),
      Layer.provideMerge(limitsOf(limits)),
      // Days pass in these tests, in which nothing happens mostly.
      Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, subscribePollMs: 60_000 })),
      Layer.provideMerge(Layer.succeed(WebhookPolicy, { allowHttp: allowPrivate, allowPrivate })),
      Layer.provideMerge(quiet)
    )
  )

/** A node that delivers, until its end, at which it gets to write nothing. */
export const startNode = Effect.gen(function* () {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Layer.buildWithMemoMap(Layer.fresh(WebhookDelivery.layer), Layer.makeMemoMapUnsafe(), scope)
  return { stop: Scope.close(scope, Exit.void) }
})

/** Writes to the log, as another node does: the deliveries learn of it by looking. */
export const write = Effect.fnUntraced(function* (
  writer: EventWriter,
  ...commands: ReadonlyArray<CommandInput>
) {
  const store = yield* EventStore
  writer.now = yield* Clock.currentTimeMillis
  const commit = writer.commit(...commands)
  if (commit.seq === 1) yield* store.registerWriter({ writerId: commit.writerId, node: "test", closedAt: 0 })
  assert.strictEqual((yield* store.commit(commit))._tag, "Committed")
})

/** Lets so much virtual time pass. */
export const pass = TestClock.adjust
