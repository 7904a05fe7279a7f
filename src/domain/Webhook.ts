/**
 * Webhooks by the Standard Webhooks specification (https://www.standardwebhooks.com): what an endpoint is, what a message says, and
 * how it is signed.
 */
import { createHmac } from "node:crypto"
import { Schema, Struct } from "effect"
import { storable } from "./Command.ts"
import { Event } from "./Event.ts"
import { AccountId, AccountPrefix, AnyCommandId, Instant, Version } from "./Ids.ts"

export const eventTypes = Struct.keys(Event.cases)

export const WebhookId = Schema.String.check(
  Schema.isPattern(/^wh_[A-Za-z0-9_-]{1,64}$/u, { message: 'must be the id of a webhook, "wh_…"' })
)

const urlCharactersMax = 2_048
const descriptionCharactersMax = 256

/** What is asked for when an endpoint is made. */
export const WebhookInput = Schema.Struct({
  url: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(urlCharactersMax)),
  /** Of accounts whose ids begin with it; all of them, where it is absent. */
  prefix: Schema.optionalKey(AccountPrefix),
  /** Events of these types; all of them, where it is absent. */
  types: Schema.optionalKey(
    Schema.Array(Schema.Literals(eventTypes)).check(
      Schema.isMinLength(1),
      Schema.isMaxLength(eventTypes.length)
    )
  ),
  description: Schema.optionalKey(
    Schema.String.check(Schema.isMaxLength(descriptionCharactersMax), storable)
  ),
  /** Everything that the log has, or what is committed from now on (default). */
  from: Schema.optionalKey(Schema.Literals(["start", "now"]))
})
export type WebhookInput = typeof WebhookInput.Type

/**
 * `paused` by a person; `disabled` because the endpoint answered 410 or failed too often. Neither loses anything: an endpoint that
 * is resumed is told all that happened since.
 */
export const WebhookState = Schema.Literals(["active", "paused", "disabled"])
export type WebhookState = typeof WebhookState.Type

/** One failed attempt. */
export const WebhookFailure = Schema.Struct({
  at: Instant,
  /** Of the message: `webhook-id`. */
  message: Schema.String,
  /** What the endpoint answered; absent where it did not. */
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String
})
export type WebhookFailure = typeof WebhookFailure.Type

/** An endpoint as it is shown, without its secret. */
export const WebhookView = Schema.Struct({
  id: WebhookId,
  url: Schema.String,
  prefix: Schema.String,
  /** Empty: of all types. */
  types: Schema.Array(Schema.String),
  description: Schema.String,
  createdAt: Instant,
  state: WebhookState,
  /** Why it is disabled. */
  reason: Schema.NullOr(Schema.String),
  /** Events that it took, repeated ones included, and when the last one. */
  delivered: Schema.Int,
  deliveredAt: Schema.NullOr(Instant),
  /** Failed attempts at the event whose turn it is, and when the next one is made. */
  attempts: Schema.Int,
  nextAttemptAt: Schema.NullOr(Instant),
  /** When the oldest event was recorded that it was not told yet; null where it was told all that was read of the log. */
  waitingSince: Schema.NullOr(Instant),
  /** The last failed attempts, the latest first. */
  failures: Schema.Array(WebhookFailure),
  /** Until then, messages are signed by the former secret too; null where there is none. */
  formerSecretUntil: Schema.NullOr(Instant)
})
export type WebhookView = typeof WebhookView.Type

/** What a message says of an event. */
const Told = Schema.Struct({
  account: AccountId,
  version: Version,
  commandId: AnyCommandId,
  recordedAt: Instant,
  effectiveAt: Instant,
  hash: Schema.String,
  /** Null where this version of the program cannot read the event: the log has it. */
  event: Schema.NullOr(Event)
})
type Told = typeof Told.Type

const encodeTold = Schema.encodeSync(Schema.toCodecJson(Told))

/** One message, before it is signed. */
export interface WebhookMessage {
  /** The same at each attempt, and of no other message to the same endpoint: what a receiver tells repeated ones by. */
  readonly id: string
  readonly body: string
}

const messageOf = (id: string, type: string, at: Instant, data: unknown): WebhookMessage => ({
  id,
  body: JSON.stringify({ type, timestamp: new Date(at).toISOString(), data })
})

/** The type of an event that this version of the program cannot read. */
const unreadable = "Unreadable"

export const toldMessage = (told: Told): WebhookMessage =>
  messageOf(
    `${told.account}@${told.version}`,
    told.event?._tag ?? unreadable,
    told.recordedAt,
    encodeTold(told)
  )

export const pingMessage = (id: string, webhook: string, at: Instant): WebhookMessage =>
  messageOf(id, "ping", at, { webhook })

/** Whether an endpoint is told of the event. One that cannot be read may be of any type. */
export const isTold = (types: ReadonlyArray<string>, event: Event | undefined): boolean =>
  types.length === 0 || event === undefined || types.includes(event._tag)

const secretPrefix = "whsec_"

export const secretOf = (bytes: Uint8Array): string =>
  `${secretPrefix}${Buffer.from(bytes).toString("base64")}`

/**
 * The headers of a message sent at `at`. The signature is HMAC-SHA256 over `id.timestamp.body` (seconds since 1970), keyed by the
 * bytes that a secret is in Base64 behind `whsec_`; one for each secret, so that a receiver may change over in its own time.
 */
export const headersOf = (
  { id, body }: WebhookMessage,
  at: Instant,
  secrets: ReadonlyArray<string>
): Readonly<Record<string, string>> => {
  const timestamp = String(Math.floor(at / 1_000))
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(secretPrefix.length), "base64")
    return `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`
  })
  return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures.join(" ") }
}
