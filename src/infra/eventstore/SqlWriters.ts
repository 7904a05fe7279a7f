/** What the database knows of the writers: their life signs, how far each is closed, fences, and relay cursors. */
import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import { columns, int8, int8Value, nullable, text, timestamptz, toInstant } from "../postgres/Columns.ts"
import { wholeUnionOf } from "../postgres/SqlUnion.ts"
import type { EventStore } from "./EventStore.ts"
import { StoreUnavailable, type WriterId, type WriterRow } from "./EventStoreTypes.ts"
import type { StoreQueries } from "./SqlClients.ts"
import { commitColumns, cursorColumns } from "./SqlRows.ts"

type Writers = Pick<
  EventStore["Service"],
  "registerWriter" | "heartbeat" | "listWriters" | "fenceWriter" | "relayCursors" | "moveRelayCursors"
>

/** Table `writers`, but for `started_at`, which only people read. */
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

/** The outer SELECT reads the clock, so that it is answered where no writer is named too. */
const beats = writerColumns.pick("writerId", "closedAt")
const beat = `
  WITH beaten AS (
    UPDATE writers SET heartbeat_at = clock_timestamp(), closed_at = greatest(writers.closed_at, beats.closed_at)
    FROM ${beats.unnest("beats")}
    WHERE writers.writer_id = beats.writer_id RETURNING 1
  )
  SELECT clock_timestamp()`

const lastRow = commitColumns.pick("writerId", "seq", "rows", "recordedAt")

const tailEnd = `SELECT ${lastRow.list} FROM commits WHERE writer_id = $1 ORDER BY seq DESC LIMIT 1`

/**
 * All writers that are not finished, with the last commits of those that are named, by one statement: of one moment. A subscription takes this
 * for a cut through all tails, and two statements would show a commit of one writer and not the one before it of
 * another. A lateral join would need no names, but CockroachDB may then read all commits.
 */
const listing = wholeUnionOf(
  {
    shared: 0,
    width: 1,
    branch: (first) => `
    SELECT ${lastRow.list} FROM commits WHERE writer_id = $${first} ORDER BY seq DESC LIMIT 1`,
    frame: (union) => `
    SELECT ${writerColumns.listOf("w")}, ${lastRow.listOf("tail_end")}
    FROM writers w LEFT JOIN (${union}) AS tail_end ON tail_end.writer_id = w.writer_id
    WHERE w.finished IS NULL ORDER BY w.writer_id`
  },
  [PgTypes.text("")]
)

/** How often a listing is tried while new writers keep registering. */
const listingTriesMax = 20

const fence = `
  INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, 0, '[]')
  ON CONFLICT (writer_id, seq) DO NOTHING RETURNING seq`

const noteFence = `UPDATE writers SET fenced_at_seq = $2 WHERE writer_id = $1`

const cursors = `SELECT ${cursorColumns.list} FROM relay_cursors`

const move = `
  INSERT INTO relay_cursors (${cursorColumns.list}) SELECT * FROM unnest(${cursorColumns.casts()})
  ON CONFLICT (writer_id) DO UPDATE SET seq = excluded.seq WHERE relay_cursors.seq < excluded.seq`

/** How often a fence is tried against a writer whose commits take the fence's number each time. */
const fenceTriesMax = 100

export const makeWriters = (queries: StoreQueries): Writers => {
  const { query, proven } = queries
  return {
    registerWriter: ({ writerId, node, closedAt }) =>
      Effect.asVoid(
        proven(register, [PgTypes.text(writerId), PgTypes.text(node), PgTypes.timestamptz(closedAt)])
      ),

    heartbeat: (writers) => Effect.map(query(beat, beats.arrays(writers)), (rows) => toInstant(rows[0]?.[0])),

    listWriters: makeListing(queries),

    fenceWriter: (writerId) => fenceWriter(queries, writerId),

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

/** Asks again, with the new names, where writers registered since the listing before. */
const makeListing = ({ proven }: StoreQueries): Writers["listWriters"] => {
  /** The writers that were not fenced at the last listing: nearly always those of the next. */
  let open: ReadonlyArray<WriterId> = []

  const list = Effect.gen(function* () {
    const asked = new Set(open)
    const rows = yield* proven(...listing(open.map((writer) => [PgTypes.text(writer)])))
    const found = rows.map((row) => ({
      ...writerColumns.decode(row),
      last: row[writerColumns.size] === null ? undefined : lastRow.decode(row, writerColumns.size)
    }))
    open = found.filter(({ fencedAt }) => fencedAt === null).map(({ writerId }) => writerId)
    if (!open.every((writer) => asked.has(writer))) return undefined
    return found.map(
      ({ fencedAt, last, ...writer }): WriterRow => ({
        ...writer,
        lastSeq: fencedAt ?? last?.seq ?? 0,
        fenced: fencedAt !== null || last?.rows === 0
      })
    )
  })

  return Effect.gen(function* () {
    for (let tries = 0; tries < listingTriesMax; tries++) {
      const writers = yield* list
      if (writers !== undefined) return writers
    }
    return yield* new StoreUnavailable({
      store: "event store",
      reason: `new writers registered during each of ${listingTriesMax} listings`
    })
  })
}

/** Safe against a writer that commits just now: the fence and the commit want the same number. */
const fenceWriter = Effect.fnUntraced(function* ({ query, proven }: StoreQueries, writerId: WriterId) {
  for (let tries = 0; tries < fenceTriesMax; tries++) {
    const [row] = yield* query(tailEnd, [PgTypes.text(writerId)])
    const last = row === undefined ? undefined : lastRow.decode(row)
    const isFenced = last?.rows === 0
    const seq = isFenced ? last.seq : (last?.seq ?? 0) + 1
    if (!isFenced) {
      const at = PgTypes.timestamptz(last?.recordedAt ?? 0)
      const fenced = yield* query(fence, [PgTypes.text(writerId), int8Value(seq), at])
      if (fenced.length === 0) continue
    }
    yield* proven(noteFence, [PgTypes.text(writerId), int8Value(seq)])
    return seq
  }
  return yield* new StoreUnavailable({
    store: "event store",
    reason: `writer ${writerId} cannot be fenced: it committed before each of ${fenceTriesMax} tries`
  })
})
