/** What a failed statement says: the server's SQLSTATE, whether anything was written, and words for a log and for callers. */
import type { SqlError } from "effect/sql/SqlError"

/** SQLSTATE of the server's answer, undefined when none came (connection refused, cut, timed out). */
export const sqlStateOf = (error: SqlError): string | undefined => {
  const cause: unknown = error.reason.cause
  if (typeof cause !== "object" || cause === null || !("code" in cause)) return undefined
  // Node's socket errors have a `code` too (ECONNRESET); an SQLSTATE always comes with a severity.
  return "severity" in cause && typeof cause.code === "string" ? cause.code : undefined
}

/** A field of the server's answer (`detail`, `routine`, …); undefined where it has none, or none came. */
export const serverFieldOf = (error: SqlError, name: string): string | undefined => {
  const cause: unknown = error.reason.cause
  const value: unknown = typeof cause === "object" && cause !== null ? Reflect.get(cause, name) : undefined
  return typeof value === "string" && value !== "" ? value : undefined
}

/** The server's own words with code and detail, for logs and the operator: they may name hosts, users and values. */
export const describeSqlError = (error: SqlError): string => {
  const field = (name: string) => serverFieldOf(error, name)
  // A refused connection to a name with two addresses has a code and no message.
  const words = field("message") ?? field("code") ?? error.message
  const code = sqlStateOf(error)
  const detail = field("detail")
  if (code !== undefined) return `${words} (${code}${detail === undefined ? "" : `; ${detail}`})`
  return error.reason.operation === "connect" ? `cannot connect: ${words}` : words
}

/** What a server said, by the beginning of its SQLSTATE; of several that fit the first counts. */
const wordsOfStates: ReadonlyArray<readonly [state: string, words: string]> = [
  ["08", "a connection of it failed"],
  ["22", "it refused a value"],
  ["23", "it refused a row"],
  ["25006", "it takes no writes"],
  ["28", "it refused the login"],
  ["3D", "the database is missing"],
  ["40", "it rolled a transaction back"],
  ["42", "a table, a column or a right is missing"],
  ["53", "it is short of resources"],
  ["54", "a limit of it is exceeded"],
  ["55", "something is locked"],
  ["57014", "it cancelled a statement"],
  ["57", "it is starting or shutting down"],
  ["58", "it has a fault of its own"],
  ["XX", "it has a fault of its own"]
]

/** The same for callers, who learn neither where the server is, nor whom it knows, nor what it holds: words of our own, and the code. */
const tellSqlError = (error: SqlError): string => {
  const state = sqlStateOf(error)
  const told = (words: string, code: string | undefined) =>
    code === undefined ? words : `${words} (${code})`
  if (state !== undefined) {
    const found = wordsOfStates.find(([beginning]) => state.startsWith(beginning))
    return told(found?.[1] ?? "it refused a statement", state)
  }
  const { _tag, operation } = error.reason
  const words =
    operation === "connect"
      ? "cannot connect"
      : _tag === "ConnectionError"
        ? "the connection was lost"
        : "a statement failed"
  return told(words, serverFieldOf(error, "code"))
}

/** In words for callers, and for logs. */
export const troubleOf = (error: SqlError) => ({
  reason: tellSqlError(error),
  detail: describeSqlError(error)
})

/** The statement was rolled back because of other statements: the same may be run again. */
export const isRolledBack = (state: string | undefined): boolean => state === "40001" || state === "40P01"

/**
 * The server refused the statement before or while running it, and said so: nothing of it was written. 22 data,
 * 25006 read-only server, 28 and 42 rights and missing objects, 53 resources, 54 limits of the server, 0A000 not supported.
 */
export const isRefused = (state: string | undefined): boolean =>
  state !== undefined && (state === "25006" || state === "0A000" || /^(22|28|42|53|54)/.test(state))

/**
 * The server refused the statement for what it found, and will the next time: not for what else went on just then. 08 connections, 40 rolled
 * back, 53 resources, 55 locks, 57 cancelled or shutting down; of CockroachDB 58C a range or a node of its own that it does not reach, and
 * XXU whatever it has no code for.
 */
export const isLasting = (state: string | undefined): boolean =>
  state !== undefined && !/^(08|40|53|55|57|58C|XXU)/.test(state)

/**
 * The server cannot read what stands there, or cannot take it for what was asked: XX001 and XX002 a page or an index that is bad, 58P and
 * 58030 its file, 22 and 54 values. Unlike what else lasts, rights that are missing say, it is of single rows. XX000 and 58000 are whatever
 * the server did not expect, which may be over the next time.
 */
export const isOfRows = (state: string | undefined): boolean =>
  state !== undefined && /^(22|54|58P|58030|XX001|XX002)/.test(state)
