/** The layers of webhooks: what delivers them, in the thread of the read side, and what is done with them, at the doors. */
import { Layer } from "effect"
import { Subscriptions } from "./actors/subscriptions/Subscriptions.ts"
import * as WebhookDelivery from "./actors/webhooks/WebhookDelivery.ts"
import { Webhooks } from "./actors/webhooks/Webhooks.ts"
import { WebhookSender } from "./infra/webhooks/WebhookSender.ts"
import { WebhookStore } from "./infra/webhooks/WebhookStore.ts"

/** Over the read model's database, with a subscription of its own: needs the log, and the feed of commits of its thread. */
export const delivery = WebhookDelivery.layer.pipe(
  Layer.provide([WebhookStore.layer, WebhookSender.layerNode, Subscriptions.layer])
)

/** Operations on endpoints. Needs `Subscriptions`. */
export const operations = Webhooks.layer.pipe(Layer.provide([WebhookStore.layer, WebhookSender.layerNode]))

/** Operations and delivery, with their store in this process's memory. */
export const memory = Layer.merge(Webhooks.layer, WebhookDelivery.layer).pipe(
  Layer.provide([WebhookStore.layerMemory, WebhookSender.layerNode])
)
