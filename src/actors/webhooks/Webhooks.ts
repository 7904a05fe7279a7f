/** What is done with the endpoints of webhooks: make, list, try, pause, resume and delete them, and give them new secrets. */
import { Clock, Context, Effect, Layer, Redacted, Result } from "effect"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { InvalidCommand, Overloaded, Unavailable, WebhookLimit } from "../../domain/Errors.ts"
import type { Instant } from "../../domain/Ids.ts"
import { printable } from "../../domain/Printable.ts"
import {
  headersOf,
  pingMessage,
  secretOf,
  type WebhookInput,
  type WebhookView
} from "../../domain/Webhook.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { WebhookConfig, WebhookPolicy } from "../../infra/config/WebhookConfig.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeAttemptClock, makeStoreNow } from "../../infra/eventstore/StoreClock.ts"
import { endpointUrl } from "../../infra/webhooks/WebhookAddress.ts"
import { type Attempt, WebhookSender } from "../../infra/webhooks/WebhookSender.ts"
import { type WebhookRow, WebhookStore, type WebhookSummary } from "../../infra/webhooks/WebhookStore.ts"
import { Subscriptions } from "../subscriptions/Subscriptions.ts"
import { secretsAt } from "./WebhookDelivery.ts"

/** An endpoint with its secret, which is told this once. */
export interface NewSecret {
  readonly webhook: WebhookView
  /** `whsec_` and 32 bytes in Base64. */
  readonly secret: Redacted.Redacted
}

/** Of all endpoints. */
interface SummaryAsOf extends WebhookSummary {
  /** Now by the event store's clock, within the skew bound: what waits is as old as its event is by that clock. */
  readonly asOf: Instant
}

type Found<A> = Effect.Effect<A | undefined, Unavailable>

export class Webhooks extends Context.Service<
  Webhooks,
  {
    readonly create: (
      input: WebhookInput
    ) => Effect.Effect<NewSecret, InvalidCommand | WebhookLimit | Unavailable>
    /** In order of when they were made; there are few. */
    readonly list: Effect.Effect<ReadonlyArray<WebhookView>, Unavailable>
    /** Undefined, here and below, where there is no such endpoint. */
    readonly find: (id: string) => Found<WebhookView>
    /**
     * Sends a message of the type `ping` at once, past those that wait, and tells how that went. `Overloaded` while the same endpoint is
     * tested, or as many others as there may be attempts.
     */
    readonly test: (id: string) => Effect.Effect<Attempt | undefined, Unavailable | Overloaded>
    /** Tells it nothing until it is resumed; then all that happened meanwhile. */
    readonly pause: (id: string) => Found<WebhookView>
    /** Goes on after a pause or an end; of one that is active, makes the next attempt at once. */
    readonly resume: (id: string) => Found<WebhookView>
    /** Makes a new secret; for some time, messages are signed by the former one too. */
    readonly rotate: (id: string) => Found<NewSecret>
    readonly remove: (id: string) => Effect.Effect<boolean, Unavailable>
    readonly summary: Effect.Effect<SummaryAsOf, Unavailable>
  }
>()("chronicle/actors/Webhooks") {
  static readonly layer = Layer.effect(
    Webhooks,
    Effect.suspend(() => make)
  )
}

const viewOf = ({
  revision: _,
  cursor: __,
  lastEvent: ___,
  secret: ____,
  formerSecret,
  formerUntil,
  ...shown
}: WebhookRow): WebhookView => ({
  ...shown,
  formerSecretUntil: formerSecret === null ? null : formerUntil
})

const unavailable = ({ store: what, reason }: StoreUnavailable) => new Unavailable({ what, reason })

/** Of a change: its statement may have reached a database whose answer did not come. */
class PerhapsChanged extends Unavailable {
  override get message() {
    return printable(
      `${this.what}: ${this.reason}; it may be done all the same: look before it is sent again`
    )
  }
}

/** For how long after its first failure a change is sent again, and the pause before each time, in milliseconds. */
const againMs = 3_000
const againPauseMs = 300

/**
 * Sends a change again where its answer was lost, as by a database that another host takes over: each comes to the same however often it is
 * sent, so the answer of a later sending is true of all. `isAgain`: an earlier one may have been carried out.
 */
const makeChange =
  (clock: Clock.Clock) =>
  <A>(sendOnce: (isAgain: boolean) => Effect.Effect<A, StoreUnavailable>): Effect.Effect<A, Unavailable> =>
    Effect.suspend(() => {
      let until: number | undefined
      const send = (isAgain: boolean): Effect.Effect<A, Unavailable> =>
        Effect.catch(sendOnce(isAgain), ({ reason, store: what }) => {
          const now = elapsedMsUnsafe(clock)
          // Counted from here: a host that fell silent is given up only after longer than that.
          until ??= now + againMs
          if (now >= until) return Effect.fail(new PerhapsChanged({ what, reason }))
          return Effect.delay(
            Effect.suspend(() => send(true)),
            againPauseMs
          )
        })
      return send(false)
    })

/** What a caller is told to wait whose test is one too many, in milliseconds. */
const retryAfterMs = 1_000

