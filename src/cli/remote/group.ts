/** `group`: the lines of a file as one command, all of them or none. */
import { createReadStream } from "node:fs"
import { Data, Effect, Stream } from "effect"
import { type AskedCommand, type CommandInput, groupCommandsMax } from "../../domain/Command.ts"
import type { GroupRejected as Refused } from "../../domain/Errors.ts"
import type { GroupFlags } from "../commands.ts"
import { readDay } from "../DayFile.ts"
import { send } from "./commands.ts"

/** The file cannot be read, so nothing was sent. */
class GroupFileUnreadable extends Data.TaggedError("GroupFileUnreadable")<{
  readonly file: string
  readonly reason: string
}> {
  override get message() {
    return `${this.file} cannot be read: ${this.reason}; nothing was done`
  }
}

/** A line of the file is no command, so nothing was sent. */
class GroupFileInvalid extends Data.TaggedError("GroupFileInvalid")<{
  readonly line: number
  readonly reason: string
}> {
  override get message() {
    return `line ${this.line}: ${this.reason}; nothing was done`
  }
}

/** The ledger refused one of the commands, so nothing was done: the refusal with its line in the file. */
class GroupRejected extends Data.TaggedError("GroupRejected")<{
  readonly line: number
  readonly index: number
  readonly command: string
  readonly rejection: Refused["rejection"]
}> {
  override get message() {
    return `line ${this.line}: ${this.rejection.message}; nothing was done`
  }
}

/** A pipe may go on for ever, in remarks or in one group. */
const bytesMax = 16 * 1_048_576

/** From the beginning, and at no position: a pipe has none, where the platform's own stream names one with each read. */
const bytesOf = (file: string) =>
  Stream.suspend(() => {
    let read = 0
    return Stream.fromAsyncIterable<Uint8Array, GroupFileUnreadable>(
      createReadStream(file),
      (cause) =>
        new GroupFileUnreadable({ file, reason: cause instanceof Error ? cause.message : String(cause) })
    ).pipe(
      Stream.mapEffect((bytes) => {
        read += bytes.length
        return read > bytesMax
          ? new GroupFileUnreadable({ file, reason: "it has more than 16 MiB" })
          : Effect.succeed(bytes)
      })
    )
  })

/** Ids are the group's; of lines that are a group in the file their members count. */
const membersOf = (command: AskedCommand): ReadonlyArray<object> => {
  if (command._tag === "Group") return command.commands
  const { commandId: _, context: __, ...member } = command
  return [member]
}

/**
 * `lines` comes to have the line of each command, of those that are a group in the file that of the first. Once there are more commands than a
 * group may have nothing further is read, for a pipe may go on for ever; by one too many the group is refused.
 */
const readGroup = Effect.fnUntraced(function* (file: string, lines: Array<number>) {
  const commands: Array<object> = []
  yield* Stream.runForEachWhile(readDay(bytesOf(file)), (line): Effect.Effect<boolean, GroupFileInvalid> => {
    switch (line._tag) {
      case "Command":
        return Effect.sync(() => {
          for (const member of membersOf(line.command)) {
            commands.push(member)
            lines.push(line.line)
          }
          return commands.length <= groupCommandsMax
        })
      case "Skipped":
        return Effect.succeed(true)
      case "Assertion":
        return new GroupFileInvalid({ line: line.line, reason: "an assertion is no command of a group" })
      case "Fault": {
        const { column, detail, reason, text } = line.fault
        const place = column === undefined ? "" : `${column}: `
        return new GroupFileInvalid({
          line: line.fault.line,
          reason: `${place}${reason}: ${text}${detail === undefined ? "" : ` (${detail})`}`
        })
      }
    }
  })
  return { _tag: "Group", commands } as CommandInput // each was read as a command; the ledger checks which a group may have
})

export const group = ({ file, ...rest }: GroupFlags) =>
  Effect.suspend(() => {
    const lines: Array<number> = []
    return send(readGroup(file, lines), rest).pipe(
      // The ledger counts commands from 0, and lines of nothing are none.
      Effect.catchTag("GroupRejected", ({ index, command, rejection }) =>
        Effect.fail(new GroupRejected({ line: lines[index] ?? 0, index, command, rejection }))
      )
    )
  })
