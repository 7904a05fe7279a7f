/** What a caller asks a page by enters; checked bounds, and the page with where the next one begins, leave. */
import { Result, Schema } from "effect"
import { InvalidCommand } from "../../domain/Errors.ts"
import { AccountId, type Instant, instantMax } from "../../domain/Ids.ts"

const rowsDefault = 100

export interface PageAsked {
  /** `next` of the page before. */
  readonly cursor?: string | undefined
  /** Default 100; at most `pageMax` rows are answered whatever is asked. */
  readonly limit?: number | undefined
}

export interface Page<A> {
  readonly rows: ReadonlyArray<A>
  /** Where the next page begins; undefined at the end as it is now. */
  readonly next: string | undefined
}

export const versionOf = (cursor: string): Result.Result<number, InvalidCommand> =>
  /^\d{1,15}$/.test(cursor)
    ? Result.succeed(Number(cursor))
    : Result.fail(InvalidCommand.at("cursor", `"${cursor.slice(0, 40)}" is no cursor of this query`))

const isAccountId = Schema.is(AccountId)

export const accountOf = (cursor: string): Result.Result<string, InvalidCommand> =>
  isAccountId(cursor)
    ? Result.succeed(cursor)
    : Result.fail(InvalidCommand.at("cursor", `"${cursor.slice(0, 40)}" is no cursor of this query`))

/** Any whole milliseconds; what lies beyond all instants is as far as the furthest of them. */
export const boundOf = (
  path: string,
  bound: number | undefined
): Result.Result<Instant | undefined, InvalidCommand> => {
  if (bound === undefined) return Result.succeed(undefined)
  return Number.isInteger(bound)
    ? Result.succeed(Math.min(Math.max(bound, 0), instantMax))
    : Result.fail(InvalidCommand.at(path, "must be epoch milliseconds, a whole number"))
}

export const limitOf = (
  { limit }: PageAsked,
  max: number,
  otherwise = rowsDefault
): Result.Result<number, InvalidCommand> => {
  if (limit === undefined) return Result.succeed(Math.min(otherwise, max))
  return Number.isInteger(limit) && limit >= 1
    ? Result.succeed(Math.min(limit, max))
    : Result.fail(InvalidCommand.at("limit", "must be a whole number of 1 or more"))
}

export const pageOf = <A>(found: ReadonlyArray<A>, limit: number, cursorOf: (row: A) => string): Page<A> => {
  const rows = found.slice(0, limit)
  const last = rows.at(-1)
  return { rows, next: found.length > limit && last !== undefined ? cursorOf(last) : undefined }
}
