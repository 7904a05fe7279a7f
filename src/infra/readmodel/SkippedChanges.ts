/**
 * What events that were skipped did to the balances of their accounts. They have no line that says so, but the balances after them hold it:
 * as in a statement it counts from the next line on that was recorded after them, and at the end of an account for no instant yet. So what
 * was answered of an instant while they held up their account is answered for ever (I9).
 */

/** Rows of `asset`, `amount` and `counted_from`, one for each run of skipped events; `where` bounds `s.account`. */
export const skippedChanges = (where: string) => `
  SELECT DISTINCT ON (s.account, coalesce(next.version, 0)) b.asset,
    coalesce(next.before, b.balance) - coalesce(last.balance, 0) AS amount,
    coalesce(next.recorded_at, 'infinity') AS counted_from
  FROM books_v1_skipped s JOIN books_v1_balances b ON b.account = s.account
  LEFT JOIN LATERAL (
    SELECT balance FROM books_v1_statement_lines l
    WHERE l.account = s.account AND l.version <= s.version ORDER BY l.version DESC LIMIT 1
  ) AS last ON true
  LEFT JOIN LATERAL (
    SELECT version, balance - amount AS before, recorded_at FROM books_v1_statement_lines l
    WHERE l.account = s.account AND l.version > s.version ORDER BY l.version LIMIT 1
  ) AS next ON true
  WHERE ${where} ORDER BY s.account, coalesce(next.version, 0)`
