/** The limits of webhooks (I10), and which addresses they may be sent to; each overridable by the environment. */
import { Config, Context, Effect, Layer, Option } from "effect"
import { limit, limitGroup, limitsOf, variableOf } from "./Limits.ts"

export const webhookLimits = limitGroup("CHRONICLE_WEBHOOK", {
  endpointsMax: limit(
    20,
    "Endpoints of the ledger, paused and disabled ones included; each reads the log by itself."
  ),
  attemptsMax: limit(
    20,
    "Attempts that are under way at once, one an endpoint at most; where it is not set, at least as many as there may be endpoints. Endpoints that fail or are slow have half of them at most. As many tests may be under way besides on each node, one an endpoint."
  ),
  attemptMs: limit(15_000, "How long an endpoint may take for an answer, connecting included."),
  answerBytesMax: limit(
    16_384,
    "Bytes of the body of an answer that are read; where it has more, the connection is closed."
  ),
  pauseMs: limit(
    5_000,
    "The pause after the first failed attempt at an event; it doubles after each further one."
  ),
  pauseMsMax: limit(86_400_000, "The longest pause between two attempts at an event."),
  triesMax: limit(
    19,
    "Failed attempts at one event after which its endpoint is disabled; by the pauses above after about five days."
  ),
  failuresMax: limit(20, "Failed attempts that are kept for each endpoint, the last ones."),
  secretOverlapMs: limit(
    86_400_000,
    "How long messages are signed by the former secret too, after a new one was made."
  ),
  pollMs: limit(
    1_000,
    "How often the node that delivers looks for endpoints that were made, paused, resumed or deleted."
  ),
  idleMs: limit(200, "The pause before an endpoint that was told everything looks into the log again."),
  saveMs: limit(
    250,
    "How often the place of an endpoint that is told many events is written down; what is told after it, is told again where the node dies."
  )
})

export type WebhookLimits = typeof webhookLimits.schema.Type
export const defaultWebhookLimits: WebhookLimits = webhookLimits.defaults

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const WebhookConfig = Context.Reference<WebhookLimits>("chronicle/infra/WebhookConfig", {
  defaultValue: () => defaultWebhookLimits
})

/** Which addresses an endpoint may have. Without these bounds a token that may make endpoints could make the nodes ask services of their own network. */
export interface WebhookRules {
  /** `http:` besides `https:`. */
  readonly allowHttp: boolean
  /** Private, loopback, link-local and other addresses that are not of the public Internet. */
  readonly allowPrivate: boolean
}

export const WebhookPolicy = Context.Reference<WebhookRules>("chronicle/infra/WebhookPolicy", {
  defaultValue: () => ({ allowHttp: false, allowPrivate: false })
})

const flag = (variable: string) => Config.Boolean(variable).pipe(Config.withDefault(false))

/** `CHRONICLE_WEBHOOK_ALLOW_HTTP`, `CHRONICLE_WEBHOOK_ALLOW_PRIVATE`: `true` or `false`, the default. */
const rulesFromEnvironment: Config.Config<WebhookRules> = Config.all({
  allowHttp: flag("CHRONICLE_WEBHOOK_ALLOW_HTTP"),
  allowPrivate: flag("CHRONICLE_WEBHOOK_ALLOW_PRIVATE")
})

export const webhooksFromEnvironment = Layer.unwrap(
  Effect.gen(function* () {
    const limits = yield* limitsOf(webhookLimits)
    const attempts = yield* Config.option(Config.String(variableOf("attemptsMax", webhookLimits.prefix)))
    // More endpoints than attempts would wait for each other, which is to be asked for and not to happen by the way.
    const attemptsMax = Option.isSome(attempts)
      ? limits.attemptsMax
      : Math.max(limits.attemptsMax, limits.endpointsMax)
    return Layer.merge(
      Layer.succeed(WebhookConfig, { ...limits, attemptsMax }),
      Layer.succeed(WebhookPolicy, yield* rulesFromEnvironment)
    )
  })
)
