/**
 * The one statement by which events become durable, and what its outcome was. A commit that met a duplicate key is
 * looked up: what stands in its way is read, never guessed.
 */
import { type PgConnection, PgTypes } from "@effect/sql-pg"
import { Effect, Exit } from "effect"
import type { SqlConnection } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { int8Value, textArray } from "../postgres/Columns.ts"
import { isRefused, isRolledBack, sqlStateOf, troubleOf } from "../postgres/SqlState.ts"
import { type Commit, CommitOutcome, type CommitRow, type StoreUnavailable } from "./EventStoreTypes.ts"
import { EventStoreClient, type StoreQueries } from "./SqlClients.ts"
import { commitColumns, eventColumns, keysToText, toCommitRow } from "./SqlRows.ts"

type Connection = SqlConnection.Connection
type Outcome = Effect.Effect<CommitOutcome>

/** Constant text whatever the batch, so it is prepared once. RETURNING, since CockroachDB wants columns of a CTE. */
const insert = `
  WITH flush AS (
    INSERT INTO commits (${commitColumns.list}) VALUES (${commitColumns.placeholders()}) RETURNING seq
  )
  INSERT INTO events (${eventColumns.list})
  SELECT * FROM unnest(${eventColumns.casts(commitColumns.size + 1)})`

const paramsOf = (commit: Commit, row: CommitRow): ReadonlyArray<unknown> => [
  ...commitColumns.values(row),
  ...eventColumns.arrays(commit.events)
]

/** The commit that had to be durable first is not. */
export const heldBack = CommitOutcome.NotWritten({ reason: "the commit before it did not land" })

/** A parameter that its column's type cannot hold: it was not sent, and would not be the next time. */
const isUnsendable = (error: SqlError): boolean => error.reason.cause instanceof PgTypes.CodecError

/** The error is about the commit itself, not about the connection or the server. */
const isOfCommit = (error: SqlError): boolean => sqlStateOf(error) === "23505" || isUnsendable(error)

/** A failed transaction was left open on the connection, though it should not be: the statement wrote nothing. */
const isInFailedTransaction = (error: SqlError): boolean => sqlStateOf(error) === "25P02"

/** After this the driver abandons a statement, which may take five seconds more. */
const graceMs = 1_000

