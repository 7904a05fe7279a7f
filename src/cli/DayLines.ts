/**
 * Reads a CSV file of any size line by line, in bounded memory. Apart from the day's meaning, because its rule is not
 * RFC 4180's: a record is one line, so that a quote that is never closed costs one line and not the rest of the file.
 */
import { type CsvError, parse } from "csv-parse/sync"
import { Result, Stream } from "effect"

/** One line that is neither blank nor a `#` comment. `fields` fails with what is wrong about its form. */
export interface DayRecord {
  /** Counted from 1, as an editor does. */
  readonly line: number
  /** The line as it stands in the file; its beginning, if it is too long. */
  readonly text: string
  readonly fields: Result.Result<ReadonlyArray<string>, string>
}

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
  const take = ({ line, rest }: Splitting, chunk: string): readonly [Splitting, ReadonlyArray<DayRecord>] => {
    const pieces = chunk.split("\n")
    const records: Array<DayRecord> = []
    let begun = rest
    for (const [index, piece] of pieces.entries()) {
      // One character above the limit is enough to know that the line is too long.
      const text = begun.length > lineCharsMax ? begun : (begun + piece).slice(0, lineCharsMax + 2)
      if (index === pieces.length - 1) begun = text
      else {
        records.push(...toRecord(line + index, text, lineCharsMax))
        begun = ""
      }
    }
    return [{ line: line + pieces.length - 1, rest: begun }, records]
  }
  return bytes.pipe(
    Stream.decodeText, // drops a byte order mark
    Stream.mapAccum((): Splitting => ({ line: 1, rest: "" }), take, {
      onHalt: ({ line, rest }) => toRecord(line, rest, lineCharsMax)
    })
  )
}

const toRecord = (line: number, raw: string, lineCharsMax: number): ReadonlyArray<DayRecord> => {
  const text = raw.endsWith("\r") ? raw.slice(0, -1) : raw
  if (text.trim() === "" || text.startsWith("#")) return []
  return [{ line, text, fields: split(text, lineCharsMax) }]
}

/** In the words of a reader of the file: the library counts lines of its own, of which it sees one at a time. */
const describe = ({ code, message }: CsvError): string => {
  switch (code) {
    case "CSV_QUOTE_NOT_CLOSED":
      return "a quote is never closed"
    case "INVALID_OPENING_QUOTE":
      return "a quote within a field that does not begin with one"
    case "CSV_INVALID_CLOSING_QUOTE":
      return "a closing quote is not followed by a comma"
    default:
      return message
  }
}

const split = (text: string, lineCharsMax: number): Result.Result<ReadonlyArray<string>, string> => {
  if (text.length > lineCharsMax) return Result.fail(`longer than ${lineCharsMax} characters`)
  if (text.includes("\uFFFD")) return Result.fail("not UTF-8")
  return Result.try({
    // The delimiter of records is named, lest the library takes a lone CR for one.
    try: () => parse(text, { record_delimiter: "\n", relax_column_count: true })[0] ?? [],
    catch: (error) => describe(error as CsvError) // the only error that `parse` throws
  })
}
