/**
 * What all accounts that begin with a prefix have together, as of an instant: their balances now, less what was recorded
 * or is effective later. So it costs as much as was recorded since, and as there are accounts, unless the prefix is declared:
 * then what they have now is kept at hand.
 */
import { PgTypes } from "@effect/sql-pg"
import { int8Value } from "../postgres/Columns.ts"
import { inPrefix, prefixParams } from "./IdRanges.ts"
import type { AssetSum, SumQuery, SumsAt } from "./ReadModel.ts"
import { assetSumColumns } from "./ReadModelRows.ts"
import { skippedChanges } from "./SkippedChanges.ts"

/** A text, for there is an instant beyond all others. */
const until = "$4::text::timestamptz"

/**
 * One statement, one snapshot, also of which accounts are parked. Lines that do not count are found by when they were recorded, and the
 * few that count for another instant than that by the index that they have. Null where there are too many accounts.
 */
const sums = `
  WITH kept AS (
    SELECT count(*) > 0 AS at_hand FROM books_v1_sum_prefixes WHERE prefix = $1 AND filled
  ), few AS (
    SELECT CASE WHEN kept.at_hand THEN true ELSE (
      SELECT count(*) <= $5 FROM (
        SELECT 1 FROM books_v1_balances WHERE ${inPrefix("account")} LIMIT $5 + 1
      ) AS found
    ) END AS are FROM kept
  ), own AS (
    SELECT asset, sum(balance) AS balance, sum(accounts)::int8 AS accounts FROM books_v1_prefix_sums
    WHERE prefix = $1 AND (SELECT at_hand FROM kept) GROUP BY asset
    UNION ALL
    SELECT asset, sum(balance), count(*) FROM books_v1_balances
    WHERE ${inPrefix("account")} AND (SELECT are FROM few) AND NOT (SELECT at_hand FROM kept) GROUP BY asset
  ), late AS (
    SELECT asset, sum(amount) AS amount, count(*) FILTER (WHERE type = 'AccountOpened') AS accounts FROM (
      SELECT asset, amount, type FROM books_v1_statement_lines
      WHERE ${inPrefix("account")} AND recorded_at > least($3::timestamptz, ${until})
        AND NOT (recorded_at <= $3 AND effective_at <= ${until})
      UNION ALL
      SELECT asset, amount, type FROM books_v1_statement_lines
      WHERE ${inPrefix("account")} AND effective_at - recorded_at <> interval '0'
        AND recorded_at <= least($3::timestamptz, ${until}) AND effective_at > ${until} AND ${until} < 'infinity'
      UNION ALL
      SELECT asset, amount, 'Skipped' FROM (${skippedChanges(inPrefix("s.account"))}) AS skipped
      WHERE counted_from > least($3::timestamptz, ${until})
    ) AS lines WHERE (SELECT are FROM few) GROUP BY asset
  )
  SELECT few.are, (SELECT count(*) FROM books_v1_parked_accounts WHERE ${inPrefix("account")}),
    asset, (balance - coalesce(late.amount, 0))::text, own.accounts - coalesce(late.accounts, 0)
  FROM few LEFT JOIN own ON true LEFT JOIN late USING (asset) ORDER BY asset COLLATE "C"`

export const sumOf = ({ prefix, knownAt, effectiveAt }: SumQuery, accountsMax: number) => ({
  text: sums,
  params: [
    ...prefixParams(prefix),
    PgTypes.timestamptz(knownAt),
    PgTypes.text(effectiveAt === undefined ? "infinity" : new Date(effectiveAt).toISOString()),
    int8Value(accountsMax)
  ]
})

export const toSums = (rows: ReadonlyArray<ReadonlyArray<unknown>>): SumsAt<AssetSum> | undefined => {
  const [areFew, parked] = rows[0] ?? []
  if (areFew !== true) return undefined
  const found = rows.filter((row) => row[2] !== null)
  return {
    sums: found.map((row) => assetSumColumns.decode(row, 2)).filter(isNotEmpty),
    parked: Number(parked)
  }
}

/** An asset that no account had at the instant is left out. */
export const isNotEmpty = ({ balance, accounts }: AssetSum): boolean => accounts > 0 || balance !== 0n
