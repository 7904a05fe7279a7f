/** What the package exports. */
import "./requireNode.ts"

export { type AsyncLedger, type AsyncResult, openLayer } from "./AsyncLedger.ts"
export { hashToken, Token } from "./access/Tokens.ts"
export type { AsOf, PastState } from "./actors/past/TimeTravel.ts"
export type { DatedTrialBalance } from "./actors/past/TrialBalance.ts"
export * as ProjectionFibers from "./actors/projections/CustomProjection.ts"
export {
  type RebuildOptions,
  type RebuildReport,
  type RebuildStep,
  rebuild
} from "./actors/projections/Rebuild.ts"
export type { CommittedEvent } from "./actors/subscriptions/SharedEvent.ts"
export type { SubscriptionOptions as SubscriptionAsked } from "./actors/subscriptions/Subscriptions.ts"
export { Webhooks } from "./actors/webhooks/Webhooks.ts"
export { Command, type CommandContext, type CommandInput } from "./domain/Command.ts"
export * from "./domain/Errors.ts"
export { Event } from "./domain/Event.ts"
export { AccountId, CommandId, ContraId, Instant, printInstant, Version } from "./domain/Ids.ts"
export { Amount, Asset, formatDecimal, formatMoney, parseDecimal } from "./domain/Money.ts"
export { Posting, printToken, Receipt } from "./domain/Receipt.ts"
export * from "./domain/Views.ts"
export { limitsFromEnvironment, type Services, servicesConfig } from "./infra/config/Environment.ts"
export { defaultLimits, LedgerConfig, type LedgerLimits } from "./infra/config/LedgerConfig.ts"
export { SumPrefixes } from "./infra/config/SumPrefixes.ts"
export {
  WebhookConfig,
  type WebhookLimits,
  WebhookPolicy,
  type WebhookRules
} from "./infra/config/WebhookConfig.ts"
export { type Projection, prefixOf } from "./infra/readmodel/Projection.ts"
export type {
  Page,
  PageRequest as PageAsked,
  ReadConsistency as Fresh,
  StatementQuery as StatementAsked
} from "./infra/readmodel/Queries.ts"
export type { TimeAxis } from "./infra/readmodel/ReadModel.ts"
export { tuneCollector } from "./infra/telemetry/Collector.ts"
export { Ledger, type Past } from "./Ledger.ts"
export * as LedgerNode from "./LedgerNode.ts"
export { type OpenLedgerConfig, openLedger } from "./openLedger.ts"
export {
  type ClientLimits,
  clientConfig,
  defaultClientLimits,
  type LedgerClientOptions
} from "./rpc/client/ClientOptions.ts"
export { type ConnectLedgerConfig, connectLedger } from "./rpc/client/connectLedger.ts"
export { LedgerClient } from "./rpc/client/LedgerClient.ts"
export { LedgerRpc, NodeHealth } from "./rpc/LedgerRpc.ts"
export * as LedgerRpcServer from "./rpc/server/LedgerRpcServer.ts"
export { defaultRpcLimits, RpcConfig, type RpcLimits } from "./rpc/server/RpcLimits.ts"
export { type RpcSettings, readRpcSettings } from "./rpc/server/RpcSettings.ts"
