/** What a node does for all nodes enters the read model's database; who does what, and since when it is silent, leaves. */
import { PgTypes } from "@effect/sql-pg"
import { Context, Effect, Layer } from "effect"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { textArray } from "../postgres/Columns.ts"
import { ReadModelSql, toUnavailable, valuesOf } from "../readmodel/ReadModelSql.ts"

export interface SingletonRow {
  readonly duty: string
  /** Who said last that it has it. */
  readonly node: string
  /** What its owner found, for the others; undefined where there is nothing to tell. */
  readonly found: string | undefined
  /** For how long this node has it, and since when it did not say so, by the clock of the database, in milliseconds. */
  readonly heldMs: number
  readonly silentMs: number
}

/** In order of name, so that two nodes that believe to have the same ones wait for each other, and do not deadlock. */
const report = `
  INSERT INTO duties AS d (duty, node, since, seen_at, found)
  SELECT duty, $1, now(), now(), found FROM unnest($2::text[], $3::text[]) AS u(duty, found)
  ORDER BY duty COLLATE "C"
  ON CONFLICT (duty) DO UPDATE SET node = excluded.node, seen_at = excluded.seen_at,
    found = coalesce(excluded.found, d.found),
    since = CASE WHEN d.node = excluded.node THEN d.since ELSE excluded.since END`

const forget = `DELETE FROM duties WHERE seen_at < now() - $1::int8 * interval '1 millisecond'`

const all = `
  SELECT duty, node, found, (extract(epoch FROM now() - since) * 1000)::float8,
    (extract(epoch FROM now() - seen_at) * 1000)::float8
  FROM duties ORDER BY duty`

/** One row a duty, which its owner renews. It tells people and probes; what is done where, the cluster's locks say. */
export class SingletonTable extends Context.Service<
  SingletonTable,
  {
    /** These duties, each with what was found, are the node's. */
    readonly report: (
      node: string,
      duties: ReadonlyMap<string, string | undefined>
    ) => Effect.Effect<void, StoreUnavailable>
    /** In order of name. */
    readonly all: Effect.Effect<ReadonlyArray<SingletonRow>, StoreUnavailable>
    /** Forgets what nobody has had for so long, in milliseconds: programs before this one had it. */
    readonly forget: (silentMs: number) => Effect.Effect<void, StoreUnavailable>
  }
>()("chronicle/infra/SingletonTable") {
  static readonly layer = Layer.effect(
    SingletonTable,
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const query = (text: string, params: ReadonlyArray<unknown>) =>
        Effect.mapError(valuesOf(sql, text, params), toUnavailable)
      return {
        report: (node, duties) =>
          Effect.asVoid(
            query(report, [
              PgTypes.text(node),
              textArray([...duties.keys()]),
              textArray([...duties.values()].map((found) => found ?? null))
            ])
          ),
        all: Effect.map(query(all, []), (rows) => rows.map(toDuty)),
        forget: (silentMs) => Effect.asVoid(query(forget, [PgTypes.int8(BigInt(silentMs))]))
      }
    })
  )
}

const toDuty = (row: ReadonlyArray<unknown>): SingletonRow => ({
  duty: String(row[0]),
  node: String(row[1]),
  found: row[2] === null ? undefined : String(row[2]),
  heldMs: Math.round(Number(row[3])),
  silentMs: Math.round(Number(row[4]))
})
