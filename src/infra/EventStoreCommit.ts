/** A commit enters, is sent in one statement (behind another: in one transaction), and what became of it leaves. */
import { type PgConnection, PgTypes } from "@effect/sql-pg"
import { Effect, Exit } from "effect"
import type { SqlConnection } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { EventStoreClient, type Query } from "./EventStoreClient.ts"
import {
  eventColumns,
  int8,
  int8Array,
  keysToText,
  textArray,
  toColumns,
  toCommitRow
} from "./EventStoreRows.ts"
import { LedgerConfig } from "./LedgerConfig.ts"
import { describeSqlError, isRefused, isRolledBack, sqlStateOf } from "./SqlState.ts"
import { type Commit, CommitOutcome, type CommitRow, type StoreUnavailable } from "./StoreValues.ts"

/** Constant text whatever the batch, so it is prepared once. RETURNING, since CockroachDB wants columns of a CTE. */
const insert = `
  WITH flush AS (
    INSERT INTO commits (writer_id, seq, recorded_at, row_count, keys) VALUES ($1, $2, $3, $4, $5) RETURNING seq
  )
  INSERT INTO events (${eventColumns})
  SELECT * FROM unnest($6::text[], $7::int8[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::int4[],
    $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])`

const paramsOf = (commit: Commit, row: CommitRow): ReadonlyArray<unknown> => [
  PgTypes.text(row.writerId),
  int8(row.seq),
  PgTypes.timestamptz(row.recordedAt),
  PgTypes.int4(row.rows),
  PgTypes.text(keysToText(row.keys)),
  ...toColumns(commit.events)
]

const own = `SELECT row_count, keys FROM commits WHERE writer_id = $1 AND seq = $2`

/** LATERAL with a LIMIT keeps PostgreSQL from hashing the table. */
const sameEvents = `
  SELECT count(*) FROM unnest($1::text[], $2::int8[], $3::text[]) AS mine(account_id, version, hash)
  CROSS JOIN LATERAL (
    SELECT e.hash FROM events e WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1
  ) AS found
  WHERE found.hash = mine.hash`

const takenVersions = `
  SELECT found.account_id, found.version FROM unnest($1::text[], $2::int8[]) AS mine(account_id, version)
  CROSS JOIN LATERAL (
    SELECT e.account_id, e.version FROM events e
    WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1
  ) AS found`

const takenCommands = `SELECT command_id FROM events WHERE command_id = ANY($1::text[]) AND ordinal = 0`

/** The commit that had to be there first is not. */
export const heldBack = CommitOutcome.NotWritten({ reason: "the commit before it did not land" })

/** A value that no column holds: it was not sent, and would not be the next time. */
const isUnsendable = (error: SqlError): boolean => error.reason.cause instanceof PgTypes.CodecError

/** It speaks of the commit itself, not of the connection or the server. */
const isOfCommit = (error: SqlError): boolean => sqlStateOf(error) === "23505" || isUnsendable(error)

/** After this the driver abandons the statement, for which it may take five seconds more. */
const graceMs = 1_000

export const makeCommit = Effect.fnUntraced(function* (query: Query) {
  const { commits } = yield* EventStoreClient
  const { storeStatementMs } = yield* LedgerConfig

  type Connection = SqlConnection.Connection
  type Outcome = Effect.Effect<CommitOutcome>

  const onConnection = (use: (connection: Connection) => Outcome): Outcome =>
    Effect.scoped(
      Effect.matchEffect(commits.reserve, {
        // No connection was had, so nothing was sent.
        onFailure: (error) => Effect.succeed(CommitOutcome.NotWritten({ reason: describeSqlError(error) })),
        onSuccess: use
      })
    )

  const send = (commit: Commit, row: CommitRow): Outcome =>
    onConnection((connection) =>
      Effect.matchEffect(connection.executeValues(insert, paramsOf(commit, row)), {
        onFailure: (error) => settle(error, commit, row),
        onSuccess: () => Effect.succeed(CommitOutcome.Committed())
      })
    )

  /**
   * The same in a transaction that stays open until it is known whether it may commit. Not by the client's own
   * `withTransaction`: no timeout ends its BEGIN, COMMIT and ROLLBACK while a server is silent.
   */
  const sendBehind = (commit: Commit, row: CommitRow, mayCommit: Effect.Effect<boolean>): Outcome =>
    onConnection((connection) => {
      let isLetGo = false
      return Effect.gen(function* () {
        yield* connection.executeRaw("BEGIN", [])
        yield* connection.executeValues(insert, paramsOf(commit, row))
        if (!(yield* mayCommit)) return heldBack
        isLetGo = true
        // The server says ROLLBACK where it had given the transaction up.
        const { command } = (yield* connection.executeRaw("COMMIT", [])) as PgConnection.Result
        return command === "COMMIT"
          ? CommitOutcome.Committed()
          : CommitOutcome.NotWritten({ reason: command })
      }).pipe(
        Effect.onExit((exit) =>
          Exit.isSuccess(exit) && exit.value._tag === "Committed" ? Effect.void : rollBack(connection)
        ),
        Effect.catch((error) => {
          if (isLetGo || isOfCommit(error)) return settle(error, commit, row)
          // Until the word to commit is sent, nothing is written, whatever became of the connection.
          return Effect.succeed(CommitOutcome.NotWritten({ reason: describeSqlError(error) }))
        })
      )
    })

  /** Where no answer comes the driver ends the connection, and the server the transaction with it. */
  const rollBack = (connection: Connection): Effect.Effect<void> =>
    Effect.ignore(Effect.timeoutOption(connection.executeRaw("ROLLBACK", []), graceMs))

  const settle = (error: SqlError, commit: Commit, row: CommitRow): Effect.Effect<CommitOutcome> => {
    const state = sqlStateOf(error)
    const reason = describeSqlError(error)
    if (state === "23505") return lookUp(query, commit, row)
    if (isUnsendable(error)) return Effect.die(error)
    return Effect.succeed(
      isRolledBack(state) || isRefused(state)
        ? CommitOutcome.NotWritten({ reason })
        : CommitOutcome.Unknown({ reason })
    )
  }

  return (commit: Commit, mayCommit?: Effect.Effect<boolean>): Effect.Effect<CommitOutcome> =>
    Effect.suspend(() => {
      const row = toCommitRow(commit)
      return mayCommit === undefined ? send(commit, row) : sendBehind(commit, row, mayCommit)
    }).pipe(
      // The server's statement timeout comes first; this one is for a server that went silent.
      Effect.timeoutOrElse({
        duration: storeStatementMs + graceMs,
        orElse: () => Effect.succeed(CommitOutcome.Unknown({ reason: "the event store does not answer" }))
      }),
      // Interrupted in the middle, the caller would not learn whether it landed.
      Effect.uninterruptible
    )
})

