/** Opens a node in this process for hosts without Effect. */
import { Effect, Layer, Redacted } from "effect"
import { type AsyncLedger, openLayer, settle } from "./AsyncLedger.ts"
import { type Services, uniqueNodeName } from "./infra/config/Environment.ts"
import { sumPrefixesOf } from "./infra/config/SumPrefixes.ts"
import * as LedgerNode from "./LedgerNode.ts"

/** Where the services are; see the README for what each must be. */
export interface OpenLedgerConfig {
  /** CockroachDB, or PostgreSQL: `postgresql://user:password@host:port/database`. */
  readonly eventStoreUrl: string
  /** PostgreSQL. */
  readonly readModelUrl: string
  /** `nats://host:port`, several separated by commas. */
  readonly natsUrl: string
  /** Names this process among the nodes, the same after a restart; default a name of this call alone. */
  readonly nodeName?: string
  /** Brings both databases to this program's schema first; default false. */
  readonly migrate?: boolean
  /** Prefixes whose sums are kept at hand (`merchant:`), the same on all nodes; default none. */
  readonly sumPrefixes?: ReadonlyArray<string>
}

/** Opens one node in this process. Rejects where a service cannot be reached, saying which and where. */
export const openLedger = async (config: OpenLedgerConfig): Promise<AsyncLedger> => {
  const services: Services = {
    eventStoreUrl: Redacted.make(config.eventStoreUrl),
    readModelUrl: Redacted.make(config.readModelUrl),
    natsUrl: config.natsUrl,
    nodeName: config.nodeName ?? Effect.runSync(uniqueNodeName)
  }
  if (config.migrate === true) await settle(Effect.runPromiseExit(LedgerNode.migrate(services)))
  const declared = sumPrefixesOf(config.sumPrefixes ?? [])
  return openLayer(LedgerNode.layer(services).pipe(Layer.provide(declared)))
}