export const makeCommit = Effect.fnUntraced(function* (queries: StoreQueries) {
  const { commits } = yield* EventStoreClient
  const { storeStatementMs } = yield* LedgerConfig

  const onConnection = (use: (connection: Connection) => Outcome): Outcome =>
    Effect.scoped(
      Effect.matchEffect(commits.reserve, {
        // Without a connection nothing was sent.
        onFailure: (error) => Effect.succeed(CommitOutcome.NotWritten(troubleOf(error))),
        onSuccess: use
      })
    )

  return (commit: Commit, mayCommit?: Effect.Effect<boolean>): Outcome =>
    Effect.suspend(() => {
      const row = toCommitRow(commit)
      const params = paramsOf(commit, row)
      const settle = (error: SqlError): Outcome => outcomeOf(queries, error, commit, row)
      return onConnection((connection) =>
        mayCommit === undefined
          ? send(connection, params, settle)
          : sendBehind(connection, params, mayCommit, settle)
      )
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

const send = (
  connection: Connection,
  params: ReadonlyArray<unknown>,
  settle: (error: SqlError) => Outcome
): Outcome =>
  Effect.matchEffect(connection.executeValues(insert, params), {
    onFailure: (error) =>
      isInFailedTransaction(error)
        ? Effect.as(rollBack(connection), CommitOutcome.NotWritten(troubleOf(error)))
        : settle(error),
    onSuccess: () => Effect.succeed(CommitOutcome.Committed())
  })

/** How far a transaction has come. */
interface Progress {
  isCommitSent: boolean
}

/** A function for all of them: one that was made for each would keep the texts of its rows alive until the next full collection. */
const insertBehind = Effect.fnUntraced(function* (
  connection: Connection,
  params: ReadonlyArray<unknown>,
  mayCommit: Effect.Effect<boolean>,
  progress: Progress
) {
  yield* connection.executeRaw("BEGIN", [])
  yield* connection.executeValues(insert, params)
  if (!(yield* mayCommit)) return heldBack
  progress.isCommitSent = true
  // The server answers ROLLBACK where it had given the transaction up.
  const { command } = (yield* connection.executeRaw("COMMIT", [])) as PgConnection.Result // the driver's type
  return command === "COMMIT" ? CommitOutcome.Committed() : CommitOutcome.NotWritten({ reason: command })
})

/**
 * The same in a transaction that stays open until it is known whether it may commit. Not by the client's own
 * `withTransaction`: no timeout ends its BEGIN, COMMIT and ROLLBACK while a server is silent.
 */
const sendBehind = (
  connection: Connection,
  params: ReadonlyArray<unknown>,
  mayCommit: Effect.Effect<boolean>,
  settle: (error: SqlError) => Outcome
): Outcome => {
  const progress: Progress = { isCommitSent: false }
  return insertBehind(connection, params, mayCommit, progress).pipe(
    Effect.onExit((exit) =>
      Exit.isSuccess(exit) && exit.value._tag === "Committed" ? Effect.void : rollBack(connection)
    ),
    Effect.catch((error) => {
      if (progress.isCommitSent || isOfCommit(error)) return settle(error)
      // Before COMMIT is sent nothing is written, whatever became of the connection.
      return Effect.succeed(CommitOutcome.NotWritten(troubleOf(error)))
    })
  )
}

/**
 * Twice, since a late cancel request for the statement before can strike the first; outside of a transaction ROLLBACK
 * does no harm. Where no answer comes the driver ends the connection, and the server the transaction with it.
 */
const rollBack = (connection: Connection): Effect.Effect<void> =>
  connection
    .executeRaw("ROLLBACK", [])
    .pipe(Effect.timeout(graceMs), Effect.retry({ times: 1 }), Effect.ignore)

const outcomeOf = (queries: StoreQueries, error: SqlError, commit: Commit, row: CommitRow): Outcome => {
  const state = sqlStateOf(error)
  if (state === "23505") return lookUp(queries, commit, row)
  if (isUnsendable(error)) return Effect.die(error)
  return Effect.succeed(
    isRolledBack(state) || isRefused(state)
      ? CommitOutcome.NotWritten(troubleOf(error))
      : CommitOutcome.Unknown(troubleOf(error))
  )
}

const own = `SELECT row_count, keys FROM commits WHERE writer_id = $1 AND seq = $2`

const eventKeys = eventColumns.pick("accountId", "version")
const hashedKeys = eventColumns.pick("accountId", "version", "hash")

/** LATERAL with a LIMIT keeps PostgreSQL from hashing the table. */
const sameEvents = `
  SELECT count(*) FROM ${hashedKeys.unnest("mine")}
  CROSS JOIN LATERAL (
    SELECT e.hash FROM events e WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1
  ) AS found
  WHERE found.hash = mine.hash`

const takenVersions = `
  SELECT ${eventKeys.listOf("found")} FROM ${eventKeys.unnest("mine")}
  CROSS JOIN LATERAL (
    SELECT e.account_id, e.version FROM events e
    WHERE e.account_id = mine.account_id AND e.version = mine.version LIMIT 1
  ) AS found`

const takenCommands = `SELECT command_id FROM events WHERE command_id = ANY($1::text[]) AND ordinal = 0`

/** After a duplicate key: did an earlier sending land, was the writer fenced, or which keys are taken? */
const lookUp = ({ query, proven }: StoreQueries, commit: Commit, row: CommitRow): Outcome =>
  Effect.gen(function* () {
    // Proven: a row of ours that no standby has yet is no commit (I6).
    const [found] = yield* proven(own, [PgTypes.text(commit.writerId), int8Value(commit.seq)])
    if (found !== undefined) {
      if (Number(found[0]) === 0) return CommitOutcome.Fenced()
      const [same] = yield* query(sameEvents, hashedKeys.arrays(commit.events))
      const isSame = found[1] === keysToText(row.keys) && Number(same?.[0]) === commit.events.length
      return isSame ? CommitOutcome.Committed() : yield* Effect.die(numberUsedTwice(commit))
    }
    const fault = findDuplicateKey(commit)
    // A commit that is in its own way can never land; sending it again for ever would hide that.
    if (fault !== undefined) return yield* Effect.die(new Error(fault))
    const versions = yield* query(takenVersions, eventKeys.arrays(commit.events))
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
    // An earlier sending of this commit may be what stands in the way, so a failed look proves nothing.
    Effect.catch(({ reason, detail }: StoreUnavailable) =>
      Effect.succeed(CommitOutcome.Unknown({ reason, detail }))
    )
  )

/** The defect of a writer that sent two commits under one number. */
export const numberUsedTwice = ({ writerId, seq }: Commit): Error =>
  new Error(`writer ${writerId} sent another commit under number ${seq}, which it had used`)

/** Says which key stands twice in one commit; undefined where none does. */
export const findDuplicateKey = (commit: Commit): string | undefined => {
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
