/**
 * All nodes of a cluster place accounts by one rule, for the life of an installation: with two rules an account had two
 * owners. The first node writes the rule beside the locks; every later one compares, before it becomes a member.
 */
import { PgClient, PgTypes } from "@effect/sql-pg"
import { Data, Effect, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { type ShardRule, wholeIdSegments } from "../../domain/Shard.ts"
import type { ClusterLimits } from "../config/ClusterConfig.ts"
import { answeredInTime, locksConnection } from "./LocksDatabase.ts"

/** This node would place accounts otherwise than the cluster does. */
export class PlacementDiffers extends Data.TaggedError("PlacementDiffers")<{
  readonly variable: string
  readonly ours: number
  readonly theirs: number
}> {
  override get message() {
    return `cannot join the cluster: it places accounts by ${this.variable}=${this.theirs} for ever, this node has ${this.ours}`
  }
}

const table = `CREATE TABLE IF NOT EXISTS chronicle_cluster_placement (
  one boolean PRIMARY KEY CHECK (one), shards integer NOT NULL, affinity_segments integer NOT NULL
)`

/** A cluster from before this table placed accounts by their whole ids: it has noted tenures of shards. */
const wasThere = `SELECT to_regclass('chronicle_cluster_tenures') IS NOT NULL`
const tenures = `SELECT EXISTS (SELECT FROM chronicle_cluster_tenures)`

const propose = `INSERT INTO chronicle_cluster_placement (one, shards, affinity_segments)
  VALUES (true, $1::text::int4, $2::text::int4) ON CONFLICT (one) DO NOTHING`

const agreed = `SELECT shards, affinity_segments FROM chronicle_cluster_placement`

/** Fails with `PlacementDiffers`. Dies where the database of the locks does not answer, as the cluster does then. */
export const agreeOnPlacement = Effect.fn("PlacementAgreement.agree")(function* (
  limits: ClusterLimits,
  locksUrl: Redacted.Redacted
) {
  const sql = yield* PgClient.make({
    ...locksConnection(limits, locksUrl, "chronicle cluster placement"),
    maxConnections: 1
  }).pipe(Effect.provide(Reactivity.layer), Effect.orDie)
  const inTime = answeredInTime(limits)
  const once = (statement: string, values: ReadonlyArray<string> = []) =>
    inTime(sql.unsafe(statement, values.map(PgTypes.text)).values)
  const ask = (statement: string, values?: ReadonlyArray<string>) => Effect.orDie(once(statement, values))
  const isTrue = Effect.fnUntraced(function* (statement: string) {
    const [row] = yield* ask(statement)
    return row?.[0] === true
  })
  const ours: ShardRule = { shards: limits.shards, affinitySegments: limits.affinitySegments }
  // Two nodes that start at once may both find no table; one of them gets an error that says the other made it.
  yield* Effect.retry(once(table), { times: 3, while: ({ _tag }) => _tag === "SqlError" }).pipe(Effect.orDie)
  const isOlder = (yield* isTrue(wasThere)) && (yield* isTrue(tenures))
  const proposed = isOlder ? wholeIdSegments : ours.affinitySegments
  yield* ask(propose, [String(ours.shards), String(proposed)])
  const [row] = yield* ask(agreed)
  const theirs: ShardRule = { shards: Number(row?.[0]), affinitySegments: Number(row?.[1]) }
  const differs = (variable: string, key: keyof ShardRule) =>
    ours[key] === theirs[key]
      ? Effect.void
      : Effect.fail(new PlacementDiffers({ variable, ours: ours[key], theirs: theirs[key] }))
  yield* differs("CHRONICLE_CLUSTER_SHARDS", "shards")
  yield* differs("CHRONICLE_CLUSTER_AFFINITY_SEGMENTS", "affinitySegments")
}, Effect.scoped)
