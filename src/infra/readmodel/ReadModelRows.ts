/**
 * The relations of the read model, each column told once, and what the domain knows them as. Statements take names,
 * casts and parameters from here, so that reading and writing cannot come to differ in the order of columns.
 */
import { Schema } from "effect"
import type { OpenedAccount } from "../../domain/Account.ts"
import type { ContraEntry, HoldRow, OpenedHead, StatementLine, TransferRow } from "../../domain/Books.ts"
import { AccountMetadata } from "../../domain/Command.ts"
import type { EventType } from "../../domain/Event.ts"
import { Hold, holding } from "../../domain/Holds.ts"
import {
  type AccountId,
  type AccountOrContra,
  type CommandId,
  ContraId,
  type Instant,
  type Version
} from "../../domain/Ids.ts"
import { Asset } from "../../domain/Money.ts"
import { asText, columns, int4, int8, minorUnits, nullable, text, timestamptz } from "../postgres/Columns.ts"
import type { Checkpoint, ContraBalance, Parked, SumChange } from "./ReadModel.ts"

/** A row of the balances as it is stored, with nothing of it checked. */
export interface BalanceRow {
  readonly account: string
  readonly version: Version
  /** `open`, `closed`, `frozen` for both sides, `frozen:debits` or `frozen:credits`. */
  readonly status: string
  readonly asset: string
  readonly owner: string
  readonly overdraftLimit: bigint
  readonly balance: bigint
  /** JSON of the holds that were open at the event. */
  readonly holds: string
  /** JSON. */
  readonly metadata: string
  readonly recordedAt: Instant
  readonly hash: string
}

/** The row of the balances that an account moves to, and the version that it must be at before. */
interface MoveRow extends BalanceRow {
  readonly was: Version
}

export const moveColumns = columns<MoveRow>({
  account: ["account", text()],
  version: ["version", int8],
  status: ["status", text()],
  asset: ["asset", text()],
  owner: ["owner", text()],
  overdraftLimit: ["overdraft_limit", minorUnits],
  balance: ["balance", minorUnits],
  holds: ["holds", text()],
  metadata: ["metadata", text()],
  recordedAt: ["recorded_at", timestamptz],
  hash: ["hash", text()],
  was: ["was", int8]
})

export const balanceColumns = moveColumns.pick(
  "account",
  "version",
  "status",
  "asset",
  "owner",
  "overdraftLimit",
  "balance",
  "holds",
  "metadata",
  "recordedAt",
  "hash"
)

const Holds = Schema.fromJsonString(Schema.Array(Hold))
const encodeHolds = Schema.encodeSync(Holds)
const parseHolds = Schema.decodeUnknownSync(Holds)

const statusTextOf = ({ status, frozen }: OpenedAccount): string =>
  frozen === undefined || frozen === "both" ? status : `${status}:${frozen}`

/** The inverse of `statusTextOf`, of a text that it has written. */
const statusOf = (text: string): Pick<OpenedAccount, "status" | "frozen"> => {
  if (text === "frozen") return { status: "frozen", frozen: "both" }
  if (text === "frozen:debits") return { status: "frozen", frozen: "debits" }
  if (text === "frozen:credits") return { status: "frozen", frozen: "credits" }
  return { status: text === "closed" ? "closed" : "open" }
}

/** The row of the balances that a head makes. */
export const balanceRowOf = ({ account, recordedAt, hash }: OpenedHead): BalanceRow => ({
  account: account.id,
  version: account.version,
  status: statusTextOf(account),
  asset: account.asset,
  owner: account.owner,
  overdraftLimit: account.overdraftLimit,
  balance: account.balance,
  holds: account.holds.length === 0 ? "[]" : encodeHolds(account.holds),
  metadata: JSON.stringify(account.metadata),
  recordedAt,
  hash
})

const parseMetadata = Schema.decodeUnknownSync(Schema.fromJsonString(AccountMetadata))