/** Tests under way, so many at once and one an endpoint: each waits as long as an endpoint may take for an answer. */
const makeBoundTests = (max: number) => {
  const underWay = new Set<string>()
  const begin = (id: string) =>
    Effect.suspend(() => {
      const isTested = underWay.has(id)
      if (isTested || underWay.size >= max) {
        const what = isTested ? `the number of tests of ${id}` : "the number of tests of webhooks"
        return Effect.fail(new Overloaded({ what, retryAfterMs }))
      }
      underWay.add(id)
      return Effect.void
    })
  return <A, E>(id: string, test: Effect.Effect<A, E>): Effect.Effect<A, E | Overloaded> =>
    Effect.acquireUseRelease(
      begin(id),
      () => test,
      () => Effect.sync(() => underWay.delete(id))
    )
}

const secretBytes = 32

const makeCreate = Effect.fnUntraced(function* (newSecret: Effect.Effect<Redacted.Redacted>) {
  const store = yield* WebhookStore
  const subscriptions = yield* Subscriptions
  const random = yield* SecureRandom.SecureRandom
  const limits = yield* WebhookConfig
  const rules = yield* WebhookPolicy
  const change = makeChange(yield* Clock.Clock)

  return Effect.fn("Webhooks.create")(function* (input: WebhookInput) {
    const { url, prefix = "", types = [], description = "", from = "now" } = input
    const checked = endpointUrl(url, rules)
    if (Result.isFailure(checked)) return yield* InvalidCommand.at("url", checked.failure)
    const secret = yield* newSecret
    const row: WebhookRow = {
      id: `wh_${yield* random.uuidV7({})}`,
      url: checked.success.href,
      prefix,
      types,
      description,
      createdAt: yield* Clock.currentTimeMillis,
      secret,
      formerSecret: null,
      formerUntil: null,
      revision: 1,
      state: "active",
      reason: null,
      cursor: from === "now" ? yield* subscriptions.end : subscriptions.beginning,
      lastEvent: null,
      delivered: 0,
      deliveredAt: null,
      attempts: 0,
      nextAttemptAt: null,
      waitingSince: null,
      failures: []
    }
    const isMade = yield* change(() => store.create(row, limits.endpointsMax))
    if (!isMade) return yield* new WebhookLimit({ max: limits.endpointsMax })
    return { webhook: viewOf(row), secret }
  })
})

const make = Effect.gen(function* () {
  const store = yield* WebhookStore
  const sender = yield* WebhookSender
  const random = yield* SecureRandom.SecureRandom
  const limits = yield* WebhookConfig
  const attemptAt = yield* makeAttemptClock
  const storeNow = yield* makeStoreNow
  const clock = yield* Clock.Clock

  const newSecret = Effect.map(random.randomBytes(secretBytes), (bytes) => Redacted.make(secretOf(bytes)))
  const change = makeChange(clock)
  const shown = (found: Found<WebhookRow>): Found<WebhookView> =>
    Effect.map(found, (row) => (row === undefined ? undefined : viewOf(row)))

  const boundTests = makeBoundTests(limits.attemptsMax)
  const sendTest = Effect.fn("Webhooks.test")(function* (id: string) {
    const row = yield* Effect.mapError(store.find(id), unavailable)
    if (row === undefined) return undefined
    const at = yield* attemptAt
    const secrets = secretsAt(row, at)
    const message = pingMessage(`ping_${yield* random.uuidV7({})}`, id, at)
    return yield* sender.send({ url: row.url, message, headers: headersOf(message, at, secrets), at })
  })

  const rotate = Effect.fn("Webhooks.rotate")(function* (id: string) {
    const secret = yield* newSecret
    // By the clock by which messages are signed, whichever machine does that.
    const until = (yield* attemptAt) + limits.secretOverlapMs
    const webhook = yield* shown(change(() => store.rotate(id, secret, until)))
    return webhook === undefined ? undefined : { webhook, secret }
  })

  const remove = Effect.fn("Webhooks.remove")(function* (id: string) {
    // Of one that was there and is not any more, an earlier sending was carried out whose answer was lost.
    if ((yield* Effect.mapError(store.find(id), unavailable)) === undefined) return false
    return yield* change((isAgain) => Effect.map(store.remove(id), (isRemoved) => isRemoved || isAgain))
  })

  return {
    create: yield* makeCreate(newSecret),
    list: Effect.mapBoth(store.list, { onFailure: unavailable, onSuccess: (rows) => rows.map(viewOf) }),
    find: (id) => shown(Effect.mapError(store.find(id), unavailable)),
    test: (id) => boundTests(id, sendTest(id)),
    pause: (id) => shown(change(() => store.setState(id, "paused"))),
    resume: (id) => shown(change(() => store.setState(id, "active"))),
    rotate,
    remove,
    summary: Effect.map(Effect.mapError(store.summary, unavailable), (summary) => ({
      ...summary,
      // The machine's until the store has told.
      asOf: storeNow() ?? clock.currentTimeMillisUnsafe()
    }))
  } satisfies Webhooks["Service"]
})
