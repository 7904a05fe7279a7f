/** Nothing enters; all rows of the `books` projection as of one instant leave, page by page. */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Effect, type Scope } from "effect"
import type { StatementLine, TransferRow } from "../../domain/Books.ts"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import type { EventKey, StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { int8Value, textArray, toInstant } from "../postgres/Columns.ts"
import { books } from "./BooksProjection.ts"
import { prefixOf, tablesOf } from "./Projection.ts"
import type { Parked } from "./ReadModel.ts"
import { headColumns, lineColumns, toBigint, toLine, toTransfer, transferColumns } from "./ReadModelRows.ts"
import { toUnavailable } from "./ReadModelSql.ts"

/** A row of the balances as it stands there, checked by nobody. */
export interface BalanceRow {
  readonly account: string
  readonly version: Version
  readonly status: string
  readonly asset: string
  readonly owner: string
  readonly overdraftLimit: bigint
  readonly balance: bigint
  readonly metadata: string
  readonly recordedAt: Instant
  readonly hash: string
}

export interface ContraRow {
  readonly contra: string
  readonly asset: string
  /** Minor units, summed over the partitions. */
  readonly balance: bigint
}

export interface PageAfter<Key> {
  readonly after: Key
  readonly limit: number
}

type Page<Key, A> = (page: PageAfter<Key>) => Effect.Effect<ReadonlyArray<A>, StoreUnavailable>

/** What the read model held at one instant, however long it is read and whatever projectors do meanwhile. */
export interface FrozenBooks {
  /** In order of account; a key's version counts only for its own account. */
  readonly balances: Page<EventKey, BalanceRow>
  /** In order of account and version. */
  readonly lines: Page<EventKey, StatementLine>
  /** In order of id, above `after`. */
  readonly transfers: Page<string, TransferRow>
  readonly transfersOf: (
    ids: ReadonlyArray<CommandId>
  ) => Effect.Effect<ReadonlyArray<TransferRow>, StoreUnavailable>
  readonly countTransfers: Effect.Effect<number, StoreUnavailable>
  /** In order of contra and asset. */
  readonly contras: Page<Pick<ContraRow, "contra" | "asset">, ContraRow>
  /** The versions accounts are at; those without a row are left out. */
  readonly versions: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyMap<string, Version>, StoreUnavailable>
  readonly parked: Page<string, Parked>
}

const balances = `
  SELECT ${headColumns} FROM books_v1_balances WHERE (account, version) > ($1, $2) ORDER BY account LIMIT $3`

const lines = `
  SELECT ${lineColumns} FROM books_v1_statement_lines WHERE (account, version) > ($1, $2)
  ORDER BY account, version LIMIT $3`

const transfers = `SELECT ${transferColumns} FROM books_v1_transfers WHERE id > $1 ORDER BY id LIMIT $2`

const transfersOf = `SELECT ${transferColumns} FROM books_v1_transfers WHERE id = ANY($1::text[])`

const contras = `
  SELECT contra, asset, sum(balance)::text FROM books_v1_contra
  WHERE (contra, asset COLLATE "C") > ($1, $2 COLLATE "C")
  GROUP BY contra, asset ORDER BY contra, asset COLLATE "C" LIMIT $3`

const versions = `SELECT account, version FROM books_v1_balances WHERE account = ANY($1::text[])`

const parked = `
  SELECT account, version, reason, since FROM books_v1_parked_accounts WHERE account > $1
  ORDER BY account LIMIT $2`

const toBalance = (row: ReadonlyArray<unknown>): BalanceRow => ({
  account: String(row[0]),
  version: Number(row[1]),
  status: String(row[2]),
  asset: String(row[3]),
  owner: String(row[4]),
  overdraftLimit: toBigint(row[5]),
  balance: toBigint(row[6]),
  metadata: String(row[7]),
  recordedAt: toInstant(row[8]),
  hash: String(row[9])
})

const frozenTables = tablesOf(books).map((table) => `${prefixOf(books)}_${table}`)

/** One transaction of PostgreSQL whose snapshot is taken here, and which ends with the scope. */
export const freeze = (sql: PgClient): Effect.Effect<FrozenBooks, StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const connection = yield* Effect.mapError(sql.reserve, toUnavailable)
    const run = (statement: string) =>
      Effect.mapError(connection.executeValuesUnprepared(statement, []), toUnavailable)
    yield* Effect.acquireRelease(run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), () =>
      Effect.ignore(run("ROLLBACK"))
    )
    const query = (text: string, params: ReadonlyArray<unknown>) =>
      Effect.mapError(connection.executeValues(text, params), toUnavailable)
    const keyed = ({ after, limit }: PageAfter<EventKey>) => [
      PgTypes.text(after.account),
      int8Value(after.version),
      int8Value(limit)
    ]
    // A rebuild must not exchange some of the tables under it. Taken before the snapshot, in the order of writers.
    yield* run(`LOCK TABLE ${frozenTables.join(", ")} IN ACCESS SHARE MODE`)
    // The snapshot is taken by the first query, not by BEGIN.
    yield* run("SELECT 1 FROM books_v1_balances LIMIT 1")
    return {
      balances: (page) => Effect.map(query(balances, keyed(page)), (rows) => rows.map(toBalance)),
      lines: (page) => Effect.map(query(lines, keyed(page)), (rows) => rows.map(toLine)),
      transfers: ({ after, limit }) =>
        Effect.map(query(transfers, [PgTypes.text(after), int8Value(limit)]), (rows) => rows.map(toTransfer)),
      transfersOf: (ids) => Effect.map(query(transfersOf, [textArray(ids)]), (rows) => rows.map(toTransfer)),
      countTransfers: Effect.map(query("SELECT count(*) FROM books_v1_transfers", []), (rows) =>
        Number(rows[0]?.[0])
      ),
      contras: ({ after, limit }) =>
        Effect.map(
          query(contras, [PgTypes.text(after.contra), PgTypes.text(after.asset), int8Value(limit)]),
          (rows) =>
            rows.map((row) => ({
              contra: String(row[0]),
              asset: String(row[1]),
              balance: toBigint(row[2])
            }))
        ),
      versions: (accounts) =>
        Effect.map(
          query(versions, [textArray(accounts)]),
          (rows) => new Map(rows.map((row) => [String(row[0]), Number(row[1])]))
        ),
      parked: ({ after, limit }) =>
        Effect.map(query(parked, [PgTypes.text(after), int8Value(limit)]), (rows) =>
          rows.map((row) => ({
            account: row[0] as AccountId, // branded when it was written
            version: Number(row[1]),
            reason: String(row[2]),
            since: toInstant(row[3])
          }))
        )
    } satisfies FrozenBooks
  })
