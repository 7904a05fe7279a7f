/**
 * Who held a shard last, and whether it left it clean: with nothing of its accounts on the way to the event store. The
 * locks say only that the former holder has gone, not whether it was ended, killed or frozen. The next holder of a clean
 * shard may load its accounts at once; of any other it has to wait for the writers of its predecessors.
 *
 * The table lies beside the locks and is made when it is first needed, as effect makes its own. A holder's name is of
 * one tenure, so that one which was frozen while it left cannot call a shard clean that another node has by now.
 */
import { PgClient, PgTypes } from "@effect/sql-pg"
import { Context, Deferred, Effect, Layer, Queue, Random, type Redacted, Schedule } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { ClusterConfig } from "../config/ClusterConfig.ts"
import { textArray } from "../postgres/Columns.ts"
import { answeredInTime, type LocksSilent, locksConnection } from "./LocksDatabase.ts"

const tables = [
  `CREATE TABLE IF NOT EXISTS chronicle_cluster_tenures (
    shard integer PRIMARY KEY, tenure text NOT NULL, is_clean boolean NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS chronicle_cluster_nodes (node text PRIMARY KEY)`
]

/** From here on this node notes its tenures: what has no row, it never held. */
const announce = `INSERT INTO chronicle_cluster_nodes (node) VALUES ($1) ON CONFLICT (node) DO NOTHING`

const allNodes = `SELECT node FROM chronicle_cluster_nodes`

/** Answers how the shards were left, and takes them over; one that was never taken has no row. */
const takeOver = `
  WITH former AS (SELECT shard, is_clean FROM chronicle_cluster_tenures WHERE shard = ANY ($1::text[]::int4[])),
  taken AS (
    INSERT INTO chronicle_cluster_tenures (shard, tenure, is_clean)
    SELECT shard, tenure, false FROM unnest($1::text[]::int4[], $2::text[]) AS stays(shard, tenure) ORDER BY shard
    ON CONFLICT (shard) DO UPDATE SET tenure = excluded.tenure, is_clean = false
  )
  SELECT shard, is_clean FROM former`

const leave = `
  UPDATE chronicle_cluster_tenures AS held SET is_clean = true
  FROM unnest($1::text[]::int4[], $2::text[]) AS stays(shard, tenure)
  WHERE held.shard = stays.shard AND held.tenure = stays.tenure`

/** The pause between attempts while the database does not answer, in milliseconds. */
const retryMs = 100

/** How a shard was left. */
export interface FormerTenure {
  /** Nothing of its former holders is on the way to its accounts. */
  readonly isClean: boolean
  /** Nodes that certainly never held it, and never leased an account of it from one that did. */
  readonly strangers: ReadonlySet<string>
}

/** A stay of a shard at this node. */
interface Stay {
  readonly shard: number
  readonly tenure: string
}

/** A stay, and what waits until it is written. */
interface Entry<A> extends Stay {
  readonly done: Deferred.Deferred<A>
}

const clean: FormerTenure = { isClean: true, strangers: new Set() }
const unclean: FormerTenure = { isClean: false, strangers: new Set() }

export class ShardTenures extends Context.Service<
  ShardTenures,
  {
    /** This node holds the lock of the shard now. Answers how it was left; waits until that is known. */
    readonly takeOver: (shard: number) => Effect.Effect<FormerTenure>
    /** This node lets go of the shard, and left it clean. May be lost without harm: then the next holder waits. */
    readonly leaveClean: (shard: number) => Effect.Effect<void>
  }
>()("chronicle/infra/ShardTenures") {
  static readonly layer = (node: string, locksUrl: Redacted.Redacted) =>
    Layer.effect(ShardTenures, make(node, locksUrl))
}

