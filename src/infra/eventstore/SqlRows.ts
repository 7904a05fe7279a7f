/** Stored events enter as columns for an INSERT, and rows of a SELECT leave as stored events. */
import { PgTypes } from "@effect/sql-pg"
import { Result } from "effect"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { Commit, CommitRow, WriterId } from "./EventStoreTypes.ts"

const { OID } = PgTypes

/** An array parameter in the binary format: 118,000 rows a second, 95,000 as text literals (batches of 1,000). */
export const arrayOf = (values: ReadonlyArray<unknown>, elementOid: number): PgTypes.Parameter =>
  Result.getOrThrow(PgTypes.array(values, elementOid))
export const textArray = (values: ReadonlyArray<string | null>) => arrayOf(values, OID.text)
export const int8Array = (values: ReadonlyArray<number>) => arrayOf(values.map(BigInt), OID.int8)
export const timestampArray = (values: ReadonlyArray<Instant | null>) => arrayOf(values, OID.timestamptz)
export const int8 = (value: number) => PgTypes.int8(BigInt(value))

/** In the order in which `eventColumns` are written and `toStoredEvent` reads them. */
const columns = [
  "account_id",
  "version",
  "type",
  "schema_version",
  "payload",
  "command_id",
  "ordinal",
  "command_hash",
  "recorded_at",
  "effective_at",
  "context",
  "hash"
]
export const eventColumns = columns.join(", ")
export const eventColumnsOf = (table: string) => columns.map((column) => `${table}.${column}`).join(", ")

/** The events as twelve array parameters, in the order of `eventColumns`: in one pass, for each commit comes by here. */
export const toColumns = (events: ReadonlyArray<StoredEvent>): ReadonlyArray<PgTypes.Parameter> => {
  const rows = events.length
  const texts = () => new Array<string | null>(rows)
  const numbers = () => new Array<number | null>(rows)
  const [accounts, types, payloads, commands] = [texts(), texts(), texts(), texts()]
  const [commandHashes, contexts, hashes] = [texts(), texts(), texts()]
  const [schemaVersions, ordinals, recorded, effective] = [numbers(), numbers(), numbers(), numbers()]
  const versions = new Array<bigint>(rows)
  let row = 0
  for (const event of events) {
    accounts[row] = event.accountId
    versions[row] = BigInt(event.version)
    types[row] = event.type
    schemaVersions[row] = event.schemaVersion
    payloads[row] = event.payload
    commands[row] = event.commandId
    ordinals[row] = event.ordinal
    commandHashes[row] = event.commandHash
    recorded[row] = event.recordedAt
    effective[row] = event.effectiveAt
    contexts[row] = event.context
    hashes[row] = event.hash
    row++
  }
  return [
    textArray(accounts),
    arrayOf(versions, OID.int8),
    textArray(types),
    arrayOf(schemaVersions, OID.int4),
    textArray(payloads),
    textArray(commands),
    arrayOf(ordinals, OID.int4),
    textArray(commandHashes),
    timestampArray(recorded),
    timestampArray(effective),
    textArray(contexts),
    textArray(hashes)
  ]
}

/** A row of `SELECT eventColumns`. The ids were branded when they were written; the driver's types are fixed. */
export const toStoredEvent = (row: ReadonlyArray<unknown>): StoredEvent => ({
  accountId: row[0] as AccountId,
  version: Number(row[1]),
  type: row[2] as string,
  schemaVersion: Number(row[3]),
  payload: row[4] as string,
  commandId: row[5] as CommandId,
  ordinal: Number(row[6]),
  commandHash: row[7] as string | null,
  recordedAt: toInstant(row[8]),
  effectiveAt: row[9] === null ? null : toInstant(row[9]),
  context: row[10] as string | null,
  hash: row[11] as string
})

/** A `timestamptz` of the driver, which is a `Date`. */
export const toInstant = (value: unknown): Instant => (value as Date).getTime()

/** What the commit writes into `commits`: the account's versions as ranges, and its latest instant. */
export const toCommitRow = (commit: Commit): CommitRow => {
  const keys: Array<[AccountId, Version, Version]> = []
  const open = new Map<AccountId, [AccountId, Version, Version]>()
  let recordedAt = 0
  for (const event of commit.events) {
    if (event.recordedAt > recordedAt) recordedAt = event.recordedAt
    const range = open.get(event.accountId)
    if (range !== undefined && range[2] === event.version - 1) {
      range[2] = event.version
    } else {
      const next: [AccountId, Version, Version] = [event.accountId, event.version, event.version]
      keys.push(next)
      open.set(event.accountId, next)
    }
  }
  return { writerId: commit.writerId, seq: commit.seq, recordedAt, rows: commit.events.length, keys }
}

export const keysToText = (keys: CommitRow["keys"]): string => JSON.stringify(keys)

/** A row of `SELECT writer_id, seq, recorded_at, row_count, keys`; `keys` is what `keysToText` made. */
export const fromCommitColumns = (row: ReadonlyArray<unknown>): CommitRow => ({
  writerId: row[0] as WriterId,
  seq: Number(row[1]),
  recordedAt: toInstant(row[2]),
  rows: Number(row[3]),
  keys: JSON.parse(row[4] as string) as CommitRow["keys"]
})
