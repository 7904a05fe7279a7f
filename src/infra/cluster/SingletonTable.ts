/**
 * Table `duties` of the read model's database: one row a singleton of the cluster, which its owner renews. The rows
 * are for people, health checks and `chronicle cluster`; which node may run a singleton is decided by the cluster's
 * locks alone.
 */
import { PgTypes } from "@effect/sql-pg"
import { Context, Effect, Layer } from "effect"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { textArray } from "../postgres/Columns.ts"
import { makeQuery, ReadModelSql } from "../readmodel/ReadModelSql.ts"

/** One process life of a node: its name alone may be that of an earlier life, too, which was frozen and wakes beside it. */
export interface NodeLife {
  readonly node: string
  readonly life: string
}

export interface SingletonRow {
  readonly name: string
  /** The last reported owner. */
  readonly node: string
  /** The status that the owner published, encoded; undefined when there is none. */
  readonly status: string | undefined
  /** Milliseconds since this node became the owner, and since its last report, by the clock of the database. */
  readonly heldMs: number
  readonly silentMs: number
}

/** Ordered by name, so that two nodes that both report the same singletons wait for each other and cannot deadlock. */
const report = `
  INSERT INTO duties AS d (duty, node, life, since, seen_at, found)
  SELECT duty, $1, $2, now(), now(), found FROM unnest($3::text[], $4::text[]) AS u(duty, found)
  ORDER BY duty COLLATE "C"
  ON CONFLICT (duty) DO UPDATE SET node = excluded.node, life = excluded.life, seen_at = excluded.seen_at,
    found = coalesce(excluded.found, d.found),
    since = CASE WHEN (d.node, d.life) = (excluded.node, excluded.life) THEN d.since ELSE excluded.since END`

/** Only of those that no node has reported for so long: of several nodes that ask at once one gets each. */
const claim = `
  INSERT INTO duties AS d (duty, node, life, since, seen_at)
  SELECT duty, $1, $2, now(), now() FROM unnest($3::text[]) AS u(duty)
  ORDER BY duty COLLATE "C"
  ON CONFLICT (duty) DO UPDATE SET node = excluded.node, life = excluded.life, seen_at = excluded.seen_at,
    since = excluded.since
  WHERE d.seen_at < now() - $4::int8 * interval '1 millisecond'
  RETURNING duty`

/** Only of those that this life of the node still has. Locked in the one order, as an update by itself would not. */
const renew = `
  WITH own AS (
    SELECT d.duty, u.found FROM duties d JOIN unnest($3::text[], $4::text[]) AS u(duty, found) ON u.duty = d.duty
    WHERE d.node = $1 AND d.life = $2 ORDER BY d.duty COLLATE "C" FOR UPDATE OF d
  )
  UPDATE duties d SET seen_at = now(), found = coalesce(own.found, d.found)
  FROM own WHERE own.duty = d.duty RETURNING d.duty`

const forget = `DELETE FROM duties WHERE seen_at < now() - $1::int8 * interval '1 millisecond'`

const all = `
  SELECT duty, node, found, (extract(epoch FROM now() - since) * 1000)::float8,
    (extract(epoch FROM now() - seen_at) * 1000)::float8
  FROM duties ORDER BY duty`

export class SingletonTable extends Context.Service<
  SingletonTable,
  {
    /** Reports the singletons that a node runs, each with its encoded status or none. */
    readonly report: (
      by: NodeLife,
      singletons: ReadonlyMap<string, string | undefined>
    ) => Effect.Effect<void, StoreUnavailable>
    /** Takes singletons that no node has reported for so long, in milliseconds. Answers the names of those that this life has now. */
    readonly claim: (
      by: NodeLife,
      names: ReadonlyArray<string>,
      silentMs: number
    ) => Effect.Effect<ReadonlySet<string>, StoreUnavailable>
    /** Reports singletons that this life of the node claimed. Answers the names of those that no other node has reported meanwhile, nor another life of this one. */
    readonly renew: (
      by: NodeLife,
      singletons: ReadonlyMap<string, string | undefined>
    ) => Effect.Effect<ReadonlySet<string>, StoreUnavailable>
    /** In order of name. */
    readonly all: Effect.Effect<ReadonlyArray<SingletonRow>, StoreUnavailable>
    /** Deletes rows that no node renewed for so long, in milliseconds: they belong to earlier versions of the program. */
    readonly forget: (silentMs: number) => Effect.Effect<void, StoreUnavailable>
  }
>()("chronicle/infra/SingletonTable") {
  static readonly layer = Layer.effect(
    SingletonTable,
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const query = makeQuery(sql, yield* ReadSideConfig)
      const told = ({ node, life }: NodeLife, singletons: ReadonlyMap<string, string | undefined>) => [
        PgTypes.text(node),
        PgTypes.text(life),
        textArray([...singletons.keys()]),
        textArray([...singletons.values()].map((status) => status ?? null))
      ]
      const namesIn = (rows: ReadonlyArray<ReadonlyArray<unknown>>) =>
        new Set(rows.map(([name]) => String(name)))
      return {
        report: (by, singletons) => Effect.asVoid(query(report, told(by, singletons))),
        claim: ({ node, life }, names, silentMs) =>
          Effect.map(
            query(claim, [
              PgTypes.text(node),
              PgTypes.text(life),
              textArray(names),
              PgTypes.int8(BigInt(silentMs))
            ]),
            namesIn
          ),
        renew: (by, singletons) => Effect.map(query(renew, told(by, singletons)), namesIn),
        all: Effect.map(query(all, []), (rows) => rows.map(toSingletonRow)),
        forget: (silentMs) => Effect.asVoid(query(forget, [PgTypes.int8(BigInt(silentMs))]))
      }
    })
  )
}

const toSingletonRow = (row: ReadonlyArray<unknown>): SingletonRow => ({
  name: String(row[0]),
  node: String(row[1]),
  status: row[2] === null ? undefined : String(row[2]),
  heldMs: Math.round(Number(row[3])),
  silentMs: Math.round(Number(row[4]))
})
