/** A projection of a host's own: what went into and out of each account, month by month (by effective time, UTC). */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Effect, Result } from "effect"
import type { AccountId, Projection } from "../../src/index.ts"

export interface MonthlyTotal {
  /** `2026-11`. */
  readonly month: string
  /** Minor units. */
  readonly cameIn: bigint
  readonly wentOut: bigint
  readonly lines: number
}

const array = (values: ReadonlyArray<unknown>, oid: number) => Result.getOrThrow(PgTypes.array(values, oid))

/** In order of key, so that two projectors on the same rows wait for each other, and do not deadlock. */
const add = (prefix: string) => `
  INSERT INTO ${prefix}_totals AS t (account, month, asset, came_in, went_out, lines)
  SELECT account, date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, min(asset),
    coalesce(sum(amount) FILTER (WHERE amount > 0), 0), coalesce(-sum(amount) FILTER (WHERE amount < 0), 0), count(*)
  FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::numeric[]) AS u(account, at, asset, amount)
  GROUP BY account, month ORDER BY account COLLATE "C", month
  ON CONFLICT (account, month) DO UPDATE SET came_in = t.came_in + excluded.came_in,
    went_out = t.went_out + excluded.went_out, lines = t.lines + excluded.lines`

export const monthlyTotals: Projection = {
  name: "monthly_totals",
  version: 1,
  migrations: new URL("migrations", import.meta.url).pathname,
  tables: ["totals"],
  write: (prefix, { lines }) => [
    {
      text: add(prefix),
      params: [
        array(
          lines.map((line) => line.account),
          PgTypes.OID.text
        ),
        array(
          lines.map((line) => line.effectiveAt),
          PgTypes.OID.timestamptz
        ),
        array(
          lines.map((line) => line.asset),
          PgTypes.OID.text
        ),
        array(
          lines.map((line) => String(line.amount)),
          PgTypes.OID.numeric
        )
      ]
    }
  ],
  erase: (prefix, { account }) => [
    { text: `DELETE FROM ${prefix}_totals WHERE account = $1`, params: [PgTypes.text(account)] }
  ]
}

/** What `chronicle rebuild monthly_totals --module …` builds. */
export default monthlyTotals

export const totalsOf = (sql: PgClient, account: AccountId) =>
  Effect.map(
    sql<{ month: string; came_in: string; went_out: string; lines: bigint }>`
      SELECT to_char(month, 'YYYY-MM') AS month, came_in::text, went_out::text, lines
      FROM monthly_totals_v1_totals WHERE account = ${account} ORDER BY month`,
    (rows) =>
      rows.map(
        (row): MonthlyTotal => ({
          month: row.month,
          cameIn: BigInt(row.came_in),
          wentOut: BigInt(row.went_out),
          lines: Number(row.lines)
        })
      )
  )
