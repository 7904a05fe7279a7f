/** A commit enters, is sent in one statement (behind another: in one transaction), and what became of it leaves. */
import { type PgConnection, PgTypes } from "@effect/sql-pg"
import { Effect, Exit } from "effect"
import type { SqlConnection } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { describeSqlError, isRefused, isRolledBack, sqlStateOf } from "../postgres/SqlState.ts"
import { lookUp } from "./EventStoreLookUp.ts"
import { type Commit, CommitOutcome, type CommitRow } from "./EventStoreTypes.ts"
import { EventStoreClient, type Query } from "./SqlClients.ts"
import { commitColumns, eventColumns, toCommitRow } from "./SqlRows.ts"

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

/** The commit that had to be there first is not. */
export const heldBack = CommitOutcome.NotWritten({ reason: "the commit before it did not land" })

/** A value that no column holds: it was not sent, and would not be the next time. */
const isUnsendable = (error: SqlError): boolean => error.reason.cause instanceof PgTypes.CodecError

/** It speaks of the commit itself, not of the connection or the server. */
const isOfCommit = (error: SqlError): boolean => sqlStateOf(error) === "23505" || isUnsendable(error)

/** After this the driver abandons a statement, for which it may take five seconds more. */
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
        // A transaction that failed was left open on it, though it should not be: nothing was written.
        onFailure: (error) =>
          sqlStateOf(error) === "25P02"
            ? Effect.as(rollBack(connection), CommitOutcome.NotWritten({ reason: describeSqlError(error) }))
            : settle(error, commit, row),
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

  /**
   * Twice, since what was meant to cancel the statement before can strike the first, and outside of a transaction it
   * does no harm. Where no answer comes the driver ends the connection, and the server the transaction with it.
   */
  const rollBack = (connection: Connection): Effect.Effect<void> =>
    connection
      .executeRaw("ROLLBACK", [])
      .pipe(Effect.timeout(graceMs), Effect.retry({ times: 1 }), Effect.ignore)

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
