/**
 * A snapshot as a row. Its state is believed only with the digest of the whole row: the hash chain covers the events, not
 * what was folded from them.
 */
import { hash as hashOf } from "node:crypto"
import { Effect, Result, Schema } from "effect"
import { Account, accountSchemaVersion } from "../../domain/Account.ts"
import type { Head } from "../../domain/Head.ts"

export interface SnapshotRow {
  readonly accountId: string
  readonly schemaVersion: number
  readonly version: number
  readonly recordedAt: number
  /** JSON text of the account. */
  readonly state: string
  /** That of the event at `version`. */
  readonly hash: string
  /** Null in rows that were written before there were digests. */
  readonly digest: string | null
}

/** SHA-256, base64url, of the JSON array of all other columns, in the order of the table. */
const digestOf = (row: Omit<SnapshotRow, "digest">): string =>
  hashOf(
    "sha256",
    JSON.stringify([row.accountId, row.schemaVersion, row.version, row.recordedAt, row.state, row.hash]),
    "base64url"
  )

const encodeState = Schema.encodeSync(Schema.fromJsonString(Account))
const decodeState = Schema.decodeUnknownResult(Schema.fromJsonString(Account))

export const toRow = ({ account, hash, recordedAt }: Head): SnapshotRow => {
  const row = {
    accountId: account.id,
    schemaVersion: accountSchemaVersion,
    version: account.version,
    recordedAt,
    state: encodeState(account),
    hash
  }
  return { ...row, digest: digestOf(row) }
}

/** Snapshots of one account that are read past before it is folded from its first event. */
export const wrongMax = 5

/** What a row holds, believed or not; undefined where its state cannot be read. */
export const decode = ({ state, hash, recordedAt }: SnapshotRow): Head | undefined =>
  Result.match(decodeState(state), {
    onFailure: () => undefined,
    onSuccess: (account) => ({ account, hash, recordedAt })
  })

/** The row was not saved as it stands there. */
export const isAltered = (row: SnapshotRow): boolean => row.digest !== null && row.digest !== digestOf(row)

/** The head in a row, where that is whole. One that is not is only a lost one: the events are all there. */
export const believe = Effect.fnUntraced(function* (row: SnapshotRow) {
  const place = `snapshot ${row.accountId}@${row.version}`
  if (row.digest === null) return undefined
  if (isAltered(row)) {
    yield* Effect.logError(`${place} is not what was saved: its digest differs. It is read past`)
    return undefined
  }
  const head = decode(row)
  if (head === undefined) yield* Effect.logWarning(`${place} cannot be read. It is read past`)
  return head
})
