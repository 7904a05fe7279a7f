/** Snapshots in the table `snapshots` of the event store's database. */
import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import { accountSchemaVersion } from "../../domain/Account.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { columns, int4, int8, int8Value, nullable, text, timestamptz } from "../postgres/Columns.ts"
import { chunksOf, statementsAtOnce, unionOf } from "../postgres/SqlUnion.ts"
import type { EventKey } from "./EventStoreTypes.ts"
import { believe, decode, isAltered, type SnapshotRow, toRow, wrongMax } from "./SnapshotRows.ts"
import type { Saved, Snapshots } from "./Snapshots.ts"
import { makeQueries } from "./SqlClients.ts"

const snapshotColumns = columns<SnapshotRow>({
  accountId: ["account_id", text()],
  schemaVersion: ["schema_version", int4],
  version: ["version", int8],
  recordedAt: ["recorded_at", timestamptz],
  state: ["state", text()],
  hash: ["hash", text()],
  digest: ["digest", nullable(text())]
})

const latest = unionOf({
  shared: 1,
  width: 1,
  branch: (first) => `
    SELECT ${snapshotColumns.list} FROM snapshots WHERE account_id = $${first} AND schema_version = $1
    ORDER BY version DESC LIMIT 1`,
  frame: (union) => `SELECT * FROM (${union}) AS found`
})

const beforeVersion = `
  SELECT ${snapshotColumns.list} FROM snapshots WHERE account_id = $1 AND schema_version = $2 AND version <= $3
  ORDER BY version DESC LIMIT 1`

/** Along the versions of an account `recorded_at` never goes back, so both orders are one. */
const beforeInstant = `
  SELECT ${snapshotColumns.list} FROM snapshots
  WHERE account_id = $1 AND schema_version = $2 AND version <= $3 AND recorded_at <= $4
  ORDER BY recorded_at DESC, version DESC LIMIT 1`

const all = `
  SELECT ${snapshotColumns.list} FROM snapshots WHERE schema_version = $1 AND (account_id, version) > ($2, $3)
  ORDER BY account_id, version LIMIT $4`

const insert = `
  INSERT INTO snapshots (${snapshotColumns.list})
  SELECT * FROM unnest(${snapshotColumns.casts()})
  ON CONFLICT (account_id, schema_version, version) DO UPDATE
  SET recorded_at = excluded.recorded_at, state = excluded.state, hash = excluded.hash, digest = excluded.digest`

const keys = snapshotColumns.pick("accountId", "schemaVersion", "version")

/** Not by IN and a row of three columns: CockroachDB 21.1 would read the whole table. */
const deleteAll = `
  DELETE FROM snapshots WHERE EXISTS (
    SELECT 1 FROM ${keys.unnest("mine")}
    WHERE mine.account_id = snapshots.account_id AND mine.schema_version = snapshots.schema_version
      AND mine.version = snapshots.version
  )`

/** One statement cannot replace a row twice, and who asks for the past of one account at once offers the same snapshots. */
const lastOfEach = (rows: ReadonlyArray<SnapshotRow>): ReadonlyArray<SnapshotRow> => [
  ...new Map(rows.map((row) => [`${row.accountId}@${row.version}`, row])).values()
]

const versionMax = Number.MAX_SAFE_INTEGER
const schemaVersion = PgTypes.int4(accountSchemaVersion)

export const makeSql = Effect.gen(function* () {
  const { query } = yield* makeQueries
  const read = (statement: string, params: ReadonlyArray<unknown>) =>
    Effect.map(query(statement, params), (rows) => rows.map((row) => snapshotColumns.decode(row)))

  const before: Snapshots["Service"]["before"] = Effect.fnUntraced(function* (account, bound) {
    let version = bound.version ?? versionMax
    for (let wrong = 0; wrong < wrongMax; wrong++) {
      const params = [PgTypes.text(account), schemaVersion, int8Value(version)]
      const [row] =
        bound.recordedAt === undefined
          ? yield* read(beforeVersion, params)
          : yield* read(beforeInstant, [...params, PgTypes.timestamptz(bound.recordedAt)])
      if (row === undefined) return undefined
      const head = yield* believe(row)
      if (head !== undefined) return head
      version = row.version - 1
    }
    return undefined
  })

  const latestOf = Effect.fnUntraced(function* (chunk: ReadonlyArray<AccountId>) {
    const ids = chunk.map((account) => PgTypes.text(account))
    const rows = yield* read(latest(chunk.length), [schemaVersion, ...ids])
    return yield* Effect.forEach(
      rows,
      Effect.fnUntraced(function* (row) {
        const head = yield* believe(row)
        // One of `chunk`.
        return head ?? (yield* before(row.accountId as AccountId, { version: row.version - 1 }))
      })
    )
  })

  const list = ({ after, limit }: { readonly after: EventKey; readonly limit: number }) => {
    const bounds = [PgTypes.text(after.account), int8Value(after.version), int8Value(limit)]
    return Effect.map(read(all, [schemaVersion, ...bounds]), (rows) =>
      rows.map((row): Saved => {
        const { accountId: account, version } = row
        return { account, version, head: decode(row), isAltered: isAltered(row) }
      })
    )
  }

  return {
    latest: (accounts) =>
      Effect.map(Effect.forEach(chunksOf(accounts), latestOf, { concurrency: statementsAtOnce }), (parts) =>
        parts.flat().filter((head) => head !== undefined)
      ),
    before,
    list,
    save: (heads) =>
      heads.length === 0
        ? Effect.void
        : Effect.asVoid(query(insert, snapshotColumns.arrays(lastOfEach(heads.map(toRow))))),
    drop: (heads) =>
      heads.length === 0 ? Effect.void : Effect.asVoid(query(deleteAll, keys.arrays(heads.map(toRow))))
  } satisfies Snapshots["Service"]
})
