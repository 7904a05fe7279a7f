/**
 * Reads a bank's day from CSV (examples/README.md): a command or an assertion for each line, or a typed fault for a line
 * that is neither. Lines that follow each other with one `group` are one command.
 */
import { Data, Effect, FileSystem, Result, Stream } from "effect"
import { type AskedCommand, fromHost, groupCommandsMax } from "../domain/Command.ts"
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
      Stream.mapAccum((): Grouping => ({}), takeIn, { onHalt: ({ open }) => closed(open) }),
      Stream.concat(
        Stream.suspend(() =>
          header === undefined ? Stream.fail(new NotADayFile({ found: "" })) : Stream.empty
        )
      )
    )
  })

/** A line with its group, before those of a group are put together. */
interface SingleLine {
  /** Empty where it is of none; undefined where the line could not be read. */
  readonly group: string | undefined
  readonly line: number
  /** A command of a group, which is none by itself. */
  readonly member?: AskedCommand
  readonly told?: DayLine
}

const toLine = (record: DayRecord, header: ReadonlyArray<Column>): SingleLine => {
  const { line } = record
  return Result.match(toContent(record, header), {
    onSuccess: (content): SingleLine => {
      switch (content._tag) {
        case "Member":
          return { group: content.command.commandId, line, member: content.command }
        case "Skipped":
          return { group: content.group, line, told: DayLine.Skipped({ line }) }
        default:
          return { group: "", line, told: { ...content, line } }
      }
    },
    onFailure: ({ group, ...rest }): SingleLine => ({
      group,
      line,
      told: DayLine.Fault({ fault: { ...rest, line, text: rest.text.slice(0, 100) } })
    })
  })
}

/** The lines of a group, which follow each other, as far as they were read. */
interface OpenGroup {
  readonly id: string
  /** That of the first one. */
  readonly line: number
  readonly commands: ReadonlyArray<AskedCommand>
  /** A line at fault that is of it, or may be, because it could not be read. */
  readonly faulty: number | undefined
}

interface Grouping {
  readonly open?: OpenGroup | undefined
  /** The line before, where it could not be read. */
  readonly unread?: number | undefined
}

/** More commands than any group may have are not kept, but for one, by which the group is refused. */
const keptMax = groupCommandsMax + 1

const takeIn = (
  { open, unread }: Grouping,
  { group, line, member, told }: SingleLine
): readonly [Grouping, ReadonlyArray<DayLine>] => {
  const own = told === undefined ? [] : [told]
  const withFault = open && { ...open, faulty: open.faulty ?? line }
  if (group === undefined) return [{ open: withFault, unread: line }, own]
  if (group === "") return [{}, [...closed(open), ...own]]
  const isOpen = open?.id === group
  const before = isOpen ? open : { id: group, line, commands: [], faulty: unread }
  const isFault = told?._tag === "Fault"
  const next: OpenGroup = {
    ...before,
    commands: member === undefined ? before.commands : [...before.commands, member].slice(0, keptMax),
    faulty: before.faulty ?? (isFault ? line : undefined)
  }
  return [{ open: next }, [...(isOpen ? [] : closed(open)), ...own]]
}

/** A group whose lines are all there: its command, or the fault of the whole. */
const closed = (open: OpenGroup | undefined): ReadonlyArray<DayLine> => {
  if (open === undefined) return []
  const { id, line, commands, faulty } = open
  // Each of its lines had an amount of zero, and was passed over.
  if (commands.length === 0 && faulty === undefined) return []
  const broken = (detail: string) =>
    DayLine.Fault({ fault: { line, column: "group", reason: "malformed", text: id.slice(0, 100), detail } })
  if (faulty !== undefined) return [broken(`line ${faulty} of the group is at fault, so none of it is done`)]
  const members = commands.map(({ commandId: _, context: __, ...member }) => member)
  return [
    Result.match(fromHost({ _tag: "Group", commandId: id, commands: members }), {
      onSuccess: (command) => DayLine.Command({ line, command }),
      onFailure: ({ message }) => broken(message)
    })
  ]
}
