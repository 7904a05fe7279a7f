/** An account and a format enter; its whole statement is written to a file, page by page, with progress. */
import { Data, Effect, FileSystem, Option, Stream } from "effect"
import type { StatementLine } from "../domain/Books.ts"
import { type AccountId, printInstant } from "../domain/Ids.ts"
import { formatDecimal } from "../domain/Money.ts"
import { Queries, type StatementQuery } from "../infra/readmodel/Queries.ts"
import { grouped, makeProgress } from "./Terminal.ts"

export type ExportFormat = "csv" | "json"

/** The file could not be written. */
export class ExportFailed extends Data.TaggedError("ExportFailed")<{
  readonly file: string
  readonly reason: string
}> {
  override get message() {
    return `the statement cannot be written to ${this.file}: ${this.reason}`
  }
}

const columns = [
  "version",
  "recorded_at",
  "effective_at",
  "type",
  "counterparty",
  "description",
  "amount",
  "balance",
  "asset",
  "command_id"
]

/** Decimal amounts, so that a program and a spreadsheet read the same. */
const fieldsOf = (line: StatementLine): ReadonlyArray<string | number | null> => [
  line.version,
  printInstant(line.recordedAt),
  printInstant(line.effectiveAt),
  line.type,
  line.counterparty,
  line.description,
  formatDecimal(line.amount, line.asset),
  formatDecimal(line.balance, line.asset),
  line.asset,
  line.commandId
]

/** RFC 4180. */
const csvField = (field: string | number | null): string => {
  const text = field === null ? "" : String(field)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

const csvLine = (fields: ReadonlyArray<string | number | null>): string =>
  `${fields.map(csvField).join(",")}\r\n`

const jsonObject = (line: StatementLine): string => {
  const fields = fieldsOf(line)
  return JSON.stringify(Object.fromEntries(columns.map((name, index) => [name, fields[index] ?? null])))
}

/** All lines up to the version the account has now, `pageRows` of them in memory at a time; answers how many. */
export const exportStatement = Effect.fn("Export.statement")(function* (
  account: AccountId,
  format: ExportFormat,
  file: string,
  asked: Omit<StatementQuery, "cursor" | "limit">
) {
  const queries = yield* Queries
  const fs = yield* FileSystem.FileSystem
  const progress = yield* makeProgress
  const { version } = (yield* queries.balance(account, asked)).account
  let lines = 0
  const pages = Stream.paginate(
    undefined as string | undefined,
    (
      cursor // where the first page begins
    ) =>
      Effect.map(
        queries.statement(account, { ...asked, cursor, limit: pageRows }),
        ({ rows: found, next }) => {
          const rows = found.filter((line) => line.version <= version)
          const isEnd = next === undefined || rows.length < found.length
          const isFirst = lines === 0
          lines += rows.length
          progress.showUnsafe(`${grouped(lines)} lines written, the account has ${grouped(version)} versions`)
          const text =
            format === "csv"
              ? rows.map((line) => csvLine(fieldsOf(line))).join("")
              : rows
                  .map((line, index) => `${isFirst && index === 0 ? "" : ",\n"}${jsonObject(line)}`)
                  .join("")
          return [[text], isEnd ? Option.none() : Option.some(next)] as const
        }
      )
  )
  const [head, tail] = format === "csv" ? [csvLine(columns), ""] : ["[\n", "\n]\n"]
  const part = `${file}.part`
  yield* Stream.make(head).pipe(
    Stream.concat(pages),
    Stream.concat(Stream.make(tail)),
    Stream.encodeText,
    Stream.run(fs.sink(part)),
    // A name without the end of the statement below it would be taken for all of it.
    Effect.andThen(fs.rename(part, file)),
    Effect.onError(() => Effect.ignore(fs.remove(part, { force: true }))),
    Effect.catchTag("PlatformError", ({ message }) =>
      Effect.fail(new ExportFailed({ file, reason: message }))
    )
  )
  yield* progress.clear
  return lines
})

const pageRows = 1_000
