/** The projection `books`, which `Queries` answers from: balances, statement lines, transfers, holds and contra balances. */
import { PgTypes } from "@effect/sql-pg"
import { booksName, type Projection, sumPrefixesTable, type Written } from "./Projection.ts"
import type { BooksBatch } from "./ReadModel.ts"
import {
  contraColumns,
  goneColumns,
  holdColumns,
  lineColumns,
  sumColumns,
  transferColumns
} from "./ReadModelRows.ts"

/** The entries of journals on contra accounts that a line carries. */
export const contraEntries = (line: string) =>
  `jsonb_to_recordset(${line}.contras::jsonb) AS entry(contra text, asset text, amount numeric)`

const addLines = (prefix: string) => `
  INSERT INTO ${prefix}_statement_lines (${lineColumns.list}) SELECT * FROM unnest(${lineColumns.casts()})`

const addTransfers = (prefix: string) => `
  INSERT INTO ${prefix}_transfers (${transferColumns.list}) SELECT * FROM unnest(${transferColumns.casts()})`

const addContras = (prefix: string) => `
  INSERT INTO ${prefix}_contra AS c (contra, asset, partition_id, balance)
  SELECT contra, asset, partition_id, sum(amount) FROM ${contraColumns.unnest("u")}
  GROUP BY contra, asset, partition_id ORDER BY contra, asset, partition_id
  ON CONFLICT (contra, asset, partition_id) DO UPDATE SET balance = c.balance + excluded.balance`

const moveSums = (prefix: string) => `
  INSERT INTO ${prefix}_prefix_sums AS s (${sumColumns.list}) SELECT * FROM unnest(${sumColumns.casts()})
  ON CONFLICT (prefix, asset, partition_id) DO UPDATE
  SET balance = s.balance + excluded.balance, accounts = s.accounts + excluded.accounts`

const changeHolds = (prefix: string) => `
  INSERT INTO ${prefix}_holds (${holdColumns.list}) SELECT * FROM unnest(${holdColumns.casts()})
  ON CONFLICT (account, hold) DO UPDATE SET amount = excluded.amount, captured = excluded.captured,
    remaining = excluded.remaining, captures = excluded.captures, expires_at = excluded.expires_at`

const endHolds = (prefix: string) => `
  DELETE FROM ${prefix}_holds h USING ${goneColumns.unnest("u")} WHERE h.account = u.account AND h.hold = u.hold`

const writeHolds = (prefix: string, holds: BooksBatch["holds"]): ReadonlyArray<Written> => {
  const changed = holds.flatMap(({ row }) => row ?? [])
  const gone = holds.filter(({ row }) => row === undefined)
  return [
    ...(changed.length === 0 ? [] : [{ text: changeHolds(prefix), params: holdColumns.arrays(changed) }]),
    ...(gone.length === 0 ? [] : [{ text: endHolds(prefix), params: goneColumns.arrays(gone) }])
  ]
}

const write = (
  prefix: string,
  { lines, transfers, contras, holds, sums = [] }: BooksBatch
): ReadonlyArray<Written> => [
  ...(lines.length === 0 ? [] : [{ text: addLines(prefix), params: lineColumns.arrays(lines) }]),
  ...(transfers.length === 0
    ? []
    : [{ text: addTransfers(prefix), params: transferColumns.arrays(transfers) }]),
  ...(contras.length === 0 ? [] : [{ text: addContras(prefix), params: contraColumns.arrays(contras) }]),
  ...writeHolds(prefix, holds),
  ...(sums.length === 0 ? [] : [{ text: moveSums(prefix), params: sumColumns.arrays(sums) }])
]

/** A contra has the opposite of each deposit and withdrawal, and what a journal adds stands on the line of its first leg. */
const takeBackContras = (prefix: string) => `
  UPDATE ${prefix}_contra c SET balance = c.balance + taken.amount
  FROM (
    SELECT contra, asset, sum(amount) AS amount FROM (
      SELECT counterparty AS contra, asset, amount FROM ${prefix}_statement_lines
      WHERE account = $1 AND type IN ('Deposited', 'Withdrawn', 'HoldCaptured')
      UNION ALL
      SELECT entry.contra, entry.asset, -entry.amount FROM ${prefix}_statement_lines l, ${contraEntries("l")}
      WHERE l.account = $1 AND l.contras IS NOT NULL
    ) AS entries GROUP BY contra, asset
  ) AS taken
  WHERE c.contra = taken.contra AND c.asset = taken.asset AND c.partition_id = $2::int4`

/**
 * Transfers are found by the lines of their sender: they have no index on the account. Those of a group have an ordinal
 * behind the command's id; `:` comes after the digits.
 */
const eraseTransfers = (prefix: string) => `
  DELETE FROM ${prefix}_transfers t USING ${prefix}_statement_lines l
  WHERE l.account = $1 AND l.type IN ('TransferSent', 'HoldCaptured') AND t.from_account = $1
    AND (t.id = l.command_id OR (t.id >= l.command_id || '~' AND t.id < l.command_id || '~:'))`

/** The balance says what an account adds to a sum, also where an event was skipped that has no line. */
const takeBackSums = (prefix: string) => `
  INSERT INTO ${prefix}_prefix_sums AS s (${sumColumns.list})
  SELECT p.prefix, b.asset, $2::int4, -b.balance, -1
  FROM ${prefix}_balances b JOIN ${prefix}_sum_prefixes p ON starts_with(b.account, p.prefix)
  WHERE b.account = $1 ORDER BY p.prefix
  ON CONFLICT (prefix, asset, partition_id) DO UPDATE
  SET balance = s.balance + excluded.balance, accounts = s.accounts + excluded.accounts`

const eraseLines = (prefix: string) => `DELETE FROM ${prefix}_statement_lines WHERE account = $1`

const eraseHolds = (prefix: string) => `DELETE FROM ${prefix}_holds WHERE account = $1`

const erase: Projection["erase"] = (prefix, { account, partition }) => [
  { text: eraseLines(prefix), params: [PgTypes.text(account)] },
  { text: eraseHolds(prefix), params: [PgTypes.text(account)] },
  { text: eraseTransfers(prefix), params: [PgTypes.text(account)] },
  { text: takeBackContras(prefix), params: [PgTypes.text(account), PgTypes.int4(partition)] },
  { text: takeBackSums(prefix), params: [PgTypes.text(account), PgTypes.int4(partition)] }
]

export const books: Projection = {
  name: booksName,
  version: 1,
  tables: ["statement_lines", "transfers", "contra", "holds", "prefix_sums", sumPrefixesTable],
  appended: ["statement_lines", "transfers"],
  write,
  erase
}
