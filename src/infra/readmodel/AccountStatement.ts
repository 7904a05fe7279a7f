/**
 * The SQL of an account's statement, in either order of time, with the balances that belong to that order.
 *
 * A line is *dated* where it counts for another instant than the one at which it was recorded. In recorded order a
 * line's balance is the one it was stored with. In effective order it is the sum of all lines up to it in that order,
 * found without adding them up: the stored balance of the last line recorded by then, less the dated lines that were
 * recorded by then, plus the dated lines that count by then. Only dated lines cost anything, and these have an index.
 */
import { PgTypes } from "@effect/sql-pg"
import { type Instant, instantMax } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { columns, int8, int8Value, minorUnits, text, textArray } from "../postgres/Columns.ts"
import type { LinesQuery, StatementRows } from "./ReadModel.ts"
import { lineColumns } from "./ReadModelRows.ts"

/** What every row of the answer begins with; the line follows, all of it null where there is none. */
const frameColumns = columns<Omit<StatementRows, "lines">>({
  asset: ["asset", text<Asset>()],
  version: ["up_to", int8],
  opening: ["opening", minorUnits],
  closing: ["closing", minorUnits]
})

const versionMax = "9223372036854775807"

/**
 * The last version at or before a point in time, where of two events recorded at the same instant the one with the
 * higher version is the later one. Found by halving: instants never go back along an account, so it costs some twenty
 * look-ups of the primary key however long the account is, and no index on time at each write. What a skipped event did, which has no
 * line, counts from the next line on: at the end of an account it counts for no instant yet.
 */
const lastVersionAt = (instant: string, version: string) => `(CASE
  WHEN ${instant} = '-infinity' THEN 0 WHEN ${instant} = 'infinity' THEN ${versionMax} ELSE (
    WITH RECURSIVE halves(low, high) AS (
      SELECT 0::int8, coalesce((
        SELECT version FROM books_v1_statement_lines WHERE account = $1 ORDER BY version DESC LIMIT 1
      ), 0)
      UNION ALL
      SELECT CASE WHEN is_before THEN middle ELSE low END, CASE WHEN is_before THEN high ELSE middle - 1 END
      FROM halves CROSS JOIN LATERAL (SELECT (low + high + 1) / 2 AS middle) AS m
      CROSS JOIN LATERAL (
        SELECT coalesce((
          SELECT (l.recorded_at, l.version) <= (${instant}, ${version}) FROM books_v1_statement_lines l
          WHERE l.account = $1 AND l.version <= middle AND l.version > low ORDER BY l.version DESC LIMIT 1
        ), true) AS is_before
      ) AS looked
      WHERE low < high
    ) SELECT low FROM halves WHERE low = high) END)`

/** The stored balance at a version. The last one is taken from the head, which knows of skipped events too. */
const storedBalance = (
  version: string
) => `(CASE WHEN ${version} >= head_version THEN head_balance ELSE coalesce((
    SELECT balance FROM books_v1_statement_lines WHERE account = $1 AND version <= ${version}
    ORDER BY version DESC LIMIT 1), 0) END)`

// $1 account, $2 and $9 version and instant of the line before the page, $3 limit, $4 types, $5 from, $6 to,
// $7 counterparty, $8 version up to which events count. Instants are given as text, because they may be infinite.
const [from, to, after] = ["$5::text::timestamptz", "$6::text::timestamptz", "$9::text::timestamptz"]
const isWanted = "($4::text[] IS NULL OR type = ANY($4)) AND ($7::text IS NULL OR counterparty = $7)"

/** The versions between which undated lines are, and what the head says. */
const bounds = `
  SELECT asset, head_version, head_balance, up_to, least(up_to, ${lastVersionAt(from, "0")}) AS from_version,
    least(up_to, ${lastVersionAt(to, "0")}) AS to_version
  FROM (
    SELECT asset, version AS head_version, balance AS head_balance, least(version, $8::int8) AS up_to
    FROM books_v1_balances WHERE account = $1
  ) AS head`

