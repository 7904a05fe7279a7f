/** How many attempts at endpoints there may be at once, as the environment says it. */
import { assert, it } from "@effect/vitest"
import { ConfigProvider, Effect } from "effect"
import { WebhookConfig, webhooksFromEnvironment } from "../../src/infra/config/WebhookConfig.ts"

it.effect.each<[variables: Record<string, string>, endpointsMax: number, attemptsMax: number]>([
  [{}, 20, 20],
  // Each endpoint that may be made has an attempt of its own, unless another number is asked for.
  [{ CHRONICLE_WEBHOOK_ENDPOINTS_MAX: "50" }, 50, 50],
  [{ CHRONICLE_WEBHOOK_ENDPOINTS_MAX: "5" }, 5, 20],
  [{ CHRONICLE_WEBHOOK_ENDPOINTS_MAX: "50", CHRONICLE_WEBHOOK_ATTEMPTS_MAX: "8" }, 50, 8]
])("%j gives %d endpoints %d attempts", ([variables, endpointsMax, attemptsMax]) =>
  Effect.gen(function* () {
    assert.deepInclude(yield* WebhookConfig, { endpointsMax, attemptsMax })
  }).pipe(
    Effect.provide(webhooksFromEnvironment),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(variables))
  )
)
