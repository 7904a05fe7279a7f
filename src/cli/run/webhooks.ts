/**
 * `webhooks create`, `list`, `failures`, `test`, `pause`, `resume`, `rotate` and `delete`: what a node's HTTP API does with endpoints,
 * for a person or as JSON. Each is one request that is sent once: an endpoint that was made twice would be told everything twice. It
 * is no part of the front, which every command loads and which a client of HTTP would make three files longer.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, Data, Effect, FileSystem, Layer, Option, Predicate, Redacted, Schema } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { HttpApi, HttpApiClient, HttpApiGroup } from "effect/http-api"
import { printInstant } from "../../domain/Ids.ts"
import type { WebhookView } from "../../domain/Webhook.ts"
import { webhookEndpoints } from "../../http/api/WebhookRoutes.ts"
import { OptionsInvalid } from "../failures.ts"
import { given } from "../flags.ts"
import { grouped, makeOutput, type Output, printJson } from "../Output.ts"
import type { CreateFlags, ListFlags, OneFlags } from "../webhooks.ts"

const api = HttpApi.make("chronicle").add(HttpApiGroup.make("webhooks").add(...webhookEndpoints))

/** The longest time of a request; a test may wait for a receiver that does not answer. */
const patience = "1 minute"

/** The node answered in another way than it should, or no node was reached, or whether a change is done is not known. */
class WebhooksFailed extends Data.TaggedError("WebhooksFailed")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** The innermost cause says what happened: which port refused the connection, which certificate is not trusted. */
const causeOf = (error: unknown): string => {
  let at = error
  for (let depth = 0; depth < 8 && at instanceof Error && at.cause !== undefined; depth++) at = at.cause
  if (at instanceof AggregateError) at = at.errors[0]
  return (at instanceof Error ? at.message : String(at)).split("\n")[0] ?? ""
}

/** What the node answered instead: its problem document as the error that it is of, with its fields. */
class Refused extends Error {
  readonly _tag: string
  constructor(tag: string, message: string, fields: object) {
    super(message)
    this._tag = tag
    Object.assign(this, fields)
  }
}

/** The `type` of a problem document ends in the error's tag, and its `detail` is the error's message. */
const failureOf = (url: string, error: unknown): Refused | WebhooksFailed => {
  if (!Predicate.hasProperty(error, "type") || !Predicate.hasProperty(error, "detail"))
    return new WebhooksFailed({
      reason: `${url} does not answer as a node does (${causeOf(error)}); CHRONICLE_HTTP_URL says where one is`
    })
  const { detail, status: _status, title: _title, type, ...fields }: Readonly<Record<string, unknown>> = error
  return new Refused(String(type).replace(/^.*#/, ""), String(detail), fields)
}

/** `CHRONICLE_RPC_CA` is a file with the certificates to trust instead of the system's. */
const httpClient = Layer.unwrap(
  Effect.gen(function* () {
    const file = yield* Config.option(Config.String("CHRONICLE_RPC_CA"))
    if (Option.isNone(file)) return NodeHttpClient.layerNodeHttp
    const files = yield* FileSystem.FileSystem
    const ca = yield* files
      .readFileString(file.value)
      .pipe(Effect.mapError((error) => new OptionsInvalid({ reason: `CHRONICLE_RPC_CA: ${error.message}` })))
    return NodeHttpClient.layerNodeHttpOptions({ ca })
  })
)

/** What a header of HTTP can carry, which is less than RPC can. */
const HeaderText = Schema.String.check(
  Schema.isPattern(/^[\t\x20-\x7e\x80-\xff]*$/, {
    message: "must be one line of characters that a header can carry"
  })
)

/** `CHRONICLE_HTTP_URL`, or a node of this machine at `CHRONICLE_HTTP_PORT`; the token is that of RPC. */
const variables = Config.all({
  url: Config.option(Config.String("CHRONICLE_HTTP_URL")),
  port: Config.Port("CHRONICLE_HTTP_PORT").pipe(Config.withDefault(7080)),
  token: Config.option(Config.schema(Schema.RedactedFromValue(HeaderText), "CHRONICLE_RPC_TOKEN"))
})

const makeClient = (url: string, token: Option.Option<Redacted.Redacted>) =>
  HttpApiClient.make(api, {
    baseUrl: url.replace(/\/+$/, ""),
    transformClient: Option.match(token, {
      onNone: () => (client: HttpClient.HttpClient) => client,
      onSome: (value) =>
        HttpClient.mapRequest(HttpClientRequest.setHeader("authorization", `Bearer ${Redacted.value(value)}`))
    })
  })
type Endpoints = Effect.Success<ReturnType<typeof makeClient>>["webhooks"]

/** Sends one request to the node. */
const asking = <A, E>(ask: (webhooks: Endpoints) => Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const { url, port, token } = yield* variables
    const base = Option.getOrElse(url, () => `http://127.0.0.1:${port}`)
    if (!URL.canParse(base) || !/^https?:/.test(base))
      return yield* new OptionsInvalid({ reason: `CHRONICLE_HTTP_URL: "${base}" is no http: or https: URL` })
    const { webhooks } = yield* makeClient(base, token)
    return yield* ask(webhooks).pipe(
      Effect.mapError((error) => failureOf(base, error)),
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => Effect.fail(new WebhooksFailed({ reason: `${base} has not answered in ${patience}` }))
      })
    )
  }).pipe(Effect.provide(httpClient))

