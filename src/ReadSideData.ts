/** What the thread of the read side is given when it is started: where the services are, and the limits in force. */
import { Redacted } from "effect"
import type { LogLevel } from "effect/LogLevel"
import type { BusNatsOptions } from "./infra/bus/BusNats.ts"
import type { Services } from "./infra/config/Environment.ts"
import type { LedgerLimits } from "./infra/config/LedgerConfig.ts"
import type { NodeRole } from "./infra/config/NodeRole.ts"
import type { ReadSideLimits } from "./infra/config/ReadSideConfig.ts"
import type { WebhookLimits, WebhookRules } from "./infra/config/WebhookConfig.ts"

/** Can be copied between threads; the URLs are in the clear, and never leave the process. */
export interface ReadSideData {
  readonly eventStoreUrl: string
  readonly readModelUrl: string
  readonly bus: BusNatsOptions
  readonly nodeName: string
  readonly role: NodeRole
  readonly ledger: LedgerLimits
  readonly readSide: ReadSideLimits
  /** Prefixes whose sums are kept at hand. */
  readonly sumPrefixes: ReadonlyArray<string>
  readonly webhooks: WebhookLimits
  readonly webhookRules: WebhookRules
  readonly logLevel: LogLevel
  /** The node exports its spans, where the environment says. */
  readonly isTraced: boolean
  /** Modules of the host, each with a projection as its default export: URLs or absolute paths. */
  readonly projections: ReadonlyArray<string>
}

export const busOf = ({ natsUrl, natsReplicas, natsStream, natsSubject }: Services): BusNatsOptions => ({
  url: natsUrl,
  replicas: natsReplicas ?? 1,
  ...(natsStream === undefined ? {} : { stream: natsStream }),
  ...(natsSubject === undefined ? {} : { subject: natsSubject })
})

/** Where the services of a node are, as it can be copied. */
export const placesOf = (services: Services) => ({
  eventStoreUrl: Redacted.value(services.eventStoreUrl),
  readModelUrl: Redacted.value(services.readModelUrl),
  bus: busOf(services),
  nodeName: services.nodeName
})
