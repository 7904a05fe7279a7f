/** Folded accounts enter and leave the table `snapshots` of the event store's database. */
import { PgTypes } from "@effect/sql-pg"
import { Effect, Result, Schema } from "effect"
import { Account, accountSchemaVersion } from "../../domain/Account.ts"
import type { Head } from "../../domain/Head.ts"
import { columns, int4, int8, int8Value, text, timestamptz } from "../postgres/Columns.ts"
import { chunksOf, statementsAtOnce, unionOf } from "../postgres/SqlUnion.ts"
import type { EventKey } from "./EventStoreTypes.ts"
import { makeQueries } from "./SqlClients.ts"

/** A row of table `snapshots`; `state` is the JSON text of the account. */
interface SnapshotRow {
  readonly accountId: string
  readonly schemaVersion: number
  readonly version: number
  readonly recordedAt: number
  readonly state: string
  readonly hash: string
}

const snapshotColumns = columns<SnapshotRow>({
  accountId: ["account_id", text()],
  schemaVersion: ["schema_version", int4],
  version: ["version", int8],
  recordedAt: ["recorded_at", timestamptz],
  state: ["state", text()],
  hash: ["hash", text()]
})
const saved = snapshotColumns.pick("accountId", "version", "recordedAt", "state", "hash")

const latest = unionOf({
  shared: 1,
  width: 1,
  branch: (first) => `
    SELECT ${saved.list} FROM snapshots WHERE account_id = $${first} AND schema_version = $1
    ORDER BY version DESC LIMIT 1`,
  frame: (union) => `SELECT * FROM (${union}) AS found`
})

const beforeVersion = `
  SELECT ${saved.list} FROM snapshots WHERE account_id = $1 AND schema_version = $2 AND version <= $3
  ORDER BY version DESC LIMIT 1`

/** Along the versions of an account `recorded_at` never goes back, so both orders are one. */
const beforeInstant = `
  SELECT ${saved.list} FROM snapshots
  WHERE account_id = $1 AND schema_version = $2 AND version <= $3 AND recorded_at <= $4
  ORDER BY recorded_at DESC, version DESC LIMIT 1`

const all = `
  SELECT ${saved.list} FROM snapshots WHERE schema_version = $1 AND (account_id, version) > ($2, $3)
  ORDER BY account_id, version LIMIT $4`

const insert = `
  INSERT INTO snapshots (${snapshotColumns.list})
  SELECT * FROM unnest(${snapshotColumns.casts()})
  ON CONFLICT (account_id, schema_version, version) DO NOTHING`

const encodeState = Schema.encodeSync(Schema.fromJsonString(Account))
const decodeState = Schema.decodeUnknownResult(Schema.fromJsonString(Account))

/** A snapshot that cannot be read is only a lost one: the events are all there. */
const toHead = Effect.fnUntraced(function* (row: ReadonlyArray<unknown>) {
  const { accountId, version, recordedAt, state, hash } = saved.decode(row)
  const account = decodeState(state)
  if (Result.isFailure(account)) {
    yield* Effect.logWarning(`snapshot ${accountId}@${version} cannot be read`, account.failure.message)
    return []
  }
  return [{ account: account.success, hash, recordedAt } satisfies Head]
})

const toHeads = (rows: ReadonlyArray<ReadonlyArray<unknown>>) =>
  Effect.map(Effect.forEach(rows, toHead), (heads) => heads.flat())

const versionMax = Number.MAX_SAFE_INTEGER
const schemaVersion = PgTypes.int4(accountSchemaVersion)

export const makeSql = Effect.gen(function* () {
  const { query } = yield* makeQueries
  return {
    latest: Effect.fnUntraced(function* (accounts: ReadonlyArray<string>) {
      const parts = yield* Effect.forEach(
        chunksOf(accounts),
        (chunk) => {
          const ids = chunk.map((account) => PgTypes.text(account))
          return Effect.flatMap(query(latest(chunk.length), [schemaVersion, ...ids]), toHeads)
        },
        { concurrency: statementsAtOnce }
      )
      return parts.flat()
    }),

    before: Effect.fnUntraced(function* (
      account: string,
      bound: { readonly version?: number; readonly recordedAt?: number }
    ) {
      const params = [PgTypes.text(account), schemaVersion, int8Value(bound.version ?? versionMax)]
      const rows =
        bound.recordedAt === undefined
          ? yield* query(beforeVersion, params)
          : yield* query(beforeInstant, [...params, PgTypes.timestamptz(bound.recordedAt)])
      return (yield* toHeads(rows))[0]
    }),

    list: Effect.fnUntraced(function* ({ after, limit }: { after: EventKey; limit: number }) {
      const bounds = [PgTypes.text(after.account), int8Value(after.version), int8Value(limit)]
      const rows = yield* query(all, [schemaVersion, ...bounds])
      return yield* Effect.forEach(rows, (row) =>
        Effect.map(toHeads([row]), (heads) => ({
          account: String(row[0]),
          version: Number(row[1]),
          head: heads[0]
        }))
      )
    }),

    save: (heads: ReadonlyArray<Head>) =>
      heads.length === 0
        ? Effect.void
        : Effect.asVoid(
            query(
              insert,
              snapshotColumns.arrays(
                heads.map(({ account, hash, recordedAt }) => ({
                  accountId: account.id,
                  schemaVersion: accountSchemaVersion,
                  version: account.version,
                  recordedAt,
                  state: encodeState(account),
                  hash
                }))
              )
            )
          )
  }
})