/** Sends one change. A node that cannot tell whether it is done answers `Unavailable`, which of all else promises that nothing was done. */
const sending = <A, E>(change: (webhooks: Endpoints) => Effect.Effect<A, E>) =>
  Effect.mapError(asking(change), (error) =>
    error._tag === "Unavailable" ? new WebhooksFailed({ reason: error.message }) : error
  )

const stateOf = ({ state, reason }: WebhookView): string => (reason === null ? state : `${state}: ${reason}`)

const printOne = Effect.fnUntraced(function* (output: Output, webhook: WebhookView) {
  const {
    attempts,
    delivered,
    deliveredAt,
    description,
    id,
    nextAttemptAt,
    prefix,
    types,
    url,
    waitingSince
  } = webhook
  const at = (instant: number | null, otherwise: string) =>
    instant === null ? otherwise : printInstant(instant)
  yield* output.table([
    ["webhook", id],
    ["url", url],
    ["accounts", prefix === "" ? "all" : `${prefix}…`],
    ["types", types.length === 0 ? "all" : types.join(", ")],
    ...(description === "" ? [] : [["description", description] as const]),
    ["state", stateOf(webhook)],
    ["took", `${grouped(delivered)} events, the last one: ${at(deliveredAt, "none yet")}`],
    ["waiting since", at(waitingSince, "nothing waits")],
    ...(attempts === 0
      ? []
      : [["failed", `${attempts} times at one event; next attempt: ${at(nextAttemptAt, "none")}`] as const])
  ])
})

/** Of the two commands that make one. */
const printSecret = (output: Output, secret: string) =>
  output.line(`The secret that verifies its messages, shown this once: ${secret}`)

export const create = Effect.fnUntraced(function* (flags: CreateFlags) {
  const { description, from, json, prefix, type: types, url } = flags
  const output = makeOutput(json)
  const made = yield* sending((webhooks) =>
    webhooks.createWebhook({
      payload: { url, from, ...given({ prefix, description }), ...(types.length === 0 ? {} : { types }) }
    })
  )
  yield* printOne(output, made)
  yield* printSecret(output, made.secret)
  if (json) yield* printJson(made)
})

export const list = Effect.fnUntraced(function* ({ json }: ListFlags) {
  const output = makeOutput(json)
  const { rows } = yield* asking((webhooks) => webhooks.listWebhooks({}))
  if (rows.length === 0) yield* output.line("There are no webhooks.")
  yield* output.table(
    rows.map((webhook) => [
      webhook.id,
      stateOf(webhook),
      grouped(webhook.delivered),
      webhook.waitingSince === null ? "told all" : `waits since ${printInstant(webhook.waitingSince)}`,
      `${webhook.prefix}…`,
      webhook.url,
      webhook.description
    ]),
    "llr"
  )
  if (json) yield* printJson({ rows })
})

export const failures = Effect.fnUntraced(function* ({ json, webhook }: OneFlags) {
  const output = makeOutput(json)
  const found = yield* asking((webhooks) => webhooks.getWebhook({ params: { webhook } }))
  yield* printOne(output, found)
  yield* output.line(
    found.failures.length === 0
      ? "No attempt at it has failed."
      : "The last failed attempts, the latest first:"
  )
  yield* output.table(found.failures.map(({ at, message, reason }) => [printInstant(at), message, reason]))
  if (json) yield* printJson(found)
})

export const test = Effect.fnUntraced(function* ({ json, webhook }: OneFlags) {
  const output = makeOutput(json)
  const attempt = yield* asking((webhooks) => webhooks.testWebhook({ params: { webhook } }))
  if (json) yield* printJson(attempt)
  if (!attempt.isDelivered)
    return yield* new WebhooksFailed({ reason: `the message was not taken: ${attempt.reason}` })
  yield* output.line(`The endpoint took the message: it answered ${attempt.status}.`)
})

const changing = (
  change: (
    webhooks: Endpoints,
    request: { params: { webhook: string } }
  ) => Effect.Effect<WebhookView, unknown>
) =>
  Effect.fnUntraced(function* ({ json, webhook }: OneFlags) {
    const changed = yield* sending((webhooks) => change(webhooks, { params: { webhook } }))
    yield* printOne(makeOutput(json), changed)
    if (json) yield* printJson(changed)
  })

export const pause = changing((webhooks, request) => webhooks.pauseWebhook(request))
export const resume = changing((webhooks, request) => webhooks.resumeWebhook(request))

export const rotate = Effect.fnUntraced(function* ({ json, webhook }: OneFlags) {
  const output = makeOutput(json)
  const made = yield* sending((webhooks) => webhooks.rotateWebhook({ params: { webhook } }))
  yield* printOne(output, made)
  yield* printSecret(output, made.secret)
  if (json) yield* printJson(made)
})

export const remove = Effect.fnUntraced(function* ({ json, webhook }: OneFlags) {
  yield* sending((webhooks) => webhooks.deleteWebhook({ params: { webhook } }))
  yield* makeOutput(json).line(`${webhook} is deleted.`)
  if (json) yield* printJson({ deleted: webhook })
})
