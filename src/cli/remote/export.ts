/** Writes the whole statement of an account to a file, as CSV or JSON, page by page in bounded memory. */
import { Data, Effect, FileSystem, Option, Stream } from "effect"
import { Csv } from "effect/encoding"
import type { StatementLine } from "../../domain/Books.ts"
import { type AccountId, printInstant } from "../../domain/Ids.ts"
import { formatDecimal } from "../../domain/Money.ts"
import type { QueryMethods } from "../../QueryMethods.ts"
import { grouped, makeProgress } from "../Output.ts"

/** What is exported of a line is what every node tells of it. */
type Line = Omit<StatementLine, "contras">

type ExportFormat = "csv" | "json"

/** The file could not be written. */
export class ExportFailed extends Data.TaggedError("ExportFailed")<{
  readonly file: string
  readonly reason: string
}> {
  override get message() {
    return `the statement cannot be written to ${this.file}: ${this.reason}`
  }
}

/** A column of the file. `isText`: what others wrote, which a spreadsheet must not take for a formula. */
interface Column {
  readonly name: string
  readonly isText?: true
  readonly of: (line: Line) => string | number | null
}

const columns: ReadonlyArray<Column> = [
  { name: "version", of: (line) => line.version },
  { name: "recorded_at", of: (line) => printInstant(line.recordedAt) },
  { name: "effective_at", of: (line) => printInstant(line.effectiveAt) },
  { name: "type", of: (line) => line.type },
  { name: "counterparty", isText: true, of: (line) => line.counterparty },
  { name: "description", isText: true, of: (line) => line.description },
  // Decimals, so that a program and a spreadsheet read the same.
  { name: "amount", of: (line) => formatDecimal(line.amount, line.asset) },
  { name: "balance", of: (line) => formatDecimal(line.balance, line.asset) },
  { name: "asset", of: (line) => line.asset },
  { name: "command_id", isText: true, of: (line) => line.commandId }
]

/** What spreadsheets take for the beginning of a formula, blanks and controls before it left aside. */
const formula = /^[\s\p{Cc}\p{Cf}]*[=+\-@＝＋－＠]/u

/**
 * The same behind what a spreadsheet of another country takes for the end of a cell, where a text that begins with a quotation mark ends as
 * one: commas alone separate cells here, so a text is not quoted for the others.
 */
const separated = /([;\t\r\n])(?=[\s\p{Cc}\p{Cf}"]*[=+\-@＝＋－＠])/gu

/** An apostrophe in front makes it text for every spreadsheet. Numbers have none: they must stay numbers. */
export const neutralised = (text: string): string => {
  const inside = text.replaceAll(separated, "$1'")
  return formula.test(text) || /^[\t\r\n]/.test(text) ? `'${inside}` : inside
}

const csvRow = (line: Line): ReadonlyArray<string> =>
  columns.map(({ isText, of }) => {
    const value = String(of(line) ?? "")
    return isText === true ? neutralised(value) : value
  })

const toCsv = <E, R>(lines: Stream.Stream<Line, E, R>): Stream.Stream<string, E, R> =>
  Stream.make(columns.map(({ name }) => name)).pipe(
    Stream.concat(Stream.map(lines, csvRow)),
    Stream.pipeThroughChannel(Csv.encodeString())
  )

const toJson = <E, R>(lines: Stream.Stream<Line, E, R>): Stream.Stream<string, E, R> =>
  lines.pipe(
    Stream.map((line) => JSON.stringify(Object.fromEntries(columns.map(({ name, of }) => [name, of(line)])))),
    Stream.intersperseAffixes({ start: "[\n", middle: ",\n", end: "\n]\n" })
  )

/**
 * Writes all lines up to the version the account has now, with `pageRows` of them in memory at a time; answers how many.
 * In effective order the pages themselves keep to the version of the first; in recorded order later lines are left out
 * here.
 */
export const exportStatement = Effect.fn("Export.statement")(function* (
  books: Pick<QueryMethods, "balance" | "statement">,
  account: AccountId,
  format: ExportFormat,
  file: string,
  query: Omit<NonNullable<Parameters<QueryMethods["statement"]>[1]>, "cursor" | "limit">
) {
  const fs = yield* FileSystem.FileSystem
  const progress = yield* makeProgress
  const { version } = yield* books.balance(account, { readToken: query.readToken })
  let count = 0
  const lines = Stream.paginate(undefined as string | undefined, (cursor /* undefined: the first page */) =>
    Effect.map(books.statement(account, { ...query, cursor, limit: pageRows }), ({ rows: found, next }) => {
      const rows = query.axis === "effective" ? found : found.filter((line) => line.version <= version)
      const isEnd = next === undefined || rows.length < found.length
      count += rows.length
      progress.showUnsafe(`${grouped(count)} lines written, the account has ${grouped(version)} versions`)
      return [rows, isEnd ? Option.none() : Option.some(next)] as const
    })
  )
  const part = `${file}.part`
  yield* (format === "csv" ? toCsv(lines) : toJson(lines)).pipe(
    Stream.encodeText,
    Stream.run(fs.sink(part)),
    // Under its own name only once it is whole: a part of a statement would be taken for all of it.
    Effect.andThen(fs.rename(part, file)),
    Effect.onError(() => Effect.ignore(fs.remove(part, { force: true }))),
    Effect.catchTag("PlatformError", ({ message }) =>
      Effect.fail(new ExportFailed({ file, reason: message }))
    )
  )
  yield* progress.clear
  return count
})

const pageRows = 1_000
