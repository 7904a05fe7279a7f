/** The prefix of a projection's tables enters; the statements that its machine runs on them leave. */
import type { Written } from "./Projection.ts"
import { headColumns } from "./ReadModelRows.ts"

/** Parameters of the statement that moves accounts; what is written with them is numbered on from here. */
const moveParams = 14

/**
 * The whole of a batch as one statement: seven round trips would cost a busy process seven turns of its loop, with
 * the rows locked meanwhile. The accounts are moved first; when one of them was not where the batch says, the
 * division by zero ends the statement, and nothing of it was written.
 */
export const applyStatement = (prefix: string, pieces: ReadonlyArray<Written>): string => {
  let params = moveParams
  const written = pieces.map(({ text, params: own }, index) => {
    const first = params
    params += own.length
    return `, written_${index} AS (${text.replaceAll(/\$(\d+)/g, (_, number) => `$${first + Number(number)}`)})`
  })
  return `${moves(prefix)}${written.join("")}
    SELECT 1 / (CASE WHEN (SELECT count(*) FROM opened) + (SELECT count(*) FROM moved) = $12::int8
      AND (SELECT coalesce(max(generation), 0) = coalesce($14::int8, max(generation), 0) FROM projections WHERE prefix = $13)
      THEN 1 ELSE 0 END)`
}

/** What ends a batch whose accounts others moved; no other expression of the statement divides. */
export const movedState = "22012"

/** Rows are taken in order of account, so that two projectors on the same ones wait, and do not deadlock. */
const moves = (prefix: string) => `
    WITH moves AS (
      SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::numeric[],
        $8::text[], $9::timestamptz[], $10::text[], $11::int8[]) AS u(${headColumns}, was)
      ORDER BY account
    ), opened AS (
      INSERT INTO ${prefix}_balances (${headColumns})
      SELECT ${headColumns} FROM moves WHERE was = 0
      ON CONFLICT (account) DO NOTHING RETURNING 1
    ), moved AS (
      UPDATE ${prefix}_balances b SET version = m.version, status = m.status, balance = m.balance,
        recorded_at = m.recorded_at, hash = m.hash
      FROM moves m WHERE b.account = m.account AND b.version = m.was RETURNING 1
    )`

export const statementsOf = (prefix: string) => ({
  /** One row even where no account is found: the generation is told by it. */
  look: `
    SELECT g.generation, ${headColumns} FROM (
      SELECT coalesce(max(generation), 0) AS generation FROM projections WHERE prefix = $2
    ) AS g LEFT JOIN (
      SELECT found.* FROM unnest($1::text[]) AS wanted(id)
      CROSS JOIN LATERAL (SELECT * FROM ${prefix}_balances b WHERE b.account = wanted.id LIMIT 1) AS found
    ) AS heads ON true`,

  versions: `
    SELECT wanted.id, found.version FROM unnest($1::text[]) AS wanted(id)
    CROSS JOIN LATERAL (SELECT b.version FROM ${prefix}_balances b WHERE b.account = wanted.id LIMIT 1) AS found`,

  checkpoints: `SELECT partition_id, position, recorded_at, updated_at FROM ${prefix}_checkpoints`,

  setCheckpoint: `
    INSERT INTO ${prefix}_checkpoints AS c (partition_id, position, recorded_at, updated_at)
    SELECT *, $4::timestamptz FROM unnest($1::int4[], $2::int8[], $3::timestamptz[])
    ON CONFLICT (partition_id) DO UPDATE SET position = excluded.position,
      recorded_at = GREATEST(c.recorded_at, excluded.recorded_at), updated_at = excluded.updated_at`,

  behind: `
    SELECT wanted.id, wanted.version, coalesce(found.version, 0)
    FROM unnest($1::text[], $2::int8[]) AS wanted(id, version)
    LEFT JOIN LATERAL (
      SELECT b.version FROM ${prefix}_balances b WHERE b.account = wanted.id LIMIT 1
    ) AS found ON true
    WHERE (found.version IS NULL OR found.version < wanted.version)
      AND NOT EXISTS (SELECT 1 FROM ${prefix}_parked_accounts p WHERE p.account = wanted.id)`,

  swept: `SELECT writer_id, seq FROM ${prefix}_swept`,

  moveSwept: `
    INSERT INTO ${prefix}_swept AS s (writer_id, seq)
    SELECT $1, $3::int8 WHERE $2::int8 = 0 OR EXISTS (SELECT 1 FROM ${prefix}_swept WHERE writer_id = $1)
    ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE s.seq = $2`,

  parked: `SELECT account, version, reason, since FROM ${prefix}_parked_accounts ORDER BY account`,

  park: `
    INSERT INTO ${prefix}_parked_accounts (account, version, reason, since)
    SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::timestamptz[]) AS u(account, version, reason, since)
    WHERE NOT EXISTS (SELECT 1 FROM ${prefix}_balances b WHERE b.account = u.account AND b.version >= u.version)
    ON CONFLICT (account) DO UPDATE SET version = excluded.version, reason = excluded.reason`,

  unpark: `DELETE FROM ${prefix}_parked_accounts WHERE account = ANY($1::text[])`,

  skipped: `SELECT account, version, reason, at FROM ${prefix}_skipped ORDER BY account, version`,

  skip: `
    INSERT INTO ${prefix}_skipped (account, version, reason, at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (account, version) DO NOTHING`
})
