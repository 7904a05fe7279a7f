/**
 * Writers that will never commit again and whose tails are published. A node begins a few writers each time it starts,
 * so their number only grows; here they are numbered, and leave every listing, so that they cost nothing any more.
 */
import { Effect } from "effect"
import { columns, int8, int8Value, text, textArray, timestamptz } from "../postgres/Columns.ts"
import type { EventStore } from "./EventStore.ts"
import type { FinishedWriter } from "./EventStoreTypes.ts"
import type { StoreQueries } from "./SqlClients.ts"

const finishedColumns = columns<FinishedWriter>({
  ordinal: ["finished", int8],
  writerId: ["writer_id", text()],
  lastSeq: ["fenced_at_seq", int8],
  startedAt: ["started_at", timestamptz]
})

/**
 * In the order in which the writers fell silent, which is about the order of their last commits. Two nodes that do this
 * at once meet in the unique index, or find the other's writers numbered already.
 */
const finish = `
  WITH numbered AS (
    UPDATE writers SET finished = found.ordinal
    FROM (
      SELECT w.writer_id, (SELECT coalesce(max(finished), 0) FROM writers)
        + row_number() OVER (ORDER BY w.heartbeat_at, w.writer_id) AS ordinal
      FROM writers w JOIN relay_cursors c ON c.writer_id = w.writer_id
      WHERE w.finished IS NULL AND c.seq >= w.fenced_at_seq
        AND w.heartbeat_at < clock_timestamp() - $1::int8 * interval '1 millisecond'
      ORDER BY w.heartbeat_at, w.writer_id LIMIT $2
    ) AS found
    WHERE writers.writer_id = found.writer_id AND writers.finished IS NULL
    RETURNING writers.writer_id
  ), published AS (
    DELETE FROM relay_cursors WHERE writer_id IN (SELECT writer_id FROM numbered) RETURNING 1
  )
  SELECT count(*) FROM numbered`

const last = `SELECT coalesce(max(finished), 0) FROM writers`

const page = `
  SELECT ${finishedColumns.list} FROM writers WHERE finished > $1 AND finished <= $2 ORDER BY finished LIMIT $3`

const registered = `SELECT writer_id FROM writers WHERE writer_id = ANY($1::text[])`

export const makeFinishedWriters = ({ query, proven }: StoreQueries) =>
  ({
    finishWriters: ({ silentMs, limit }) =>
      Effect.map(query(finish, [int8Value(silentMs), int8Value(limit)]), (rows) => Number(rows[0]?.[0])),

    // Proven: after a failover that lost them, the same numbers would be given to other writers.
    lastFinished: Effect.map(proven(last, []), (rows) => Number(rows[0]?.[0])),
    finishedWriters: ({ above, upTo, limit }) =>
      Effect.map(proven(page, [int8Value(above), int8Value(upTo), int8Value(limit)]), (rows) =>
        rows.map((row) => finishedColumns.decode(row))
      ),

    registeredWriters: (writers) =>
      Effect.map(
        query(registered, [textArray(writers)]),
        (rows) => new Set(rows.map((row) => String(row[0])))
      )
  }) satisfies Pick<
    EventStore["Service"],
    "finishWriters" | "lastFinished" | "finishedWriters" | "registeredWriters"
  >
