/** Reads of the log, each by constant SQL that both engines answer from an index. */
import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import { holdInPayload, type StoredEvent } from "../../domain/StoredEvent.ts"
import { int8Array, int8Value, textArray } from "../postgres/Columns.ts"
import { chunksOf, statementsAtOnce, unionOf } from "../postgres/SqlUnion.ts"
import type { EventStore } from "./EventStore.ts"
import type { StoreQueries } from "./SqlClients.ts"
import { commitColumns, eventColumns } from "./SqlRows.ts"

type Reads = Pick<
  EventStore["Service"],
  "product" | "readStream" | "readStreams" | "readEvents" | "readHold" | "findCommands" | "scan" | "readTail"
>

const stream = `
  SELECT ${eventColumns.list} FROM events WHERE account_id = $1 AND version > $2 AND version <= $3
  ORDER BY version LIMIT $4`

/**
 * One range of the primary key an account. A join would be shorter, but CockroachDB 21.1 then reads each account
 * from its first event, and PostgreSQL may hash the whole table.
 */
const streams = unionOf({
  shared: 1,
  width: 2,
  branch: (first) => `
    SELECT ${eventColumns.list} FROM events WHERE account_id = $${first} AND version > $${first + 1}
    ORDER BY version LIMIT $1`,
  frame: (union) => `SELECT * FROM (${union}) AS found ORDER BY account_id, version LIMIT $1`
})

/** LATERAL with a LIMIT keeps PostgreSQL from hashing the table. */
const byKeys = `
  SELECT ${eventColumns.listOf("found")} FROM unnest($1::text[], $2::int8[]) AS wanted(account_id, version)
  CROSS JOIN LATERAL (
    SELECT ${eventColumns.list} FROM events e
    WHERE e.account_id = wanted.account_id AND e.version = wanted.version LIMIT 1
  ) AS found
  ORDER BY found.account_id, found.version`

/** No index has the holds: too few ask for one that is closed to make every commit pay for it. */
const ofHold = `
  SELECT ${eventColumns.list} FROM events
  WHERE account_id = $1 AND version > $2 AND version <= $3 AND type LIKE 'Hold%' AND strpos(payload, $4) > 0
  ORDER BY version`

/** Not LATERAL here: CockroachDB 21.1 would scan the whole index of commands. */
const byCommands = `
  SELECT ${eventColumns.list} FROM events WHERE command_id = ANY($1::text[]) AND ordinal = 0 ORDER BY command_id`

const all = `
  SELECT ${eventColumns.list} FROM events WHERE (account_id, version) > ($1, $2)
  ORDER BY account_id, version LIMIT $3`

const tail = `
  SELECT ${commitColumns.list} FROM commits WHERE writer_id = $1 AND seq > $2
  ORDER BY seq LIMIT $3`

const versionMax = Number.MAX_SAFE_INTEGER

/** "PostgreSQL 18.4" of "PostgreSQL 18.4 on x86_64…", "CockroachDB v21.1.0" of "CockroachDB CCL v21.1.0 (x86_64…)". */
const shorten = (version: string): string => {
  const [, name, , number] = /^(PostgreSQL|CockroachDB)( \w+)? (v?\d\S*)/.exec(version) ?? []
  return name === undefined ? version : `${name} ${number}`
}

export const makeReads = ({ query, proven }: StoreQueries): Reads => {
  const events = (text: string, params: ReadonlyArray<unknown>) =>
    Effect.map(proven(text, params), (rows) => rows.map((row) => eventColumns.decode(row)))

  return {
    product: Effect.map(query("SELECT version()", []), (rows) => shorten(String(rows[0]?.[0]))),

    readStream: ({ account, after, upTo, limit }) =>
      events(stream, [
        PgTypes.text(account),
        int8Value(after),
        int8Value(upTo ?? versionMax),
        int8Value(limit)
      ]),

    readStreams: Effect.fnUntraced(function* (from, limit) {
      const found: Array<StoredEvent> = []
      const chunks = chunksOf(from.toSorted((a, b) => (a.account < b.account ? -1 : 1)))
      for (let next = 0; next < chunks.length && found.length < limit; next += statementsAtOnce) {
        const left = int8Value(limit - found.length)
        const parts = yield* Effect.forEach(
          chunks.slice(next, next + statementsAtOnce),
          (chunk) => {
            const params = chunk.flatMap((one) => [PgTypes.text(one.account), int8Value(one.after)])
            return events(streams(chunk.length), [left, ...params])
          },
          { concurrency: statementsAtOnce }
        )
        for (const part of parts) found.push(...part)
      }
      return found.slice(0, limit)
    }),

    readEvents: (keys) =>
      events(byKeys, [textArray(keys.map((key) => key.account)), int8Array(keys.map((key) => key.version))]),

    readHold: ({ account, hold, after, upTo }) =>
      events(ofHold, [
        PgTypes.text(account),
        int8Value(after),
        int8Value(upTo),
        PgTypes.text(holdInPayload(hold))
      ]),

    findCommands: (commands) => events(byCommands, [textArray(commands)]),

    scan: ({ after, limit }) =>
      events(all, [PgTypes.text(after.account), int8Value(after.version), int8Value(limit)]),

    readTail: ({ writerId, after, limit }) =>
      Effect.map(proven(tail, [PgTypes.text(writerId), int8Value(after), int8Value(limit)]), (rows) =>
        rows.map((row) => commitColumns.decode(row))
      )
  }
}
