/** Rows of the read model enter as columns, and leave as values of the domain; and back as array parameters. */
import { PgTypes } from "@effect/sql-pg"
import { Schema } from "effect"
import type { OpenedAccount } from "../../domain/Account.ts"
import type { OpenedHead, StatementLine, TransferRow } from "../../domain/Books.ts"
import { AccountMetadata } from "../../domain/Command.ts"
import type { EventType } from "../../domain/Event.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { arrayOf, int8Array, textArray, timestampArray, toInstant } from "../postgres/Columns.ts"
import type { Move } from "./ReadModel.ts"

const { OID } = PgTypes
/** Amounts and balances as `numeric`: they are wider than `int8`. */
export const numericArray = (values: ReadonlyArray<bigint>) => arrayOf(values.map(String), OID.numeric)
/** A `numeric` without decimals, which the driver gives as text. */
export const toBigint = (value: unknown): bigint => BigInt(String(value))

const parseMetadata = Schema.decodeUnknownSync(Schema.fromJsonString(AccountMetadata))

export const headColumns =
  "account, version, status, asset, owner, overdraft_limit, balance, metadata, recorded_at, hash"

/** A row of `SELECT headColumns`. What was branded when it was written is so still; the driver's types are fixed. */
export const toHead = (row: ReadonlyArray<unknown>): OpenedHead => ({
  account: {
    _tag: "Opened",
    id: row[0] as AccountId,
    version: Number(row[1]),
    status: row[2] as OpenedAccount["status"],
    asset: row[3] as Asset,
    owner: row[4] as string,
    overdraftLimit: toBigint(row[5]),
    balance: toBigint(row[6]),
    metadata: row[7] === "{}" ? {} : parseMetadata(row[7])
  },
  recordedAt: toInstant(row[8]),
  hash: row[9] as string
})

/** In the order of `headColumns`, and `from` at the end. */
export const moveParams = (moves: ReadonlyArray<Move>): ReadonlyArray<PgTypes.Parameter> => {
  const account = <A>(pick: (account: OpenedAccount) => A) => moves.map((move) => pick(move.head.account))
  return [
    textArray(account((one) => one.id)),
    int8Array(account((one) => one.version)),
    textArray(account((one) => one.status)),
    textArray(account((one) => one.asset)),
    textArray(account((one) => one.owner)),
    numericArray(account((one) => one.overdraftLimit)),
    numericArray(account((one) => one.balance)),
    textArray(account((one) => JSON.stringify(one.metadata))),
    timestampArray(moves.map((move) => move.head.recordedAt)),
    textArray(moves.map((move) => move.head.hash)),
    int8Array(moves.map((move) => move.from))
  ]
}

export const lineColumns =
  "account, version, type, amount, balance, asset, counterparty, description, command_id, recorded_at, effective_at"

export const toLine = (row: ReadonlyArray<unknown>): StatementLine => ({
  account: row[0] as AccountId,
  version: Number(row[1]),
  type: row[2] as EventType,
  amount: toBigint(row[3]),
  balance: toBigint(row[4]),
  asset: row[5] as Asset,
  counterparty: row[6] as string | null,
  description: row[7] as string | null,
  commandId: row[8] as CommandId,
  recordedAt: toInstant(row[9]),
  effectiveAt: toInstant(row[10])
})

export const lineParams = (lines: ReadonlyArray<StatementLine>): ReadonlyArray<PgTypes.Parameter> => [
  textArray(lines.map((line) => line.account)),
  int8Array(lines.map((line) => line.version)),
  textArray(lines.map((line) => line.type)),
  numericArray(lines.map((line) => line.amount)),
  numericArray(lines.map((line) => line.balance)),
  textArray(lines.map((line) => line.asset)),
  textArray(lines.map((line) => line.counterparty)),
  textArray(lines.map((line) => line.description)),
  textArray(lines.map((line) => line.commandId)),
  timestampArray(lines.map((line) => line.recordedAt)),
  timestampArray(lines.map((line) => line.effectiveAt))
]

export const transferColumns =
  "id, from_account, from_version, to_account, to_version, asset, amount, description, recorded_at, effective_at"

export const toTransfer = (row: ReadonlyArray<unknown>): TransferRow => ({
  id: row[0] as CommandId,
  from: row[1] as AccountId,
  fromVersion: Number(row[2]),
  to: row[3] as AccountId,
  toVersion: Number(row[4]),
  asset: row[5] as Asset,
  amount: toBigint(row[6]),
  description: row[7] as string | null,
  recordedAt: toInstant(row[8]),
  effectiveAt: toInstant(row[9])
})

export const transferParams = (rows: ReadonlyArray<TransferRow>): ReadonlyArray<PgTypes.Parameter> => [
  textArray(rows.map((row) => row.id)),
  textArray(rows.map((row) => row.from)),
  int8Array(rows.map((row) => row.fromVersion)),
  textArray(rows.map((row) => row.to)),
  int8Array(rows.map((row) => row.toVersion)),
  textArray(rows.map((row) => row.asset)),
  numericArray(rows.map((row) => row.amount)),
  textArray(rows.map((row) => row.description)),
  timestampArray(rows.map((row) => row.recordedAt)),
  timestampArray(rows.map((row) => row.effectiveAt))
]