/** The head that made a row of `SELECT balanceColumns`. What was branded when it was written is so still. */
export const toHead = (row: ReadonlyArray<unknown>, offset = 0): OpenedHead => {
  const { account, version, status, asset, owner, overdraftLimit, balance, metadata, ...rest } =
    balanceColumns.decode(row, offset)
  return {
    account: {
      _tag: "Opened",
      id: account as AccountId,
      version,
      ...statusOf(status),
      asset: asset as Asset,
      owner,
      overdraftLimit,
      balance,
      ...holding(rest.holds === "[]" ? [] : parseHolds(rest.holds)),
      metadata: metadata === "{}" ? {} : parseMetadata(metadata)
    },
    recordedAt: rest.recordedAt,
    hash: rest.hash
  }
}

const ContraEntries = Schema.fromJsonString(
  Schema.Array(Schema.Struct({ contra: ContraId, asset: Asset, amount: Schema.BigIntFromString }))
)
const printContras = Schema.encodeSync(ContraEntries)
const parseContras = Schema.decodeSync(ContraEntries)

export const lineColumns = columns<StatementLine>({
  account: ["account", text<AccountId>()],
  version: ["version", int8],
  type: ["type", text<EventType>()],
  amount: ["amount", minorUnits],
  balance: ["balance", minorUnits],
  asset: ["asset", text<Asset>()],
  counterparty: ["counterparty", nullable(text())],
  description: ["description", nullable(text())],
  contras: ["contras", nullable(asText(printContras, parseContras))],
  commandId: ["command_id", text<CommandId>()],
  recordedAt: ["recorded_at", timestamptz],
  effectiveAt: ["effective_at", timestamptz]
})

export const transferColumns = columns<TransferRow>({
  id: ["id", text<CommandId>()],
  from: ["from_account", text<AccountId>()],
  fromVersion: ["from_version", int8],
  to: ["to_account", text<AccountId>()],
  toVersion: ["to_version", int8],
  asset: ["asset", text<Asset>()],
  amount: ["amount", minorUnits],
  description: ["description", nullable(text())],
  recordedAt: ["recorded_at", timestamptz],
  effectiveAt: ["effective_at", timestamptz]
})

export const holdColumns = columns<HoldRow>({
  account: ["account", text<AccountId>()],
  hold: ["hold", text<CommandId>()],
  asset: ["asset", text<Asset>()],
  amount: ["amount", minorUnits],
  captured: ["captured", minorUnits],
  remaining: ["remaining", minorUnits],
  captures: ["captures", int8],
  expiresAt: ["expires_at", nullable(timestamptz)],
  to: ["to_account", nullable(text<AccountOrContra>())]
})

/** The holds that are no more. */
export const goneColumns = holdColumns.pick("account", "hold")

/** What an event adds to a contra, in the partition of its own account. */
export const contraColumns = columns<ContraEntry & { readonly partition: number }>({
  contra: ["contra", text<ContraId>()],
  asset: ["asset", text<Asset>()],
  partition: ["partition_id", int4],
  amount: ["amount", minorUnits]
})

/** Of a SELECT that sums the partitions. */
export const contraBalanceColumns = columns<ContraBalance>({
  contra: ["contra", text()],
  asset: ["asset", text<Asset>()],
  balance: ["balance", minorUnits]
})

/** What a batch adds to the sums of declared prefixes. */
export const sumColumns = columns<SumChange>({
  prefix: ["prefix", text()],
  asset: ["asset", text<Asset>()],
  partition: ["partition_id", int4],
  balance: ["balance", minorUnits],
  accounts: ["accounts", int8]
})

/** Of a SELECT that sums accounts, or partitions. */
export const assetSumColumns = sumColumns.pick("asset", "balance", "accounts")

export const parkedColumns = columns<Parked>({
  account: ["account", text<AccountId>()],
  version: ["version", int8],
  reason: ["reason", text()],
  since: ["since", timestamptz]
})

/** Events left out for ever; `since` is when a person said so. */
export const skippedColumns = columns<Parked>({
  account: ["account", text<AccountId>()],
  version: ["version", int8],
  reason: ["reason", text()],
  since: ["at", timestamptz]
})

export const checkpointColumns = columns<Checkpoint>({
  partition: ["partition_id", int4],
  position: ["position", int8],
  recordedAt: ["recorded_at", timestamptz]
})
