/** A webhook as its row has it, for tests of its store. */
import { Redacted } from "effect"
import type { WebhookRow } from "../../src/infra/webhooks/WebhookStore.ts"

export const webhookRow = (id: string, more: Partial<WebhookRow> = {}): WebhookRow => ({
  id,
  url: "https://shop.example/",
  prefix: "shop:",
  types: ["Deposited"],
  description: 'a "quoted" ☃ one',
  createdAt: 1_767_225_600_000,
  secret: Redacted.make(`whsec_${id}`),
  formerSecret: null,
  formerUntil: null,
  revision: 1,
  state: "active",
  reason: null,
  cursor: "here",
  lastEvent: null,
  delivered: 0,
  deliveredAt: null,
  attempts: 0,
  nextAttemptAt: null,
  waitingSince: null,
  failures: [],
  ...more
})