/** After a duplicate key: did an earlier sending land, was the writer fenced, or which keys are taken? */
const lookUp = (query: Query, commit: Commit, row: CommitRow): Effect.Effect<CommitOutcome> =>
  Effect.gen(function* () {
    const [found] = yield* query(own, [PgTypes.text(commit.writerId), int8(commit.seq)])
    if (found !== undefined) {
      if (Number(found[0]) === 0) return CommitOutcome.Fenced()
      return yield* proveSame(query, commit, found[1] === keysToText(row.keys))
    }
    yield* dieIfTwice(commit)
    const versions = yield* query(takenVersions, [
      textArray(commit.events.map((event) => event.accountId)),
      int8Array(commit.events.map((event) => event.version))
    ])
    const first = commit.events.filter((event) => event.ordinal === 0)
    const commands = yield* query(takenCommands, [textArray(first.map((event) => event.commandId))])
    // Branded ids of this very commit come back.
    const events = new Map(commit.events.map((event) => [`${event.accountId}@${event.version}`, event]))
    const ids = new Map(first.map((event) => [event.commandId as string, event.commandId]))
    return CommitOutcome.Conflict({
      versions: versions.flatMap(([account, version]) => {
        const event = events.get(`${account}@${version}`)
        return event === undefined ? [] : [{ account: event.accountId, version: event.version }]
      }),
      commands: commands.flatMap(([command]) => ids.get(String(command)) ?? [])
    })
  }).pipe(
    // Our own earlier sending may be what stands in the way, so a failed look proves nothing.
    Effect.catch((error: StoreUnavailable) => Effect.succeed(CommitOutcome.Unknown({ reason: error.reason })))
  )

/** Our number is taken by us; that it holds these very events is checked, not assumed. */
const proveSame = Effect.fnUntraced(function* (query: Query, commit: Commit, hasSameKeys: boolean) {
  const [same] = yield* query(sameEvents, [
    textArray(commit.events.map((event) => event.accountId)),
    int8Array(commit.events.map((event) => event.version)),
    textArray(commit.events.map((event) => event.hash))
  ])
  if (hasSameKeys && Number(same?.[0]) === commit.events.length) return CommitOutcome.Committed()
  return yield* Effect.die(
    new Error(`writer ${commit.writerId} sent another commit under number ${commit.seq}, which it had used`)
  )
})

/** A commit that is in its own way can never land; sending it again for ever would hide that. */
const dieIfTwice = (commit: Commit): Effect.Effect<void> => {
  const fault = findTwice(commit)
  return fault === undefined ? Effect.void : Effect.die(new Error(fault))
}

/** The first key that stands twice in one commit, in words. */
export const findTwice = (commit: Commit): string | undefined => {
  const seen = new Set<string>()
  for (const event of commit.events) {
    const version = `version ${event.version} of ${event.accountId}`
    const keys = event.ordinal === 0 ? [version, `command ${event.commandId}`] : [version]
    for (const key of keys) {
      if (seen.has(key)) return `${key} stands twice in commit ${commit.seq} of writer ${commit.writerId}`
      seen.add(key)
    }
  }
  return undefined
}