const byRecorded = `
  WITH bounds AS MATERIALIZED (${bounds}), frame AS MATERIALIZED (
    SELECT *, ${storedBalance("from_version")} AS opening, ${storedBalance("to_version")} AS closing FROM bounds
  )
  SELECT frame.asset, up_to, opening, closing, ${lineColumns.listOf("line")}
  FROM frame LEFT JOIN LATERAL (
    SELECT ${lineColumns.list} FROM books_v1_statement_lines
    WHERE account = $1 AND version > greatest($2::int8, from_version) AND version <= to_version AND ${isWanted}
    ORDER BY version LIMIT $3
  ) AS line ON true
  ORDER BY line.version`

// Written as the index and its statistics have it; `version + 0` is no reason to read the primary key instead.
const isUndated = "effective_at - recorded_at = interval '0'"
const isDated = "account = $1 AND effective_at - recorded_at <> interval '0' AND version + 0 <= up_to"
/** Whether a dated line comes before the page, and its opposite. */
const isBefore = `(effective_at < ${from} OR (effective_at, version) <= (${after}, $2::int8))`
const isNotBefore = `effective_at >= ${from} AND (effective_at, version) > (${after}, $2::int8)`

/**
 * `shifts` says how much dated lines move the balance at three points, and how many of them are `ahead` of the page:
 * where all lines are, undated ones need not be looked for. `page` are the lines that are asked for, each with
 * `counted`: the last version recorded by then, which is not looked for where it is the same for all of them, as in an
 * import. `by_time` and `by_version` add, for each line of the page, the dated lines between the beginning of the page
 * and that line. `found` is limited inside of the join: outside of it the planner would read all undated lines.
 */
