/** The routes of webhooks: endpoints are made, seen, tried, paused, resumed, given new secrets and deleted. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiSchema, OpenApi } from "effect/http-api"
import type { Scope } from "../../access/Scope.ts"
import { WebhookId, WebhookInput, WebhookView } from "../../domain/Webhook.ts"
import { webhookUrlFormat } from "./Parameters.ts"
import { queryProblems, webhookProblems } from "./Problems.ts"

const View = WebhookView.annotate({ identifier: "Webhook" })
/** The only answers that show a secret. */
export const WithSecret = Schema.Struct({ ...WebhookView.fields, secret: Schema.String }).annotate({
  identifier: "WebhookWithSecret"
})
/** How the attempt of a test went. */
export const TestResult = Schema.Struct({
  isDelivered: Schema.Boolean,
  status: Schema.optionalKey(Schema.Int),
  reason: Schema.String
}).annotate({ identifier: "WebhookTest" })

export const WebhookList = Schema.Struct({ rows: Schema.Array(WebhookView) }).annotate({
  identifier: "Webhooks"
})

const one = "/v1/webhooks/:webhook"
const params = { webhook: WebhookId }
const says = (summary: string) => OpenApi.annotations({ summary })

/** Something is done with one endpoint; the request has no body. */
const act = <Name extends string, Success extends Schema.Top>(
  name: Name,
  verb: `/${string}`,
  success: Success,
  summary: string
) =>
  HttpApiEndpoint.post(name, `${one}${verb}`, { params, success, error: queryProblems }).annotateMerge(
    says(summary)
  )

export const webhookEndpoints = [
  HttpApiEndpoint.post("createWebhook", "/v1/webhooks", {
    payload: Schema.Struct({
      ...WebhookInput.fields,
      // As the document shows it: the node checks more than a pattern can say.
      url: Schema.String.annotate({ format: webhookUrlFormat })
    }).annotate({ identifier: "WebhookInput" }),
    success: WithSecret.pipe(HttpApiSchema.status(201)),
    error: webhookProblems
  }).annotateMerge(says("Makes an endpoint that is told of events; its secret is shown this once.")),
  HttpApiEndpoint.get("listWebhooks", "/v1/webhooks", {
    success: WebhookList,
    error: queryProblems
  }).annotateMerge(says("The endpoints that are told of events, each with its last failures.")),
  HttpApiEndpoint.get("getWebhook", one, { params, success: View, error: queryProblems }).annotateMerge(
    says("An endpoint: how far it was told, its last failures, and when the next attempt is made.")
  ),
  act(
    "testWebhook",
    "/test",
    TestResult,
    "Sends a message of the type ping at once, and says how that went."
  ),
  act("pauseWebhook", "/pause", View, "Tells an endpoint nothing until it is resumed."),
  act("resumeWebhook", "/resume", View, "Goes on where an endpoint was paused or disabled, at once."),
  act(
    "rotateWebhook",
    "/rotate",
    WithSecret,
    "Makes a new secret, shown this once; the former one signs too for a day."
  ),
  HttpApiEndpoint.delete("deleteWebhook", one, {
    params,
    success: HttpApiSchema.Empty(204).annotate({ description: "It is gone." }),
    error: queryProblems
  }).annotateMerge(says("Deletes an endpoint."))
] as const

/**
 * Changes and tests make the node send requests. To see endpoints is for administrators, too: a caller that has the URL of one may often
 * post to it.
 */
export const scopeOfWebhooks: Scope = "admin"
