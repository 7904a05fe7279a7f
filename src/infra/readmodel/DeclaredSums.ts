/**
 * The prefixes whose sums are kept at hand: which they are, and what was there before they were declared.
 *
 * Every batch of a projector moves the balances and the sums in one statement, and is refused where it was folded under
 * other prefixes than those that are declared (their change raises the generation of the tables). So at any instant of the
 * database what a prefix's accounts have, less what its sum has, is what was there when it was declared; one statement finds
 * that out and adds it, however long it takes, and for a filled sum finds nothing.
 */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Effect } from "effect"
import type { ReadSideLimits } from "../config/ReadSideConfig.ts"
import { bool, columns, text, textArray } from "../postgres/Columns.ts"
import { inPrefix, prefixParams } from "./IdRanges.ts"
import type { DeclaredSum, ReadModel } from "./ReadModel.ts"
import { assetSumColumns, sumColumns } from "./ReadModelRows.ts"
import { boundOf, inTransaction, makeQuery } from "./ReadModelSql.ts"
import { nextGeneration } from "./RebuildTables.ts"

const tables = "books_v1"

const declaredColumns = columns<DeclaredSum>({ prefix: ["prefix", text()], isFilled: ["filled", bool] })

const declared = `SELECT ${declaredColumns.list} FROM ${tables}_sum_prefixes ORDER BY prefix`

const undeclare = `DELETE FROM ${tables}_sum_prefixes WHERE prefix <> ALL($1::text[])`
const forget = `DELETE FROM ${tables}_prefix_sums WHERE prefix <> ALL($1::text[])`
const declare = `
  INSERT INTO ${tables}_sum_prefixes (prefix, filled) SELECT prefix, false FROM unnest($1::text[]) AS u(prefix)
  ON CONFLICT (prefix) DO NOTHING`

/** What the accounts of a prefix have that its sum lacks, by asset. */
export const lackOfSum = `
  SELECT asset, (coalesce(own.balance, 0) - coalesce(summed.balance, 0))::text AS balance,
    (coalesce(own.accounts, 0) - coalesce(summed.accounts, 0))::int8 AS accounts
  FROM (
    SELECT asset, sum(balance) AS balance, count(*) AS accounts FROM ${tables}_balances
    WHERE ${inPrefix("account")} GROUP BY asset
  ) AS own FULL JOIN (
    SELECT asset, sum(balance) AS balance, sum(accounts) AS accounts FROM ${tables}_prefix_sums
    WHERE prefix = $1 GROUP BY asset
  ) AS summed USING (asset)
  WHERE coalesce(own.balance, 0) <> coalesce(summed.balance, 0)
    OR coalesce(own.accounts, 0) <> coalesce(summed.accounts, 0)`

/** Only one statement settles a sum at a time: two would each add the same. */
const claim = `SELECT 1 FROM ${tables}_sum_prefixes WHERE prefix = $1 FOR UPDATE`
const settle = `
  WITH lack AS (${lackOfSum}), added AS (
    INSERT INTO ${tables}_prefix_sums AS s (${sumColumns.list})
    SELECT $1, asset, -1, balance::numeric, accounts FROM lack
    ON CONFLICT (prefix, asset, partition_id) DO UPDATE
    SET balance = s.balance + excluded.balance, accounts = s.accounts + excluded.accounts
  ), filled AS (
    UPDATE ${tables}_sum_prefixes SET filled = true WHERE prefix = $1 AND NOT filled
  )
  SELECT asset, balance, accounts FROM lack ORDER BY asset COLLATE "C"`

export const makeDeclaredSums = (
  sql: PgClient,
  limits: Pick<ReadSideLimits, "sumSettleMsMax" | "swapMsMax" | "connectMs" | "readModelStatementMs">
): Pick<ReadModel["Service"], "declaredSums" | "declareSums" | "settleSum"> => {
  const { connectMs, sumSettleMsMax, swapMsMax } = limits
  const query = makeQuery(sql, limits)
  return {
    declaredSums: Effect.map(query(declared), (rows) => rows.map((row) => declaredColumns.decode(row))),
    declareSums: (prefixes) =>
      inTransaction(sql, boundOf(limits), (run) =>
        Effect.gen(function* () {
          yield* run(`SET LOCAL lock_timeout = ${swapMsMax}`)
          // No batch is under way that was folded under the former prefixes, and none begins before the end of this.
          yield* run(`LOCK TABLE ${tables}_sum_prefixes, ${tables}_balances IN SHARE ROW EXCLUSIVE MODE`)
          yield* run(undeclare, [textArray(prefixes)])
          yield* run(forget, [textArray(prefixes)])
          yield* run(declare, [textArray(prefixes)])
          const now = yield* Clock.currentTimeMillis
          yield* run(nextGeneration, [PgTypes.text(tables), PgTypes.timestamptz(now)])
        })
      ),
    settleSum: (prefix) =>
      inTransaction(sql, connectMs + sumSettleMsMax, (run) =>
        Effect.gen(function* () {
          yield* run(`SET LOCAL statement_timeout = ${sumSettleMsMax}`)
          if ((yield* run(claim, [PgTypes.text(prefix)])).length === 0) return []
          const rows = yield* run(settle, prefixParams(prefix))
          return rows.map((row) => assetSumColumns.decode(row))
        })
      )
  }
}