const byEffective = `
  WITH bounds AS MATERIALIZED (
    SELECT *, greatest(from_version, least(up_to, ${lastVersionAt(after, "$2::int8")})) AS start_version
    FROM (${bounds}) AS b
  ), shifts AS (
    SELECT
      coalesce(sum(amount) FILTER (WHERE effective_at < ${from}), 0)
        - coalesce(sum(amount) FILTER (WHERE version <= from_version), 0) AS opening,
      coalesce(sum(amount) FILTER (WHERE effective_at < ${to}), 0)
        - coalesce(sum(amount) FILTER (WHERE version <= to_version), 0) AS closing,
      coalesce(sum(amount) FILTER (WHERE ${isBefore}), 0)
        - coalesce(sum(amount) FILTER (WHERE version <= start_version), 0) AS start,
      count(*) FILTER (WHERE version > start_version AND version <= to_version) AS ahead
    FROM bounds CROSS JOIN LATERAL (
      SELECT effective_at, version, amount FROM books_v1_statement_lines WHERE ${isDated}
    ) AS dated
  ), found AS MATERIALIZED (
    SELECT page_lines.* FROM bounds CROSS JOIN shifts CROSS JOIN LATERAL (
      SELECT * FROM (
        (SELECT ${lineColumns.list} FROM books_v1_statement_lines
         WHERE account = $1 AND version > start_version AND version <= to_version AND ${isUndated}
           AND ahead < to_version - start_version AND ${isWanted}
         ORDER BY version LIMIT $3)
        UNION ALL
        (SELECT ${lineColumns.list} FROM books_v1_statement_lines
         WHERE ${isDated} AND ${isNotBefore} AND effective_at < ${to} AND ${isWanted}
         ORDER BY effective_at, version LIMIT $3)
      ) AS both_kinds ORDER BY effective_at, version LIMIT $3
    ) AS page_lines
  ), ending AS MATERIALIZED (
    SELECT effective_at, version, ${lastVersionAt("found.effective_at", "found.version")} AS counted FROM found
    ORDER BY effective_at DESC, version DESC LIMIT 1
  ), page AS MATERIALIZED (
    SELECT found.*, c.counted,
      CASE WHEN found.effective_at = recorded_at THEN found.balance ELSE ${storedBalance("c.counted")} END AS base
    FROM bounds CROSS JOIN ending CROSS JOIN found CROSS JOIN LATERAL (
      SELECT CASE WHEN found.effective_at = found.recorded_at THEN found.version
        WHEN ending.counted <= start_version THEN start_version
        ELSE least(up_to, ${lastVersionAt("found.effective_at", "found.version")}) END AS counted OFFSET 0
    ) AS c
  ), by_time AS (
    SELECT version, is_line, sum(amount) OVER (ORDER BY effective_at, version, is_line) AS shift FROM (
      SELECT d.effective_at, d.version, d.amount, false AS is_line FROM bounds CROSS JOIN ending CROSS JOIN LATERAL (
        SELECT effective_at, version, amount FROM books_v1_statement_lines
        WHERE ${isDated} AND ${isNotBefore} AND (effective_at, version) <= (ending.effective_at, ending.version)
      ) AS d
      UNION ALL SELECT effective_at, version, 0, true FROM page
    ) AS lines
  ), by_version AS (
    SELECT version, is_line, sum(amount) OVER (ORDER BY counted, is_line) AS shift FROM (
      SELECT d.version, d.version AS counted, d.amount, false AS is_line FROM bounds CROSS JOIN ending CROSS JOIN LATERAL (
        SELECT version, amount FROM books_v1_statement_lines
        WHERE ${isDated} AND version > start_version AND version <= ending.counted
      ) AS d
      UNION ALL SELECT version, counted, 0, true FROM page
    ) AS lines
  ), line AS (
    SELECT page.*, base + (SELECT start FROM shifts) + by_time.shift - by_version.shift AS running
    FROM page JOIN by_time ON by_time.version = page.version AND by_time.is_line
    JOIN by_version ON by_version.version = page.version AND by_version.is_line
  ), frame AS MATERIALIZED (
    SELECT bounds.asset, up_to, ${storedBalance("from_version")} + shifts.opening AS opening,
      ${storedBalance("to_version")} + shifts.closing AS closing
    FROM bounds CROSS JOIN shifts
  )
  SELECT frame.asset, up_to, opening, closing, ${lineColumns.listOf("line").replace("line.balance", "line.running")}
  FROM frame LEFT JOIN line ON true
  ORDER BY line.effective_at, line.version`

/** PostgreSQL's own ends of time, where no instant is given, or one behind all others, whose year has no form that it reads. */
const bound = (instant: Instant | undefined, end: "-infinity" | "infinity") => {
  if (instant === undefined) return PgTypes.text(end)
  return PgTypes.text(instant > instantMax ? "infinity" : new Date(instant).toISOString())
}

export const statementOf = (
  query: LinesQuery
): { readonly text: string; readonly params: ReadonlyArray<unknown> } => {
  const { account, limit, axis, types, counterparty, after: before, upTo } = query
  const shared = [
    PgTypes.text(account),
    int8Value(before?.version ?? 0),
    int8Value(limit),
    types === undefined ? null : textArray(types),
    bound(query.from, "-infinity"),
    bound(query.to, "infinity"),
    PgTypes.text(counterparty ?? null),
    upTo === undefined ? null : int8Value(upTo)
  ]
  return axis === "effective"
    ? { text: byEffective, params: [...shared, bound(before?.effectiveAt, "-infinity")] }
    : { text: byRecorded, params: shared }
}

/** The answer of the statement; none where the account has no row. */
export const toStatement = (rows: ReadonlyArray<ReadonlyArray<unknown>>): StatementRows | undefined => {
  const [first] = rows
  if (first === undefined) return undefined
  const { size } = frameColumns
  return {
    ...frameColumns.decode(first),
    lines: rows.filter((row) => row[size] !== null).map((row) => lineColumns.decode(row, size))
  }
}
