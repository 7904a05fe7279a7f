/**
 * `chronicle-ledger/client`: the ledger of nodes elsewhere, over RPC, for hosts with Effect (`LedgerClient`) and without it
 * (`connectLedger`). Loads nothing of a node: no database driver, no bus, no actor.
 */
import "./requireNode.ts"

export { type AsyncLedger, type AsyncResult, openLayer } from "./AsyncLedger.ts"
export { Command, type CommandContext, type CommandInput } from "./domain/Command.ts"
export * from "./domain/Errors.ts"
export { Event } from "./domain/Event.ts"
export { AccountId, CommandId, ContraId, Instant, printInstant, Version } from "./domain/Ids.ts"
export { Amount, Asset, formatDecimal, formatMoney, parseDecimal } from "./domain/Money.ts"
export { Posting, printToken, Receipt } from "./domain/Receipt.ts"
export * from "./domain/Views.ts"
export type { Past } from "./LedgerQueries.ts"
export { Ledger } from "./LedgerService.ts"
export {
  type ClientLimits,
  clientConfig,
  defaultClientLimits,
  type LedgerClientOptions
} from "./rpc/client/ClientOptions.ts"
export { type ConnectLedgerConfig, connectLedger } from "./rpc/client/connectLedger.ts"
export { LedgerClient } from "./rpc/client/LedgerClient.ts"
export { NodeHealth } from "./rpc/LedgerRpc.ts"
