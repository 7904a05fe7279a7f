/** Batches of the projection `books` enter; statement lines, transfers and contra balances are written. */
import { PgTypes } from "@effect/sql-pg"
import { arrayOf, textArray } from "../postgres/Columns.ts"
import type { Projection, Written } from "./Projection.ts"
import type { BooksBatch } from "./ReadModel.ts"
import { lineColumns, lineParams, numericArray, transferColumns, transferParams } from "./ReadModelRows.ts"

const { OID } = PgTypes

const addLines = (prefix: string) => `
  INSERT INTO ${prefix}_statement_lines (${lineColumns})
  SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::numeric[], $5::numeric[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])`

const addTransfers = (prefix: string) => `
  INSERT INTO ${prefix}_transfers (${transferColumns})
  SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::int8[], $6::text[], $7::numeric[],
    $8::text[], $9::timestamptz[], $10::timestamptz[])`

const addContras = (prefix: string) => `
  INSERT INTO ${prefix}_contra AS c (contra, asset, partition_id, balance)
  SELECT contra, asset, partition_id, sum(amount)
  FROM unnest($1::text[], $2::text[], $3::int4[], $4::numeric[]) AS u(contra, asset, partition_id, amount)
  GROUP BY contra, asset, partition_id ORDER BY contra, asset, partition_id
  ON CONFLICT (contra, asset, partition_id) DO UPDATE SET balance = c.balance + excluded.balance`

const contraParams = (contras: BooksBatch["contras"]) => [
  textArray(contras.map((entry) => entry.contra)),
  textArray(contras.map((entry) => entry.asset)),
  arrayOf(
    contras.map((entry) => entry.partition),
    OID.int4
  ),
  numericArray(contras.map((entry) => entry.amount))
]

const write = (prefix: string, batch: BooksBatch): ReadonlyArray<Written> => {
  const pieces: Array<Written> = []
  if (batch.lines.length > 0) pieces.push({ text: addLines(prefix), params: lineParams(batch.lines) })
  if (batch.transfers.length > 0) {
    pieces.push({ text: addTransfers(prefix), params: transferParams(batch.transfers) })
  }
  if (batch.contras.length > 0) {
    pieces.push({ text: addContras(prefix), params: contraParams(batch.contras) })
  }
  return pieces
}

/** A contra has the opposite of each deposit and withdrawal, so their sum is what it gives back. */
const takeBackContras = (prefix: string) => `
  UPDATE ${prefix}_contra c SET balance = c.balance + taken.amount
  FROM (
    SELECT counterparty, asset, sum(amount) AS amount FROM ${prefix}_statement_lines
    WHERE account = $1 AND type IN ('Deposited', 'Withdrawn') GROUP BY counterparty, asset
  ) AS taken
  WHERE c.contra = taken.counterparty AND c.asset = taken.asset AND c.partition_id = $2::int4`

/** Transfers are found by the lines of their sender: they have no index on the account. */
const eraseTransfers = (prefix: string) => `
  DELETE FROM ${prefix}_transfers t USING ${prefix}_statement_lines l
  WHERE l.account = $1 AND l.type = 'TransferSent' AND t.id = l.command_id AND t.from_account = $1`

const eraseLines = (prefix: string) => `DELETE FROM ${prefix}_statement_lines WHERE account = $1`

const erase: Projection["erase"] = (prefix, { account, partition }) => [
  { text: eraseLines(prefix), params: [PgTypes.text(account)] },
  { text: eraseTransfers(prefix), params: [PgTypes.text(account)] },
  { text: takeBackContras(prefix), params: [PgTypes.text(account), PgTypes.int4(partition)] }
]

/** Balances, statements, transfers and the world outside: what `Queries` asks. */
export const books: Projection = {
  name: "books",
  version: 1,
  tables: ["statement_lines", "transfers", "contra"],
  appended: ["statement_lines", "transfers"],
  write,
  erase
}
