/** What a failed statement says: the server's SQLSTATE, whether anything was written, and words for a log. */
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

/** The server's own words with code and detail, for logs and error messages. */
export const describeSqlError = (error: SqlError): string => {
  const field = (name: string) => serverFieldOf(error, name)
  // A refused connection to a name with two addresses has a code and no message.
  const words = field("message") ?? field("code") ?? error.message
  const code = sqlStateOf(error)
  const detail = field("detail")
  if (code !== undefined) return `${words} (${code}${detail === undefined ? "" : `; ${detail}`})`
  return error.reason.operation === "connect" ? `cannot connect: ${words}` : words
}

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
 * back, 53 resources, 55 locks, 57 cancelled or shutting down.
 */
export const isLasting = (state: string | undefined): boolean =>
  state !== undefined && !/^(08|40|53|55|57)/.test(state)
