/**
 * Reads a bank's day from CSV (examples/README.md): a command for each line, or a typed fault for a line that is
 * none.
 */
import { Data, Effect, FileSystem, Result, Stream } from "effect"
import type { Command } from "../domain/Command.ts"
import { trimBlanks } from "../domain/Money.ts"
import { toCommand } from "./DayCommand.ts"
import { columns, type LineFault } from "./DayFields.ts"
import { type DayRecord, readRecords } from "./DayLines.ts"

export type DayLine = Data.TaggedEnum<{
  Command: { readonly line: number; readonly command: Command }
  Fault: { readonly fault: LineFault }
}>
export const DayLine = Data.taggedEnum<DayLine>()

/** The file is no bank's day at all: its first record is not the header. */
export class NotADayFile extends Data.TaggedError("NotADayFile")<{ readonly found: string }> {
  override get message() {
    return `the first line must be "${columns.join(",")}", not "${this.found}"`
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
    let headed = false
    return readRecords(bytes, lineCharsMax).pipe(
      Stream.mapEffect((record) => {
        if (headed) return Effect.succeed([toLine(record)])
        headed = true
        return Result.isSuccess(record.fields) &&
          record.fields.success.map(trimBlanks).join() === columns.join()
          ? Effect.succeed([])
          : Effect.fail(new NotADayFile({ found: record.text.slice(0, 200) }))
      }),
      Stream.flattenIterable,
      Stream.concat(
        Stream.suspend(() => (headed ? Stream.empty : Stream.fail(new NotADayFile({ found: "" }))))
      )
    )
  })

const toLine = (record: DayRecord): DayLine =>
  Result.match(toCommand(record), {
    onSuccess: (command) => DayLine.Command({ line: record.line, command }),
    onFailure: (fault) =>
      DayLine.Fault({ fault: { ...fault, line: record.line, text: fault.text.slice(0, 100) } })
  })
