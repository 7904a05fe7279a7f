/** What peers may call: one procedure for each method of `Ledger`, with the schemas of what enters and leaves. */
import { Schema } from "effect"
import { Rpc, RpcGroup, RpcSchema } from "effect/rpc"
import { CommandError, QueryError } from "../domain/Errors.ts"
import { Event } from "../domain/Event.ts"
import { AccountId, CommandId, Instant, Version } from "../domain/Ids.ts"
import { Amount, Asset } from "../domain/Money.ts"
import { Receipt } from "../domain/Receipt.ts"
import { AccountView, HistoryEntry, PastView, StatementLineView, TrialLineView } from "../domain/Views.ts"

/**
 * A command as JSON, amounts as strings. Not checked here but by the ledger, so that a caller of any language gets
 * `InvalidCommand` with the path of each fault, and not a message about the protocol.
 */
const Wire = Schema.Unknown

const optional = <S extends Schema.Constraint>(schema: S) => Schema.optional(schema)
const Account = Schema.String
const Fresh = { readToken: optional(Schema.String) }
const PageAsked = { cursor: optional(Schema.String), limit: optional(Schema.Number) }

const page = <S extends Schema.Constraint>(row: S) =>
  Schema.Struct({ rows: Schema.Array(row), next: Schema.UndefinedOr(Schema.String) })

/** A transfer as the read model tells it. */
export const TransferView = Schema.Struct({
  id: CommandId,
  from: AccountId,
  fromVersion: Version,
  to: AccountId,
  toVersion: Version,
  asset: Asset,
  amount: Amount,
  description: Schema.NullOr(Schema.String),
  recordedAt: Instant,
  effectiveAt: Instant
})

const ContraRow = Schema.Struct({
  contra: Schema.String,
  asset: Asset,
  balance: Schema.BigIntFromString
})

/** One committed event of a subscription. */
const CommittedView = Schema.Struct({
  account: AccountId,
  version: Version,
  event: Schema.UndefinedOr(Event),
  commandId: CommandId,
  recordedAt: Instant,
  effectiveAt: Instant,
  hash: Schema.String,
  cursor: Schema.String
})

/** `DispatcherStats` of the node that answers. */
const Stats = Schema.Struct({
  inFlight: Schema.Int,
  residents: Schema.Int,
  batches: Schema.Int,
  rows: Schema.Int,
  rowsMax: Schema.Int,
  behind: Schema.Int,
  committed: Schema.Int,
  conflicts: Schema.Int,
  repeats: Schema.Int,
  unknown: Schema.Int,
  fenced: Schema.Int,
  trouble: Schema.UndefinedOr(Schema.String),
  commitMs: Schema.Number
})

/** Whether the node takes commands now, and if not, why. */
export const NodeHealth = Schema.Struct({ ready: Schema.Boolean, reasons: Schema.Array(Schema.String) })
export type NodeHealth = typeof NodeHealth.Type

export const LedgerRpc = RpcGroup.make(
  Rpc.make("dispatch", { payload: { command: Wire }, success: Receipt, error: CommandError }),
  /** One result a command, in order; the call itself fails only where none of them was looked at. */
  Rpc.make("dispatchMany", {
    payload: { commands: Schema.Array(Wire) },
    success: Schema.Array(Schema.Result(Receipt, CommandError)),
    error: CommandError
  }),
  Rpc.make("balance", { payload: { account: Account, ...Fresh }, success: AccountView, error: QueryError }),
  Rpc.make("strongBalance", { payload: { account: Account }, success: AccountView, error: QueryError }),
  /** Exactly one of `version` and `recordedAt`. */
  Rpc.make("balanceAt", {
    payload: { account: Account, version: optional(Schema.Number), recordedAt: optional(Schema.Number) },
    success: PastView,
    error: QueryError
  }),
  Rpc.make("history", {
    payload: { account: Account, after: optional(Schema.Number), limit: optional(Schema.Number) },
    success: Schema.Array(HistoryEntry),
    error: QueryError
  }),
  Rpc.make("statement", {
    payload: {
      account: Account,
      from: optional(Schema.Number),
      to: optional(Schema.Number),
      axis: optional(Schema.Literals(["recorded", "effective"])),
      ...PageAsked,
      ...Fresh
    },
    success: page(StatementLineView),
    error: QueryError
  }),
  Rpc.make("transfer", {
    payload: { commandId: Schema.String, ...Fresh },
    success: Schema.Option(TransferView),
    error: QueryError
  }),
  Rpc.make("accounts", { payload: PageAsked, success: page(AccountView), error: QueryError }),
  Rpc.make("contraBalances", { success: Schema.Array(ContraRow), error: QueryError }),
  Rpc.make("trialBalance", { success: Schema.Array(TrialLineView), error: QueryError }),
  Rpc.make("trialBalanceAt", {
    payload: { recordedAt: optional(Schema.Number) },
    success: Schema.Struct({
      recordedAt: Instant,
      lines: Schema.Array(TrialLineView),
      parked: Schema.Int
    }),
    error: QueryError
  }),
  Rpc.make("stats", { success: Stats, error: QueryError }),
  Rpc.make("health", { success: NodeHealth, error: QueryError }),
  /** The events of an account above version `after`, oldest first; with `follow` it goes on as they happen. */
  Rpc.make("events", {
    payload: { account: Account, after: optional(Schema.Number), follow: optional(Schema.Boolean) },
    success: HistoryEntry,
    error: QueryError,
    stream: true
  }),
  /** Every committed event after a cursor, in order on each account, at least once; never ends by itself. */
  Rpc.make("subscribe", {
    payload: { after: optional(Schema.String), accountPrefix: optional(Schema.String) },
    success: CommittedView,
    error: QueryError,
    stream: true
  })
)

/** Whether the answer is a stream, which may stay open for long. */
export const isStreaming = (procedure: Procedure): boolean => {
  const rpc = LedgerRpc.requests.get(procedure)
  return rpc !== undefined && RpcSchema.isStreamSchema(rpc.successSchema)
}

/** The names of all procedures. */
export type Procedure = RpcGroup.Rpcs<typeof LedgerRpc>["_tag"]
