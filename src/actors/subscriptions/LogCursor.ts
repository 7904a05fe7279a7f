/** How far each writer's tail was read enters; an opaque text that says so leaves; and back. */
import { Result, Schema } from "effect"
import { InvalidCommand } from "../../domain/Errors.ts"
import type { WriterId } from "../../infra/eventstore/EventStore.ts"

/** A missing writer is at 0. */
export type LogCursor = ReadonlyMap<WriterId, number>

const Wire = Schema.fromJsonString(
  Schema.Record(Schema.String, Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
)
const decode = Schema.decodeUnknownResult(Wire)
const encode = Schema.encodeSync(Wire)

/** More writers than any installation had lives of its nodes. */
const textMax = 4_000_000

export const printCursor = (cursor: LogCursor): string =>
  Buffer.from(encode(Object.fromEntries(cursor))).toString("base64url")

export const parseCursor = (text: string): Result.Result<LogCursor, InvalidCommand> => {
  const refused = InvalidCommand.at("after", "is no cursor of a subscription")
  if (text.length > textMax) return Result.fail(refused)
  return decode(Buffer.from(text, "base64url").toString("utf8")).pipe(
    Result.map((record) => new Map(Object.entries(record))),
    Result.mapError(() => refused)
  )
}
