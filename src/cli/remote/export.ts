/** Writes the whole statement of an account to a file, as CSV or JSON, page by page in bounded memory. */
import { Data, Effect, FileSystem, Option, Path, PlatformError, Stdio, Stream } from "effect"
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

/** What `--out` names. */
type Target =
  /** `path` is at the end of symbolic links; `mode` has the permissions of the file whose place is taken. */
  | { readonly _tag: "File"; readonly path: string; readonly mode: number | undefined }
  /** A pipe or a device: no file may take its place, so it gets the lines as they come. */
  | { readonly _tag: "Device"; readonly path: string }
  | { readonly _tag: "Stdout" }

/** `--out -` */
const stdoutName = "-"

/** As many symbolic links as Linux follows in one path. */
const linksMax = 40

/**
 * Where the file is, or is to be made: at the end of its symbolic links, whether there is a file there or not. No `..` is
 * taken out of the path on the way: behind a linked directory it is the parent of that which the link leads to.
 */
const endOfLinks = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const { dirname, isAbsolute } = yield* Path.Path
  let path = file
  for (let links = 0; links < linksMax; links++) {
    const link = yield* Effect.option(fs.readLink(path))
    if (Option.isNone(link)) break
    path = isAbsolute(link.value) ? link.value : `${dirname(path)}/${link.value}`
  }
  return path
})

const findTarget = Effect.fnUntraced(function* (file: string) {
  if (file === stdoutName) return { _tag: "Stdout" } satisfies Target
  const fs = yield* FileSystem.FileSystem
  const found = yield* fs.stat(file).pipe(
    Effect.asSome,
    Effect.catchIf(
      ({ reason }) => reason._tag === "NotFound",
      () => Effect.succeedNone
    )
  )
  if (Option.isNone(found))
    return { _tag: "File", path: yield* endOfLinks(file), mode: undefined } satisfies Target
  const { dev, ino, mode, type } = found.value
  // /dev/stdout, or the file that it goes to: opened once more, both would write over each other.
  const stdout = yield* Effect.option(fs.stat("/dev/stdout"))
  const isStdout =
    Option.isSome(stdout) &&
    stdout.value.dev === dev &&
    Option.getOrNull(stdout.value.ino) === Option.getOrNull(ino)
  if (isStdout) return { _tag: "Stdout" } satisfies Target
  if (type !== "File") return { _tag: "Device", path: file } satisfies Target
  return { _tag: "File", path: yield* fs.realPath(file), mode: mode & 0o777 } satisfies Target
})

/** What `program.ts` tells of stdout, for every command alike. */
const isOfStdout = (error: unknown) =>
  error instanceof PlatformError.PlatformError && error.reason.module === "Stdio"

/** Whether the lines go to stdout, where nothing else may stand then. A place that cannot be looked at is told of by the export. */
export const goesToStdout = (file: string) =>
  findTarget(file).pipe(
    Effect.map(({ _tag }) => _tag === "Stdout"),
    Effect.orElseSucceed(() => false)
  )

const writeTo = Effect.fnUntraced(function* <E, R>(target: Target, text: Stream.Stream<string, E, R>) {
  const fs = yield* FileSystem.FileSystem
  if (target._tag === "Stdout") {
    const stdout = (yield* Stdio.Stdio).stdout()
    return yield* Stream.run(text, stdout).pipe(Effect.catchIf(isOfStdout, () => Effect.void))
  }
  const bytes = Stream.encodeText(text)
  // To append is to write at no position, which a pipe has none of.
  if (target._tag === "Device") return yield* Stream.run(bytes, fs.sink(target.path, { flag: "a" }))
  const { mode, path } = target
  const part = `${path}.part`
  yield* Stream.run(bytes, fs.sink(part, { mode: mode ?? 0o666 })).pipe(
    Effect.andThen(mode === undefined ? Effect.void : fs.chmod(part, mode)),
    // Under its own name only once it is whole: a part of a statement would be taken for all of it.
    Effect.andThen(fs.rename(part, path)),
    Effect.onError(() => Effect.ignore(fs.remove(part, { force: true })))
  )
})

/**
 * Writes all lines up to the version the account has now, with `pageRows` of them in memory at a time; answers how many
 * they are, and whether a file has them now. In effective order the pages themselves keep to the version of the first; in
 * recorded order later lines are left out here.
 */
export const exportStatement = Effect.fn("Export.statement")(function* (
  books: Pick<QueryMethods, "balance" | "statement">,
  account: AccountId,
  format: ExportFormat,
  file: string,
  query: Omit<NonNullable<Parameters<QueryMethods["statement"]>[1]>, "cursor" | "limit">
) {
  const failed = ({ message }: PlatformError.PlatformError) => new ExportFailed({ file, reason: message })
  const target: Target = yield* findTarget(file).pipe(Effect.mapError(failed))
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
  yield* writeTo(target, (format === "csv" ? toCsv : toJson)(lines)).pipe(
    Effect.catchTag("PlatformError", (error) => Effect.fail(failed(error)))
  )
  yield* progress.clear
  return { lines: count, isFile: target._tag === "File" }
})

const pageRows = 1_000
