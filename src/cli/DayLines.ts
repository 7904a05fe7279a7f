/**
 * Reads a CSV file of any size line by line, in bounded memory. Not a reader of RFC 4180: a record is one line, so
 * that a quote that is never closed costs one line and not the rest of the file.
 */
import { Effect, Result, Stream } from "effect"
import { Csv } from "effect/encoding"

/** One line that is neither blank nor a `#` comment. `fields` fails with what is wrong about its form. */
export interface DayRecord {
  /** Counted from 1, as an editor does. */
  readonly line: number
  /** The line as it stands in the file; its beginning, if it is too long. */
  readonly text: string
  readonly fields: Result.Result<ReadonlyArray<string>, string>
}

type Line = Pick<DayRecord, "line" | "text">

interface Splitting {
  readonly line: number
  /** What was read of the line that is not complete yet, at most a little above the limit. */
  readonly rest: string
}

/**
 * Splits UTF-8 bytes into records. A record is one line (LF or CRLF): a quote that is never closed spoils its own
 * line and not the rest of the file. Longer lines than `lineCharsMax` are at fault and never held whole.
 */
export const readRecords = <E, R>(
  bytes: Stream.Stream<Uint8Array, E, R>,
  lineCharsMax: number
): Stream.Stream<DayRecord, E, R> => {
  const take = ({ line, rest }: Splitting, chunk: string): readonly [Splitting, ReadonlyArray<Line>] => {
    const pieces = chunk.split("\n")
    const lines: Array<Line> = []
    let begun = rest
    for (const [index, piece] of pieces.entries()) {
      // One character above the limit is enough to know that the line is too long.
      const text = begun.length > lineCharsMax ? begun : (begun + piece).slice(0, lineCharsMax + 2)
      if (index === pieces.length - 1) begun = text
      else {
        lines.push(...toLine(line + index, text))
        begun = ""
      }
    }
    return [{ line: line + pieces.length - 1, rest: begun }, lines]
  }
  return bytes.pipe(
    Stream.decodeText, // drops a byte order mark
    Stream.mapAccum((): Splitting => ({ line: 1, rest: "" }), take, {
      onHalt: ({ line, rest }) => toLine(line, rest)
    }),
    Stream.mapEffect(({ line, text }) =>
      Effect.map(split(text, lineCharsMax), (fields): DayRecord => ({ line, text, fields }))
    )
  )
}

const toLine = (line: number, raw: string): ReadonlyArray<Line> => {
  const text = raw.endsWith("\r") ? raw.slice(0, -1) : raw
  return text.trim() === "" || text.startsWith("#") ? [] : [{ line, text }]
}

/**
 * The fields of a line by RFC 4180. The library reads whole files: what it would take as more than a line is refused.
 */
const split = (
  text: string,
  lineCharsMax: number
): Effect.Effect<Result.Result<ReadonlyArray<string>, string>> => {
  if (text.length > lineCharsMax) return Effect.succeed(Result.fail(`longer than ${lineCharsMax} characters`))
  if (text.includes("\uFFFD")) return Effect.succeed(Result.fail("not UTF-8"))
  if (text.startsWith("\uFEFF")) return Effect.succeed(Result.fail("a byte order mark within the file"))
  return Stream.make(text).pipe(
    Stream.pipeThroughChannel(Csv.decodeString({ maxRecordSize: Number.POSITIVE_INFINITY })),
    Stream.runCollect,
    Effect.result,
    Effect.map(
      Result.match({
        onFailure: (error) => Result.fail(describe(error)),
        onSuccess: ([fields = [], ...more]) =>
          more.length > 0 || text.endsWith("\r")
            ? Result.fail("a carriage return within the line, outside of quotes")
            : Result.succeed(fields)
      })
    )
  )
}

/** In the words of a reader of the file: the library counts lines of its own, of which it sees one at a time. */
const describe = ({ message }: Csv.CsvError): string => {
  switch (message) {
    case "Unterminated quoted field":
      return "a quote is never closed"
    case "Unexpected quote in an unquoted field":
      return "a quote within a field that does not begin with one"
    default:
      return "a closing quote is not followed by a comma"
  }
}
