/** Life signs of writers, fences and relay cursors enter; what is known of the writers leaves. */
import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { chunksOf, unionOf } from "../postgres/SqlUnion.ts"
import type { EventStore } from "./EventStore.ts"
import { StoreUnavailable, type WriterId } from "./EventStoreTypes.ts"
import type { Query } from "./SqlClients.ts"
import { int8, int8Array, textArray, timestampArray, toInstant } from "./SqlRows.ts"

type Writers = Pick<
  EventStore["Service"],
  "registerWriter" | "heartbeat" | "listWriters" | "fenceWriter" | "relayCursors" | "moveRelayCursors"
>

const register = `
  INSERT INTO writers (writer_id, node, started_at, heartbeat_at, closed_at)
  VALUES ($1, $2, clock_timestamp(), clock_timestamp(), $3) ON CONFLICT (writer_id) DO NOTHING`

/** The clock is read by the outer SELECT, so that it is answered for no writers too. */
const beat = `
  WITH beaten AS (
    UPDATE writers SET heartbeat_at = clock_timestamp(), closed_at = greatest(writers.closed_at, beats.closed_at)
    FROM unnest($1::text[], $2::timestamptz[]) AS beats(writer_id, closed_at)
    WHERE writers.writer_id = beats.writer_id RETURNING 1
  )
  SELECT clock_timestamp()`

const all = `SELECT writer_id, node, fenced_at_seq, closed_at, heartbeat_at FROM writers ORDER BY writer_id`

/** The last commit row of each writer, without reading the others. */
const lastRows = unionOf({
  shared: 0,
  width: 1,
  branch: (first) => `
    SELECT writer_id, seq, row_count, recorded_at FROM commits WHERE writer_id = $${first}
    ORDER BY seq DESC LIMIT 1`,
  tail: ""
})

const fence = `
  INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, 0, '[]')
  ON CONFLICT (writer_id, seq) DO NOTHING RETURNING seq`

const noteFence = `UPDATE writers SET fenced_at_seq = $2 WHERE writer_id = $1`

const cursors = `SELECT writer_id, seq FROM relay_cursors`

const move = `
  INSERT INTO relay_cursors (writer_id, seq) SELECT * FROM unnest($1::text[], $2::int8[])
  ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE relay_cursors.seq < excluded.seq`

/** How often a fence is tried against a writer that takes the very number each time. */
const fenceTriesMax = 100

interface LastRow {
  readonly seq: number
  readonly isFence: boolean
  readonly recordedAt: Instant
}

export const makeWriters = (query: Query): Writers => {
  const lastRowsOf = Effect.fnUntraced(function* (writers: ReadonlyArray<WriterId>) {
    const last = new Map<WriterId, LastRow>()
    for (const chunk of chunksOf(writers)) {
      const rows = yield* query(
        lastRows(chunk.length),
        chunk.map((writer) => PgTypes.text(writer))
      )
      for (const row of rows) {
        last.set(String(row[0]), {
          seq: Number(row[1]),
          isFence: Number(row[2]) === 0,
          recordedAt: toInstant(row[3])
        })
      }
    }
    return last
  })

  return {
    registerWriter: ({ writerId, node, closedAt }) =>
      Effect.asVoid(
        query(register, [PgTypes.text(writerId), PgTypes.text(node), PgTypes.timestamptz(closedAt)])
      ),

    heartbeat: (writers) =>
      Effect.map(
        query(beat, [
          textArray(writers.map((writer) => writer.writerId)),
          timestampArray(writers.map((writer) => writer.closedAt))
        ]),
        (rows) => toInstant(rows[0]?.[0])
      ),

    // Closed instants are read before the last commits: what was closed over is then certainly seen.
    listWriters: Effect.gen(function* () {
      const rows = yield* query(all, [])
      const open = rows.filter((row) => row[2] === null).map((row) => String(row[0]))
      const last = yield* lastRowsOf(open)
      return rows.map(([id, node, fencedAt, closedAt, heartbeatAt]) => {
        const writerId = String(id)
        const row = last.get(writerId)
        return {
          writerId,
          node: String(node),
          lastSeq: fencedAt === null ? (row?.seq ?? 0) : Number(fencedAt),
          fenced: fencedAt !== null || row?.isFence === true,
          closedAt: toInstant(closedAt),
          heartbeatAt: toInstant(heartbeatAt)
        }
      })
    }),

    fenceWriter: Effect.fnUntraced(function* (writerId) {
      for (let tries = 0; tries < fenceTriesMax; tries++) {
        const last = (yield* lastRowsOf([writerId])).get(writerId)
        const seq = last?.isFence === true ? last.seq : (last?.seq ?? 0) + 1
        if (last?.isFence !== true) {
          const at = PgTypes.timestamptz(last?.recordedAt ?? 0)
          const fenced = yield* query(fence, [PgTypes.text(writerId), int8(seq), at])
          if (fenced.length === 0) continue
        }
        yield* query(noteFence, [PgTypes.text(writerId), int8(seq)])
        return seq
      }
      return yield* new StoreUnavailable({
        store: "event store",
        reason: `writer ${writerId} committed ${fenceTriesMax} times while it was being fenced: it lives`
      })
    }),

    relayCursors: Effect.map(
      query(cursors, []),
      (rows) => new Map(rows.map(([writer, seq]) => [String(writer), Number(seq)]))
    ),

    moveRelayCursors: (moved) =>
      moved.size === 0
        ? Effect.void
        : Effect.asVoid(query(move, [textArray([...moved.keys()]), int8Array([...moved.values()])]))
  }
}
