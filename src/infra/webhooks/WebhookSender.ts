/**
 * Sends one message to an endpoint and tells how that went. Bounded in time and in what is read of the answer; redirects are not
 * followed, since they would lead past the check of the address.
 */
import { lookup as systemLookup } from "node:dns"
import type * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Clock, Context, Effect, FiberSet, Layer, Option, Result, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type { Instant } from "../../domain/Ids.ts"
import type { WebhookMessage } from "../../domain/Webhook.ts"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { WebhookConfig, WebhookPolicy } from "../config/WebhookConfig.ts"
import { endpointUrl, guardedLookup, oneAtATime, turnsOfProcess } from "./WebhookAddress.ts"

/** How an attempt went. `status` is absent where there was no answer. */
export interface Attempt {
  readonly isDelivered: boolean
  readonly status?: number
  /** What went wrong; empty where nothing did. Nothing of what the endpoint wrote is in it. */
  readonly reason: string
  /** What the endpoint asks to wait, in milliseconds. */
  readonly retryAfterMs?: number
}

interface Sending {
  readonly url: string
  readonly message: WebhookMessage
  readonly headers: Readonly<Record<string, string>>
  /** Now, by a clock that is about right: until when an endpoint asks to wait is an instant. */
  readonly at: Instant
}

export class WebhookSender extends Context.Service<
  WebhookSender,
  {
    /** One attempt; never fails. */
    readonly send: (sending: Sending) => Effect.Effect<Attempt>
  }
>()("chronicle/infra/WebhookSender") {
  /** Over whatever client: what it connects to is the client's care. */
  static readonly layer = Layer.effect(
    WebhookSender,
    Effect.suspend(() => make)
  )

  /**
   * Over connections of its own, whose addresses are checked as they are opened. The client is a hundred modules: it is loaded for the first
   * message, so that no thread waits for them which has none to send.
   */
  static readonly layerNode = Layer.effect(
    WebhookSender,
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const [sender, forget] = yield* Effect.flatMap(
        Effect.promise(() => import("@effect/platform-node/NodeHttpClient")),
        (client) => Layer.buildWithScope(over(client), scope)
      ).pipe(
        // As it was configured here, and whole: the first who sends may give up meanwhile.
        Effect.provideContext(yield* Effect.context<never>()),
        Effect.uninterruptible,
        Effect.cachedInvalidateWithTTL(Number.POSITIVE_INFINITY)
      )
      // What could not be loaded, as where no file can be opened just now, is loaded by the next message.
      const loaded = Effect.tapDefect(sender, () => forget)
      return {
        send: (sending) => Effect.flatMap(loaded, (built) => Context.get(built, WebhookSender).send(sending))
      }
    })
  )
}

/** The sender over a client of the platform: what it connects to is checked by its address. */
const over = (client: typeof NodeHttpClient) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { attemptMs, attemptsMax } = yield* WebhookConfig
      const clock = yield* Clock.Clock
      const turns = turnsOfProcess(yield* FiberSet.makeRuntime<never>())
      const inTurn = oneAtATime(systemLookup, attemptMs, () => elapsedMsUnsafe(clock), turns)
      const lookup = guardedLookup(yield* WebhookPolicy, inTurn)
      const dispatcher = client.layerDispatcherOptions({
        connect: { lookup, timeout: attemptMs },
        connections: attemptsMax,
        keepAliveTimeout: 10_000
      })
      return WebhookSender.layer.pipe(
        Layer.provide(Layer.provide(client.layerUndiciNoDispatcher, dispatcher))
      )
    })
  )

/** How long what follows the head of an answer may take. The head alone has said whether the message was taken. */
const drainMs = 1_000

const failed = (reason: string, status?: number): Attempt => ({
  isDelivered: false,
  reason,
  ...(status === undefined ? {} : { status })
})

/** The innermost cause says what happened: which name has which address, which certificate is refused. */
const reasonOf = (error: unknown): string => {
  let [at, reason] = [error, ""]
  for (let depth = 0; depth < 8 && at instanceof Error; depth++) {
    reason = at.message || reason
    // Where a name has several addresses, each was tried, and only the attempts say why they failed.
    at = at instanceof AggregateError ? at.errors[0] : at.cause
  }
  const [line = ""] = reason.split("\n")
  return line === "" ? "the connection failed" : line.slice(0, 256)
}

/** A number of seconds, or an instant of HTTP (RFC 9110, 10.2.3). */
const retryAfterMs = (
  { headers }: HttpClientResponse.HttpClientResponse,
  now: Instant
): number | undefined => {
  const text = headers["retry-after"]?.trim() ?? ""
  if (/^\d{1,8}$/.test(text)) return Number(text) * 1_000
  const at = /^[A-Z][a-z]{2}, .* GMT$/.test(text) ? Date.parse(text) : Number.NaN
  return at > now ? at - now : undefined
}

const attemptOf = (response: HttpClientResponse.HttpClientResponse, now: Instant): Attempt => {
  const { status } = response
  if (status >= 200 && status < 300) return { isDelivered: true, status, reason: "" }
  const what = status >= 300 && status < 400 ? ": redirects are not followed" : ""
  const asked = retryAfterMs(response, now)
  return {
    ...failed(`answered ${status}${what}`, status),
    ...(asked === undefined ? {} : { retryAfterMs: asked })
  }
}

const make = Effect.gen(function* () {
  const client = yield* HttpClient.HttpClient
  const { answerBytesMax, attemptMs } = yield* WebhookConfig
  const rules = yield* WebhookPolicy

  /** Lets the connection be used again, where the answer is short. What it says is of no interest. */
  const drain = ({ stream }: HttpClientResponse.HttpClientResponse) =>
    stream.pipe(
      Stream.mapAccum(
        () => 0,
        (sum, { length }) => [sum + length, [sum + length]] as const
      ),
      Stream.takeWhile((sum) => sum <= answerBytesMax),
      Stream.runDrain,
      Effect.ignore
    )

  const post = Effect.fnUntraced(function* (url: URL, { at, headers, message }: Sending) {
    const request = HttpClientRequest.post(url, { headers }).pipe(
      HttpClientRequest.setHeader("user-agent", "chronicle-ledger"),
      HttpClientRequest.bodyText(message.body, "application/json")
    )
    const response = yield* client.execute(request)
    return { response, attempt: attemptOf(response, at) }
  })

  const send = Effect.fnUntraced(
    function* (sending: Sending) {
      const url = endpointUrl(sending.url, rules)
      if (Result.isFailure(url)) return failed(`the URL ${url.failure}`)
      const answered = yield* post(url.success, sending).pipe(
        Effect.timeoutOption(attemptMs),
        Effect.catch((error: HttpClientError.HttpClientError) => Effect.succeed(failed(reasonOf(error))))
      )
      if (!Option.isOption(answered)) return answered
      if (Option.isNone(answered)) return failed(`did not answer within ${attemptMs} ms`)
      const { attempt, response } = answered.value
      yield* Effect.timeoutOption(drain(response), drainMs)
      return attempt
    },
    // No trace of ours goes to others, and no URL of theirs into our traces: it may have a secret in it.
    Effect.provideService(HttpClient.TracerDisabledWhen, () => true)
  )
  return { send } satisfies WebhookSender["Service"]
})