const make = Effect.fnUntraced(function* (node: string, url: Redacted.Redacted) {
  const limits = yield* ClusterConfig
  const life = (yield* Random.nextIntBetween(0, 2 ** 48)).toString(36)
  /** The name of each shard's last stay here. A late word that an earlier stay ended clean says nothing of this one. */
  const tenures = new Map<number, string>()
  let stays = 0
  const sql = yield* PgClient.make({
    ...locksConnection(limits, url, "chronicle cluster tenures"),
    maxConnections: 1
  }).pipe(Effect.provide(Reactivity.layer), Effect.orDie)
  const inTime = answeredInTime(limits)
  /** One that hangs would hold up all that come after it, of shards whose locks this node has: they would have no owner. */
  const ask = (statement: string, values: ReadonlyArray<unknown> = []) =>
    inTime(sql.unsafe(statement, values).values)
  const run = (statement: string, taken: ReadonlyArray<Stay>) => {
    // A shard that came twice in one turn is written once, by its last stay.
    const written = [...new Map(taken.map((entry) => [entry.shard, entry])).values()]
    const shards = written.map(({ shard }) => String(shard))
    return ask(statement, [textArray(shards), textArray(written.map(({ tenure }) => tenure))])
  }

  /** Writes the shards that come in one turn by one statement, as when a node comes or leaves. */
  const batched = Effect.fnUntraced(function* <A>(
    write: (taken: ReadonlyArray<Stay>) => Effect.Effect<(shard: number) => A>
  ) {
    const entries = yield* Queue.unbounded<Entry<A>>()
    const persistAll = (taken: ReadonlyArray<Entry<A>>) =>
      Effect.suspend(() => write(taken)).pipe(
        // The shards of a batch that was given up would have no owner, and those that come later none either.
        Effect.tapDefect((defect) => Effect.logError("noting who has shards failed and goes on", defect)),
        Effect.sandbox,
        Effect.retry(Schedule.spaced(retryMs)),
        Effect.orDie
      )
    yield* Queue.takeAll(entries).pipe(
      Effect.flatMap((taken) =>
        Effect.map(persistAll(taken), (answerOf) => {
          for (const { shard, done } of taken) Deferred.doneUnsafe(done, Effect.succeed(answerOf(shard)))
        })
      ),
      Effect.forever,
      Effect.forkScoped
    )
    return (shard: number, tenure: string) =>
      Effect.suspend(() => {
        const done = Deferred.makeUnsafe<A>()
        Queue.offerUnsafe(entries, { shard, tenure, done })
        return Deferred.await(done)
      })
  })

  const persist = <A>(effect: Effect.Effect<A, SqlError | LocksSilent>): Effect.Effect<A> =>
    effect.pipe(
      Effect.tapError((error) => Effect.logWarning("shards cannot be taken over yet", error.message)),
      Effect.retry(Schedule.spaced(retryMs)),
      Effect.orDie
    )
  for (const statement of tables) yield* persist(ask(statement))
  yield* persist(ask(announce, [PgTypes.text(node)]))

  const formerOf = Effect.fnUntraced(function* (taken: ReadonlyArray<Stay>) {
    // Tried again after it was written, and its answer lost, it tells this node itself as the former one, unclean: then its shard waits.
    const rows = yield* persist(run(takeOver, taken))
    const nodes = yield* persist(ask(allNodes))
    const isClean = new Map(rows.map((row) => [Number(row[0]), row[1] === true]))
    const neverHeld: FormerTenure = { isClean: false, strangers: new Set(nodes.map((row) => String(row[0]))) }
    return (shard: number) => {
      const was = isClean.get(shard)
      return was === undefined ? neverHeld : was ? clean : unclean
    }
  })
  const taken = yield* batched(formerOf)
  const left = yield* batched((ended: ReadonlyArray<Stay>) =>
    Effect.as(Effect.ignore(run(leave, ended)), () => undefined)
  )
  return ShardTenures.of({
    takeOver: (shard) =>
      Effect.suspend(() => {
        const tenure = `${life}.${++stays}`
        tenures.set(shard, tenure)
        return taken(shard, tenure)
      }),
    leaveClean: (shard) =>
      Effect.suspend(() => left(shard, tenures.get(shard) ?? "")).pipe(
        Effect.timeoutOption(limits.drainMs),
        Effect.asVoid
      )
  })
})
