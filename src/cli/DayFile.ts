/**
 * Reads a bank's day from CSV (examples/README.md): a command or an assertion for each line, or a typed fault for a line
 * that is neither.
 */
import { Data, Effect, FileSystem, Result, Stream } from "effect"
import type { AskedCommand } from "../domain/Command.ts"
import { type Assertion, toContent } from "./DayCommand.ts"
import { type Column, columns, furtherColumns, type LineFault, readHeader } from "./DayFields.ts"
import { type DayRecord, readRecords } from "./DayLines.ts"

export type DayLine = Data.TaggedEnum<{
  Command: { readonly line: number; readonly command: AskedCommand }
  Assertion: { readonly line: number; readonly assertion: Assertion }
  /** Its amount is zero, so nothing is done. */
  Skipped: { readonly line: number }
  Fault: { readonly fault: LineFault }
}>
export const DayLine = Data.taggedEnum<DayLine>()

/** The file is no bank's day at all: its first record is not the header. */
export class NotADayFile extends Data.TaggedError("NotADayFile")<{ readonly found: string }> {
  override get message() {
    const further = furtherColumns.join(" or ")
    return `the first line must be "${columns.join(",")}", and may go on with ${further}; not "${this.found}"`
  }
}

/** The most characters of a line. */
const lineCharsMaxDefault = 16_384

/** Reads a stored file; see `readDay`. */
export const readDayFile = (path: string, lineCharsMax?: number) =>
  Stream.unwrap(Effect.map(FileSystem.FileSystem, (files) => readDay(files.stream(path), lineCharsMax)))

/** Reads a day as a stream, never the whole of it; fails only where the header is not the one above. */
export const readDay = <E, R>(
  bytes: Stream.Stream<Uint8Array, E, R>,
  lineCharsMax = lineCharsMaxDefault
): Stream.Stream<DayLine, E | NotADayFile, R> =>
  Stream.suspend(() => {
    let header: ReadonlyArray<Column> | undefined
    return readRecords(bytes, lineCharsMax).pipe(
      Stream.mapEffect((record) => {
        if (header !== undefined) return Effect.succeed([toLine(record, header)])
        if (Result.isSuccess(record.fields)) header = readHeader(record.fields.success)
        return header === undefined
          ? Effect.fail(new NotADayFile({ found: record.text.slice(0, 200) }))
          : Effect.succeed([])
      }),
      Stream.flattenIterable,
      Stream.concat(
        Stream.suspend(() =>
          header === undefined ? Stream.fail(new NotADayFile({ found: "" })) : Stream.empty
        )
      )
    )
  })

const toLine = (record: DayRecord, header: ReadonlyArray<Column>): DayLine =>
  Result.match(toContent(record, header), {
    onSuccess: (content) => ({ ...content, line: record.line }),
    onFailure: (fault) =>
      DayLine.Fault({ fault: { ...fault, line: record.line, text: fault.text.slice(0, 100) } })
  })
