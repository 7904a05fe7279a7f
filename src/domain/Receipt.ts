/** Receipts of accepted commands, and the read token by which a caller sees its own write in a query. */
import { Result, Schema } from "effect"
import { InvalidCommand } from "./Errors.ts"
import { AccountId, AnyCommandId, Instant, Version } from "./Ids.ts"
import { Balance } from "./Money.ts"

/**
 * One leg as it stands in the log, and the account right after it: `balance`, `held` (kept back by open holds) and
 * `available` (what may leave the account), in minor units. They are absent only from legs that a version before these
 * figures wrote.
 */
export const Posting = Schema.Struct({
  account: AccountId,
  version: Version,
  hash: Schema.String,
  balance: Schema.optionalKey(Balance),
  held: Schema.optionalKey(Balance),
  available: Schema.optionalKey(Schema.BigIntFromString)
})
export type Posting = typeof Posting.Type

/** "Done": the events are durable (I6). `replayed` says that they were so before this dispatch (I4). */
export const Receipt = Schema.Struct({
  commandId: AnyCommandId,
  replayed: Schema.Boolean,
  recordedAt: Instant,
  postings: Schema.Array(Posting),
  /** Give it to a query to see at least this write: `account@version`, comma-separated. */
  readToken: Schema.String
})
export type Receipt = typeof Receipt.Type

/** A position that a reader wants to have been reached. */
export interface Position {
  readonly account: AccountId
  readonly version: Version
}

/** Names the last position of each account: a query that waits for that waits for those before it. */
export const printToken = (positions: ReadonlyArray<Position>): string => {
  let token = ""
  for (const { account, version } of lastOfEach(positions))
    token += `${token === "" ? "" : ","}${account}@${version}`
  return token
}

/** The last position of each account. */
export const lastOfEach = (positions: ReadonlyArray<Position>): ReadonlyArray<Position> => {
  // Nearly all receipts have positions of one account, or of two.
  if (positions.length < 3 && positions[0]?.account !== positions[1]?.account) return positions
  const last = new Map<AccountId, Position>()
  for (const position of positions)
    if ((last.get(position.account)?.version ?? -1) < position.version) last.set(position.account, position)
  return [...last.values()]
}

const readPosition = Schema.decodeUnknownResult(
  Schema.Struct({ account: AccountId, version: Schema.NumberFromString.check(Schema.isInt()) })
)

/** More characters than the read token of a command on the most accounts has. */
const tokenCharactersMax = 50_000

/** The positions of a token; `InvalidCommand` with the part that is none. A longer one than there may be is not looked at. */
export const parseToken = (token: string): Result.Result<ReadonlyArray<Position>, InvalidCommand> =>
  token.length > tokenCharactersMax
    ? Result.fail(InvalidCommand.at("readToken", `has more than ${tokenCharactersMax} characters`))
    : Result.all(token.split(",").map(parsePosition))

const parsePosition = (part: string): Result.Result<Position, InvalidCommand> => {
  const [account, version, ...beyond] = part.split("@")
  // Digits alone: a number of JavaScript may also be written 0x1 or 1e3, or be empty.
  const isPlain = beyond.length === 0 && /^\d+$/.test(version ?? "")
  const position = isPlain ? { account, version } : part
  return Result.mapError(readPosition(position), () =>
    InvalidCommand.at("readToken", `"${part.slice(0, 100)}" is no account@version`)
  )
}
