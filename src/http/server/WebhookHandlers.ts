/** What the routes of webhooks do. A caller sees and changes the endpoints alone whose prefix lies within its own account prefixes. */
import { Effect, Redacted, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { type Caller, mayName } from "../../access/Tokens.ts"
import { type NewSecret, Webhooks } from "../../actors/webhooks/Webhooks.ts"
import { Forbidden, InvalidCommand, type Overloaded, type Unavailable } from "../../domain/Errors.ts"
import { refuse, strictFor } from "../../domain/StrictDecoding.ts"
import { WebhookInput, WebhookView } from "../../domain/Webhook.ts"
import { CurrentCaller } from "../api/LedgerHttpApi.ts"
import { NotFound, type RequestError } from "../api/Problems.ts"
import { TestResult, WebhookList, WithSecret } from "../api/WebhookRoutes.ts"
import { HttpConnections } from "./HttpConnections.ts"
import { HttpConfig } from "./HttpLimits.ts"
import { parseJson } from "./ReadCommand.ts"
import { readBody } from "./RequestBody.ts"
import { jsonResponse, problemResponse } from "./Responses.ts"
import { type Handle, serveGroup } from "./RouteGroup.ts"

const decodeInput = Schema.decodeUnknownEffect(WebhookInput)
const encodeView = Schema.encodeSync(Schema.toCodecJson(WebhookView))
const encodeList = Schema.encodeSync(Schema.toCodecJson(WebhookList))
const encodeSecret = Schema.encodeSync(Schema.toCodecJson(WithSecret))
const encodeTest = Schema.encodeSync(Schema.toCodecJson(TestResult))

const secretResponse = ({ webhook, secret }: NewSecret, status: number) =>
  jsonResponse(encodeSecret({ ...webhook, secret: Redacted.value(secret) }), status, {
    location: `/v1/webhooks/${webhook.id}`
  })

type Response = HttpServerResponse.HttpServerResponse
type Answered = Effect.Effect<Response, RequestError, Effect.Services<ReturnType<Handle>>>

/** Headers by which a command is done once, or not where something else came before it: what is done with an endpoint keeps no such promise. */
const ofCommands = ["Idempotency-Key", "If-Match"] as const

const refuseHeadersOfCommands = Effect.gen(function* () {
  const { method, headers } = yield* HttpServerRequest.HttpServerRequest
  for (const header of method === "GET" ? [] : ofCommands)
    if (headers[header.toLowerCase()] !== undefined)
      return yield* InvalidCommand.at(
        header,
        "is of commands: for a webhook it would not be heeded. Before one is made again, look for its URL in the list"
      )
})

/** An empty prefix is of all accounts, which only those may follow who may name every account. */
const mayFollow = (caller: Caller, prefix: string): boolean => mayName(caller, prefix)

const makeCreate = Effect.gen(function* () {
  const webhooks = yield* Webhooks
  const connections = yield* HttpConnections
  const { bodyBytesMax } = yield* HttpConfig
  return Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const caller = yield* CurrentCaller
    const room = yield* connections.openBody(request, caller, "command")
    const text = yield* readBody(room, request, "application/json", bodyBytesMax)
    const json = yield* Effect.fromResult(parseJson(text))
    const input = yield* Effect.mapError(decodeInput(json, strictFor(json)), refuse)
    if (!mayFollow(caller, input.prefix ?? ""))
      return yield* new Forbidden({
        caller: caller.name,
        reason: `the prefix of a webhook must begin with ${caller.accounts?.join(" or ")}`
      })
    return secretResponse(yield* webhooks.create(input), 201)
  })
})

const makeHandles = Effect.gen(function* () {
  const webhooks = yield* Webhooks
  const create = yield* makeCreate

  /** What is done with an endpoint that the caller may see. */
  const withOne = <A>(
    act: (id: string) => Effect.Effect<A | undefined, Unavailable | Overloaded>,
    answer: (done: A) => Response
  ): Answered =>
    Effect.gen(function* () {
      const caller = yield* CurrentCaller
      const { params } = yield* HttpRouter.RouteContext
      const id = String(params.webhook)
      const found = yield* webhooks.find(id)
      const done = found !== undefined && mayFollow(caller, found.prefix) ? yield* act(id) : undefined
      return done === undefined ? yield* new NotFound({ what: `webhook ${id}` }) : answer(done)
    })
  const view = (shown: WebhookView) => jsonResponse(encodeView(shown))

  const list = Effect.gen(function* () {
    const caller = yield* CurrentCaller
    const rows = yield* webhooks.list
    return jsonResponse(encodeList({ rows: rows.filter(({ prefix }) => mayFollow(caller, prefix)) }))
  })

  const remove = withOne(
    (id) => Effect.map(webhooks.remove(id), (isRemoved) => (isRemoved ? true : undefined)),
    () => HttpServerResponse.empty({ status: 204 })
  )

  const handles: Readonly<Record<string, Answered>> = {
    createWebhook: create,
    listWebhooks: list,
    getWebhook: withOne(webhooks.find, view),
    testWebhook: withOne(webhooks.test, (attempt) => jsonResponse(encodeTest(attempt))),
    pauseWebhook: withOne(webhooks.pause, view),
    resumeWebhook: withOne(webhooks.resume, view),
    rotateWebhook: withOne(webhooks.rotate, (made) => secretResponse(made, 200)),
    deleteWebhook: remove
  }
  return new Map(
    Object.entries(handles).map(([name, answered]): [string, Handle] => {
      const handle = Effect.andThen(refuseHeadersOfCommands, answered).pipe(
        Effect.catch((error: RequestError) => Effect.succeed(problemResponse(error)))
      )
      return [name, () => handle]
    })
  )
})

export const layer = serveGroup("webhooks", makeHandles)
