/**
 * Looks at the sessions of all members at the database of the locks, several times a second: whether this node's has its locks
 * (HeldLocks.ts), and which members are gone (MemberSessions.ts).
 */
import { PgTypes } from "@effect/sql-pg"
import { Effect, Schedule } from "effect"
import type { RunnerAddress } from "effect/cluster"
import { SqlClient } from "effect/sql"
import { ClusterConfig } from "../config/ClusterConfig.ts"
import type { HeldLocks } from "./HeldLocks.ts"
import { LockCertainty } from "./LockCertainty.ts"
import { MemberSessions, memberOf } from "./MemberSessions.ts"

/**
 * The sessions of all members by name, the advisory locks that they hold, for how long they have asked nothing, and which of them hold
 * locks: a process of the database may have the number of one that ended, but not its beginning too.
 */
const allSessions = `
  SELECT a.application_name, sum(coalesce(l.locks, 0))::int4,
    CASE WHEN bool_or(a.state = 'active') THEN 0
      ELSE greatest(0, extract(epoch FROM clock_timestamp() - max(a.state_change)) * 1000) END::float8,
    string_agg(a.pid || ' ' || extract(epoch FROM a.backend_start), ',') FILTER (WHERE l.locks > 0)
  FROM pg_stat_activity AS a
  LEFT JOIN (SELECT pid, count(*) AS locks FROM pg_locks WHERE locktype = 'advisory' AND granted GROUP BY pid) AS l ON l.pid = a.pid
  WHERE a.datname = current_database() AND a.application_name LIKE 'chronicle cluster %'
  GROUP BY a.application_name`

const endSessions = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = $1 AND state <> 'active'
    AND state_change < clock_timestamp() - $2::int8 * interval '1 millisecond'`

/** For how long a member has no session before it is gone, and how long these are looked at before members are judged by them. */
const absentMs = 500
const steadyMs = 3_000

const lostSession =
  "the database ended the session of this node's locks: it answers for no account until they are confirmed again"

const holdersIn = (text: unknown): ReadonlySet<string> =>
  new Set(typeof text === "string" ? text.split(",") : [])

/** What the database knows of the sessions of all members: whether this node's has its locks, and who else is gone. */
export const watchSessions = Effect.fnUntraced(function* (session: string, held: HeldLocks) {
  const { lockExpirationMs, memberSilentMs, membershipPollMs } = yield* ClusterConfig
  const certainty = yield* LockCertainty
  const sql = yield* SqlClient.SqlClient
  const nowMs = () => certainty.now().elapsedMs
  const sessions = new MemberSessions({
    absentMs,
    silentMs: memberSilentMs,
    steadyMs,
    // By then membership has forgotten it, or it is back with a program that names its sessions otherwise.
    forgetMs: 2 * lockExpirationMs
  })
  const end = (name: string) =>
    Effect.andThen(
      Effect.logWarning(`ended the sessions of a node that said nothing for ${memberSilentMs} ms`),
      sql.unsafe(endSessions, [PgTypes.text(name), PgTypes.int8(BigInt(memberSilentMs))])
    )
  const lose = Effect.suspend(() => (held.lose() ? Effect.logWarning(lostSession) : Effect.void))
  /** The sessions of this node that held locks when it looked last. */
  let holders: ReadonlySet<string> = new Set()
  const look = Effect.gen(function* () {
    const sentAt = certainty.now()
    // Locks that are taken while the question is on its way are in no answer to it, and those that are let go of may be.
    const before = held.shards
    const rows = yield* sql.unsafe(allSessions, []).values
    const all = rows.map(([name, locks, silentMs]) => ({
      name: String(name),
      locks: Number(locks),
      silentMs: Number(silentMs)
    }))
    // PostgreSQL may end a session long before its time, as when it starts again; then others may hold the shards at once.
    const expected = held.countOf(before)
    const found = all.find(({ name }) => name === session)?.locks ?? 0
    // As many locks may be others, which the session that took its place was given while those were lost.
    const present = holdersIn(rows.find(([name]) => name === session)?.[3])
    const isReplaced = [...holders].some((holder) => !present.has(holder))
    holders = present
    if (found < expected || (expected > 0 && isReplaced)) yield* lose
    else if (expected > 0) held.seen(sentAt)
    const silent = sessions.looked(all, nowMs())
    yield* Effect.forEach(silent, (name) => Effect.ignore(end(name)), { discard: true })
  })
  yield* look.pipe(
    // The database's own limit does not help where it is not reached.
    Effect.timeout(lockExpirationMs / 2),
    Effect.catchCause((cause) =>
      Effect.andThen(
        Effect.sync(() => sessions.failed()),
        Effect.logDebug("the sessions of the members could not be looked at", cause)
      )
    ),
    Effect.repeat(Schedule.spaced(membershipPollMs)),
    Effect.forkScoped
  )
  return {
    lose,
    isGone: (address: RunnerAddress.RunnerAddress) => sessions.isGone(memberOf(address), nowMs())
  }
})
