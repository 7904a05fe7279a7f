/**
 * All rows of the `books` projection as of one instant, page by page, for an audit: projectors go on meanwhile, and
 * change nothing of what the audit reads.
 */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Effect, type Scope } from "effect"
import type { HoldRow, StatementLine, TransferRow } from "../../domain/Books.ts"
import type { AccountId, CommandId, Version } from "../../domain/Ids.ts"
import type { ReadSideLimits } from "../config/ReadSideConfig.ts"
import type { EventKey, StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { int8Value, textArray } from "../postgres/Columns.ts"
import { books } from "./BooksProjection.ts"
import { lackOfSum } from "./DeclaredSums.ts"
import { prefixParams } from "./IdRanges.ts"
import { prefixOf, tablesOf } from "./Projection.ts"
import type { AssetSum, ContraBalance, Parked } from "./ReadModel.ts"
import {
  assetSumColumns,
  type BalanceRow,
  balanceColumns,
  contraBalanceColumns,
  holdColumns,
  lineColumns,
  parkedColumns,
  transferColumns
} from "./ReadModelRows.ts"
import { begin } from "./ReadModelSql.ts"
import { verifyLock } from "./RebuildTables.ts"

export interface PageAfter<Key> {
  readonly after: Key
  readonly limit: number
}

type Page<Key, A> = (page: PageAfter<Key>) => Effect.Effect<ReadonlyArray<A>, StoreUnavailable>

/**
 * What the read model held at one instant, however long it is read and whatever projectors do meanwhile. A value that is none of its column
 * (a text that is no JSON, `NaN`) is another than its type says.
 */
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
  /** In order of account and hold. */
  readonly holds: Page<{ readonly account: string; readonly hold: string }, HoldRow>
  /** In order of contra and asset. */
  readonly contras: Page<{ readonly contra: string; readonly asset: string }, ContraBalance>
  /** The versions accounts are at; those without a row are left out. */
  readonly versions: (
    accounts: ReadonlyArray<AccountId>
  ) => Effect.Effect<ReadonlyMap<string, Version>, StoreUnavailable>
  /** What the accounts of declared prefixes have that their sums lack, those that are not filled yet left out. */
  readonly lackOfSums: Effect.Effect<ReadonlyArray<AssetSum & { readonly prefix: string }>, StoreUnavailable>
  readonly parked: Page<string, Parked>
}

const balances = `
  SELECT ${balanceColumns.list} FROM books_v1_balances WHERE (account, version) > ($1, $2)
  ORDER BY account LIMIT $3`

const lines = `
  SELECT ${lineColumns.list} FROM books_v1_statement_lines WHERE (account, version) > ($1, $2)
  ORDER BY account, version LIMIT $3`

const transfers = `SELECT ${transferColumns.list} FROM books_v1_transfers WHERE id > $1 ORDER BY id LIMIT $2`

const transfersOf = `SELECT ${transferColumns.list} FROM books_v1_transfers WHERE id = ANY($1::text[])`

const countTransfers = "SELECT count(*) FROM books_v1_transfers"

const holds = `
  SELECT ${holdColumns.list} FROM books_v1_holds WHERE (account, hold) > ($1, $2)
  ORDER BY account, hold LIMIT $3`

const contras = `
  SELECT contra, asset, sum(balance)::text FROM books_v1_contra
  WHERE (contra, asset COLLATE "C") > ($1, $2 COLLATE "C")
  GROUP BY contra, asset ORDER BY contra, asset COLLATE "C" LIMIT $3`

const versions = `SELECT account, version FROM books_v1_balances WHERE account = ANY($1::text[])`

const filledSums = "SELECT prefix FROM books_v1_sum_prefixes WHERE filled ORDER BY prefix"

const parked = `
  SELECT ${parkedColumns.list} FROM books_v1_parked_accounts WHERE account > $1 ORDER BY account LIMIT $2`

const frozenTables = tablesOf(books).map((table) => `${prefixOf(books)}_${table}`)

/** One transaction of PostgreSQL whose snapshot is taken here, and which ends with the scope. */
export const freeze = (
  sql: PgClient,
  { connectMs, sumSettleMsMax }: Pick<ReadSideLimits, "connectMs" | "sumSettleMsMax">
): Effect.Effect<FrozenBooks, StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const { run } = yield* begin(
      sql,
      connectMs + sumSettleMsMax,
      "ISOLATION LEVEL REPEATABLE READ READ ONLY",
      verifyLock(prefixOf(books))
    )
    const query = <A>(
      text: string,
      params: ReadonlyArray<unknown>,
      decode: (row: ReadonlyArray<unknown>) => A
    ): Effect.Effect<ReadonlyArray<A>, StoreUnavailable> =>
      Effect.map(run(text, params), (rows) => rows.map((row) => decode(row)))
    const keyed = ({ after, limit }: PageAfter<EventKey>) => [
      PgTypes.text(after.account),
      int8Value(after.version),
      int8Value(limit)
    ]
    // A rebuild must not exchange some of the tables under it; one that does not know of the lock above waits for this one. Taken
    // before the snapshot, in the order of writers.
    yield* run(`LOCK TABLE ${frozenTables.join(", ")} IN ACCESS SHARE MODE`)
    // Some of what is asked reads a whole table, however many accounts there are.
    yield* run(`SET LOCAL statement_timeout = ${sumSettleMsMax}`)
    // The snapshot is taken by the first query, not by BEGIN.
    yield* run("SELECT 1 FROM books_v1_balances LIMIT 1")
    return {
      balances: (page) => query(balances, keyed(page), (row) => balanceColumns.decodeAny(row)),
      lines: (page) => query(lines, keyed(page), (row) => lineColumns.decodeAny(row)),
      transfers: ({ after, limit }) =>
        query(transfers, [PgTypes.text(after), int8Value(limit)], (row) => transferColumns.decodeAny(row)),
      transfersOf: (ids) => query(transfersOf, [textArray(ids)], (row) => transferColumns.decodeAny(row)),
      countTransfers: Effect.map(
        query(countTransfers, [], ([count]) => Number(count)),
        ([count = 0]) => count
      ),
      holds: ({ after, limit }) =>
        query(holds, [PgTypes.text(after.account), PgTypes.text(after.hold), int8Value(limit)], (row) =>
          holdColumns.decodeAny(row)
        ),
      contras: ({ after, limit }) =>
        query(contras, [PgTypes.text(after.contra), PgTypes.text(after.asset), int8Value(limit)], (row) =>
          contraBalanceColumns.decodeAny(row)
        ),
      versions: (accounts) =>
        Effect.map(
          query(versions, [textArray(accounts)], (row) => [String(row[0]), Number(row[1])] as const),
          (rows) => new Map(rows)
        ),
      lackOfSums: Effect.gen(function* () {
        const filled = yield* query(filledSums, [], ([prefix]) => String(prefix))
        const lacking = yield* Effect.forEach(filled, (prefix) =>
          query(lackOfSum, prefixParams(prefix), (row) => ({ prefix, ...assetSumColumns.decodeAny(row) }))
        )
        return lacking.flat()
      }),
      parked: ({ after, limit }) =>
        query(parked, [PgTypes.text(after), int8Value(limit)], (row) => parkedColumns.decodeAny(row))
    } satisfies FrozenBooks
  })
