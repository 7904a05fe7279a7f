/** Life signs of writers, fences and relay cursors enter; what is known of the writers leaves. */
import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import { columns, int8, int8Value, nullable, text, timestamptz, toInstant } from "../postgres/Columns.ts"
import { chunksOf, unionOf } from "../postgres/SqlUnion.ts"
import type { EventStore } from "./EventStore.ts"
import { type CommitRow, StoreUnavailable, type WriterId, type WriterRow } from "./EventStoreTypes.ts"
import type { Query } from "./SqlClients.ts"
import { commitColumns, cursorColumns } from "./SqlRows.ts"

type Writers = Pick<
  EventStore["Service"],
  "registerWriter" | "heartbeat" | "listWriters" | "fenceWriter" | "relayCursors" | "moveRelayCursors"
>

/** Table `writers`; when a writer started is only for people. */
const writerColumns = columns<Omit<WriterRow, "lastSeq" | "fenced"> & { readonly fencedAt: number | null }>({
  writerId: ["writer_id", text()],
  node: ["node", text()],
  fencedAt: ["fenced_at_seq", nullable(int8)],
  closedAt: ["closed_at", timestamptz],
  heartbeatAt: ["heartbeat_at", timestamptz]
})

const register = `
  INSERT INTO writers (writer_id, node, started_at, heartbeat_at, closed_at)
  VALUES ($1, $2, clock_timestamp(), clock_timestamp(), $3) ON CONFLICT (writer_id) DO NOTHING`

/** The clock is read by the outer SELECT, so that it is answered for no writers too. */
const beats = writerColumns.pick("writerId", "closedAt")
const beat = `
  WITH beaten AS (
    UPDATE writers SET heartbeat_at = clock_timestamp(), closed_at = greatest(writers.closed_at, beats.closed_at)
    FROM ${beats.unnest("beats")}
    WHERE writers.writer_id = beats.writer_id RETURNING 1
  )
  SELECT clock_timestamp()`

const all = `SELECT ${writerColumns.list} FROM writers ORDER BY writer_id`

const lastRow = commitColumns.pick("writerId", "seq", "rows", "recordedAt")

/** The last commit row of each writer, without reading the others. */
const lastRows = unionOf({
  shared: 0,
  width: 1,
  branch: (first) => `
    SELECT ${lastRow.list} FROM commits WHERE writer_id = $${first}
    ORDER BY seq DESC LIMIT 1`,
  tail: ""
})

const fence = `
  INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, 0, '[]')
  ON CONFLICT (writer_id, seq) DO NOTHING RETURNING seq`

const noteFence = `UPDATE writers SET fenced_at_seq = $2 WHERE writer_id = $1`

const cursors = `SELECT ${cursorColumns.list} FROM relay_cursors`

const move = `
  INSERT INTO relay_cursors (${cursorColumns.list}) SELECT * FROM unnest(${cursorColumns.casts()})
  ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE relay_cursors.seq < excluded.seq`

/** How often a fence is tried against a writer that takes the very number each time. */
const fenceTriesMax = 100

export const makeWriters = (query: Query): Writers => {
  const lastRowsOf = Effect.fnUntraced(function* (writers: ReadonlyArray<WriterId>) {
    const last = new Map<WriterId, Pick<CommitRow, "seq" | "rows" | "recordedAt">>()
    for (const chunk of chunksOf(writers)) {
      const rows = yield* query(
        lastRows(chunk.length),
        chunk.map((writer) => PgTypes.text(writer))
      )
      for (const row of rows.map((found) => lastRow.decode(found))) last.set(row.writerId, row)
    }
    return last
  })

  return {
    registerWriter: ({ writerId, node, closedAt }) =>
      Effect.asVoid(
        query(register, [PgTypes.text(writerId), PgTypes.text(node), PgTypes.timestamptz(closedAt)])
      ),

    heartbeat: (writers) => Effect.map(query(beat, beats.arrays(writers)), (rows) => toInstant(rows[0]?.[0])),

    // Closed instants are read before the last commits: what was closed over is then certainly seen.
    listWriters: Effect.gen(function* () {
      const rows = (yield* query(all, [])).map((row) => writerColumns.decode(row))
      const open = rows.filter((row) => row.fencedAt === null).map((row) => row.writerId)
      const last = yield* lastRowsOf(open)
      return rows.map(({ fencedAt, ...writer }) => {
        const row = last.get(writer.writerId)
        return {
          ...writer,
          lastSeq: fencedAt ?? row?.seq ?? 0,
          fenced: fencedAt !== null || row?.rows === 0
        }
      })
    }),

    fenceWriter: Effect.fnUntraced(function* (writerId) {
      for (let tries = 0; tries < fenceTriesMax; tries++) {
        const last = (yield* lastRowsOf([writerId])).get(writerId)
        const isFenced = last?.rows === 0
        const seq = isFenced ? last.seq : (last?.seq ?? 0) + 1
        if (!isFenced) {
          const at = PgTypes.timestamptz(last?.recordedAt ?? 0)
          const fenced = yield* query(fence, [PgTypes.text(writerId), int8Value(seq), at])
          if (fenced.length === 0) continue
        }
        yield* query(noteFence, [PgTypes.text(writerId), int8Value(seq)])
        return seq
      }
      return yield* new StoreUnavailable({
        store: "event store",
        reason: `writer ${writerId} committed ${fenceTriesMax} times while it was being fenced: it lives`
      })
    }),

    relayCursors: Effect.map(
      query(cursors, []),
      (rows) =>
        new Map(rows.map((row) => cursorColumns.decode(row)).map(({ writerId, seq }) => [writerId, seq]))
    ),

    moveRelayCursors: (moved) =>
      moved.size === 0
        ? Effect.void
        : Effect.asVoid(
            query(move, cursorColumns.arrays(Array.from(moved, ([writerId, seq]) => ({ writerId, seq }))))
          )
  }
}
